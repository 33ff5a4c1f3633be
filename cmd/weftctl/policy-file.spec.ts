// Owns the proof of what a file of policies is taken to mean, and of what is said where istiod leaves parts out.

import { expect, it } from "vitest";
import { stringify } from "yaml";
import { readPolicies } from "./policy-file.js";

const istio = (spec: object | undefined, metadata: object = {}) =>
  stringify({
    apiVersion: "security.istio.io/v1",
    kind: "AuthorizationPolicy",
    metadata: { name: "p", namespace: "shop", uid: "1", ...metadata },
    spec,
    status: {},
  });

function read(content: string) {
  const found = readPolicies(content, "f.yaml");
  if ("problems" in found) throw new Error(found.problems.join("\n"));
  return found;
}

/** The one policy in a text. */
function one(content: string) {
  const { policies, notes } = read(content);
  expect(policies.length).toBe(1);
  return { ...policies[0], notes };
}

const rulesOf = (spec: object) => one(istio(spec)).rules;
const fromOf = (source: object) => rulesOf({ rules: [{ from: [{ source }] }] });
const toOf = (operation: object) => rulesOf({ rules: [{ to: [{ operation }] }] });

it.each<[object, object]>([
  [
    { namespaces: ["a", "b*"], notNamespaces: ["c"] },
    { namespaces: ["a", "b*"], notNamespaces: ["c"] },
  ],
  [
    { principals: ["*"], notPrincipals: ["*/sa/x"] },
    { principals: ["*"], notPrincipals: ["*/sa/x"] },
  ],
  [
    { serviceAccounts: ["cart", "other/sleep"], notServiceAccounts: ["a/b/c"] },
    { serviceAccounts: ["cart", "other/sleep"], notServiceAccounts: ["a/b/c"] },
  ],
  [
    { ipBlocks: ["10.0.0.0/8", "fd00::1"], notIpBlocks: ["10.1.2.3"] },
    { sourceIps: ["10.0.0.0/8", "fd00::1"], notSourceIps: ["10.1.2.3"] },
  ],
])("source %j is the match %j", (source, match) => {
  expect(fromOf(source)).toEqual([{ clauses: [[match]] }]);
});

it("ports are numbers, of the pod", () => {
  expect(toOf({ ports: ["80", "0"], notPorts: ["443"] })).toEqual([
    { clauses: [[{ destinationPorts: [80, 0], notDestinationPorts: [443] }]] },
  ]);
});

it.each<[string, string[], string, (string | number)[]]>([
  ["source.ip", ["10.0.0.0/8"], "sourceIps", ["10.0.0.0/8"]],
  ["source.namespace", ["a"], "namespaces", ["a"]],
  ["source.principal", ["*/sa/a"], "principals", ["*/sa/a"]],
  ["source.serviceAccount", ["a"], "serviceAccounts", ["a"]],
  ["destination.ip", ["10.0.0.1"], "destinationIps", ["10.0.0.1"]],
  ["destination.port", ["80"], "destinationPorts", [80]],
])("when %s has values is a clause of its own, with what it must not have", (key, values, field, wanted) => {
  const negation = `not${field.charAt(0).toUpperCase()}${field.slice(1)}`;
  expect(
    rulesOf({
      rules: [
        {
          when: [
            { key, values, notValues: values },
            { key, values },
          ],
        },
      ],
    }),
  ).toEqual([{ clauses: [[{ [field]: wanted, [negation]: wanted }], [{ [field]: wanted }]] }]);
});

it("to comes first, then from, then each when: all of them, and any part of each", () => {
  const from = [{ source: { namespaces: ["a"] } }, { source: { principals: ["b"] } }];
  const to = [{ operation: { ports: ["80"] } }, { operation: { ports: ["81"] } }];
  const when = [{ key: "source.ip", values: ["10.0.0.1"] }];
  expect(rulesOf({ rules: [{ from, to, when }, {}] })).toEqual([
    {
      clauses: [
        [{ destinationPorts: [80] }, { destinationPorts: [81] }],
        [{ namespaces: ["a"] }, { principals: ["b"] }],
        [{ sourceIps: ["10.0.0.1"] }],
      ],
    },
    { clauses: [] },
  ]);
});

it("action, scope, dry run and a missing spec are as istiod takes them", () => {
  expect(one(istio(undefined))).toMatchObject({
    name: "p",
    namespace: "shop",
    action: "ALLOW",
    rules: [],
    notes: [],
  });
  expect(one(istio(undefined))).not.toHaveProperty("scope");
  expect(one(istio({ rules: null, action: "DENY" }))).toMatchObject({ action: "DENY", rules: [] });
  expect(one(istio({ selector: { matchLabels: { app: "web" } } }))).toMatchObject({
    scope: "WORKLOAD_SELECTOR",
  });
  expect(one(istio({ selector: {} }))).toMatchObject({ scope: "WORKLOAD_SELECTOR" });
  expect(one(istio({}, { namespace: undefined }))).toMatchObject({ namespace: "default" });
  const dry = one(istio({}, { annotations: { "istio.io/dry-run": "true" } }));
  expect(dry).toMatchObject({ dryRun: true, notes: [expect.stringContaining("is a dry run")] });
});

it("an ALLOW rule with L7 in it is left out whole, and it is said why", () => {
  const rules = [
    { to: [{ operation: { methods: ["GET"], ports: ["80"] } }] },
    {
      from: [{ source: { requestPrincipals: ["*"] } }],
      when: [{ key: "request.headers[x]", values: ["y"] }],
    },
    { from: [{ source: { namespaces: ["a"] } }] },
  ];
  const { rules: left, notes } = one(istio({ rules }));
  expect(left).toEqual([{ clauses: [[{ namespaces: ["a"] }]] }]);
  expect(notes).toEqual([
    "shop/p: spec.rules[0]: left out whole, because of to[0].operation.methods: L7 admits nobody at L4",
    "shop/p: spec.rules[1]: left out whole, because of from[0].source.requestPrincipals, when[0] (request.headers[x]): L7 admits nobody at L4",
  ]);
});

it("a DENY loses its L7 parts and denies by the rest; one that has nothing else denies nobody", () => {
  const rules = [
    {
      from: [{ source: { namespaces: ["other"] } }],
      to: [{ operation: { paths: ["/x"], ports: ["9080"] } }],
    },
    { to: [{ operation: { hosts: ["a"] } }] },
    { when: [{ key: "request.auth.claims[a]", values: ["b"] }] },
  ];
  const { rules: left, notes } = one(istio({ action: "DENY", rules }));
  expect(left).toEqual([
    { clauses: [[{ destinationPorts: [9080] }], [{ namespaces: ["other"] }]] },
    { clauses: [[{}]] },
    { clauses: [[{}]] },
  ]);
  expect(notes).toEqual([
    "shop/p: spec.rules[0].to[0].operation.paths: L7, left out: what else the rule says is denied",
    "shop/p: spec.rules[1].to[0].operation.hosts: L7, left out: what else the rule says is denied",
    "shop/p: spec.rules[1].to[0].operation: says nothing of a connection, so it holds for none",
    "shop/p: spec.rules[2].when[0] (request.auth.claims[a]): L7, left out: what else the rule says is denied",
    "shop/p: spec.rules[2].when[0]: says nothing of a connection, so it holds for none",
  ]);
});

it("values that are none are left out by name; with none left a match holds for nobody", () => {
  const rules = [
    { to: [{ operation: { ports: ["80", "x", "70000"] } }, { operation: { ports: ["5000-5002"] } }] },
    { from: [{ source: { ipBlocks: ["10.0.0.0/8", "banana", "10.1.2.3/33"] } }, { source: {} }] },
  ];
  const { rules: left, notes } = one(istio({ rules }));
  expect(left).toEqual([
    { clauses: [[{ destinationPorts: [80] }, {}]] },
    { clauses: [[{ sourceIps: ["10.0.0.0/8"] }, {}]] },
  ]);
  expect(notes).toContain('shop/p: spec.rules[0].to[0].operation.ports[1]: "x" is no port, left out');
  expect(notes).toContain(
    'shop/p: spec.rules[1].from[0].source.ipBlocks[2]: "10.1.2.3/33" is no address or block, left out',
  );
  expect(notes.filter((note) => note.endsWith("so it holds for none")).length).toBe(2);
});

it("takes several documents, kubectl's lists, and the policies of a mesh file or one alone", () => {
  const list = JSON.stringify({
    apiVersion: "v1",
    kind: "List",
    items: [
      { apiVersion: "security.istio.io/v1beta1", kind: "AuthorizationPolicy", metadata: { name: "b" } },
    ],
  });
  const mesh = stringify({
    workloads: [],
    policies: [{ name: "c", rules: [{ namespaces: ["x"] }] }, { name: "d" }],
  });
  const { policies } = read(
    [istio({}, { name: "a" }), list, mesh, "name: e\naction: DENY\n", ""].join("\n---\n"),
  );
  expect(policies.map(({ name }) => name)).toEqual(["a", "b", "c", "d", "e"]);
  expect(policies[2]).toEqual({ name: "c", rules: [{ namespaces: ["x"] }] });
});

it.each<[string, string, string]>([
  ["AUDIT", istio({ action: "AUDIT" }), "f.yaml:8:11: spec.action: AUDIT is nothing that L4 can do"],
  ["CUSTOM", istio({ action: "CUSTOM", provider: { name: "x" } }), "spec.action: CUSTOM is nothing"],
  ["another action", istio({ action: "PERMIT" }), "spec.action: Invalid option"],
  [
    "targetRefs",
    istio({ targetRefs: [{ kind: "Gateway", name: "w" }] }),
    "spec.targetRefs: a policy of a waypoint",
  ],
  [
    "targetRef",
    istio({ targetRef: { kind: "Gateway", name: "w" } }),
    "spec.targetRef: a policy of a waypoint",
  ],
  ["an unknown key", istio({ rule: [] }), "f.yaml:8:3: spec.rule: unknown key"],
  [
    "an unknown source",
    istio({ rules: [{ from: [{ source: { namespace: ["a"] } }] }] }),
    "source.namespace: unknown key",
  ],
  [
    "a text for a list",
    istio({ rules: [{ to: [{ operation: { ports: "80" } }] }] }),
    "operation.ports: Invalid input",
  ],
  ["no name", istio({}, { name: undefined }), "metadata.name: Invalid input"],
  ["another kind", "apiVersion: v1\nkind: Pod\n", "f.yaml:2:7: kind: v1 Pod is no AuthorizationPolicy"],
  ["words of nobody", "name: a\nrules: [{ports: [80]}]\n", "f.yaml:2:10: rules[0].ports: unknown key"],
  [
    "a mistake in a list",
    "policies: [{name: a}, {name: b, action: deny}]",
    "policies[1].action: Invalid option",
  ],
  ["YAML that is none", "name: [a\n---\nname: b\nrules: 7\n", "f.yaml:4:8: rules: Invalid input"],
  ["nothing", "---\n", "f.yaml: there is no policy in it"],
])("%s is refused by its place", (_, content, said) => {
  const found = readPolicies(content, "f.yaml");
  expect("problems" in found && found.problems.join("\n")).toContain(said);
});
