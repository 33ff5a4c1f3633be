// Owns the golden cases of a verdict: each is asked of the reference and of the compiled tables.

import { describe, expect, it } from "vitest";
import type { Match, Policy } from "../../model/policy.js";
import type { Workload } from "../../model/workload.js";
import { type Decision, decide } from "./reference.js";
import { block, match, policy, TestMesh, text, workload } from "./test-mesh.js";

const server = workload("default", "server", ["10.0.0.1", "fd00::1"]);
const client = workload("client-ns", "client", ["10.0.0.2", "fd00::2"]);
const other = workload("other", "other", ["10.0.0.3", "fd00::3"], { trustDomain: "td.example" });
const STRANGER = "192.0.2.9";

interface Attempt {
  from?: Workload | string;
  to?: string;
  port?: number;
}

/** The verdict on a connection to `server`; fails when the tables and the reference disagree. */
function judge(policies: readonly Policy[], attempt: Attempt = {}, destination = server): Decision {
  const mesh = new TestMesh();
  mesh.update({ workloads: [destination, client, other], policies, policiesSynced: true }, [destination]);
  const to = attempt.to ?? "10.0.0.1";
  const from = attempt.from ?? client;
  const sameFamily = (address: string): boolean => address.includes(":") === to.includes(":");
  const source = typeof from === "string" ? from : (from.addresses.find(sameFamily) ?? "");
  const connection = { source, destination: to, port: attempt.port ?? 80 };
  const reference = mesh.reference(destination.uid, connection);
  expect(mesh.kernelDecision(destination.uid, connection)).toEqual(reference);
  return reference;
}

function allows(matches: Match[], attempt?: Attempt): boolean {
  return judge([policy("p", [[matches]])], attempt).allowed;
}

const deny: Partial<Policy> = { action: "DENY" };

describe("order", () => {
  const everything = policy("everything", [[]]);
  it("allows without policies", () => expect(judge([]).allowed).toBe(true));
  it("denies by an enforced DENY before any ALLOW, naming the first by key", () => {
    const denials = [policy("b", [[]], deny), policy("a", [[]], deny)];
    for (const policies of [
      [everything, ...denials],
      [...denials.reverse(), everything],
    ])
      expect(judge(policies)).toEqual({ allowed: false, policy: "istio-system/a", dryRun: [] });
  });
  it("allows when an ALLOW matches, and denies without a name when none does", () => {
    expect(judge([policy("x", [[[match({ destinationPorts: [80] })]]]), policy("y", [])]).allowed).toBe(true);
    const verdict = judge([policy("x", [[[match({ destinationPorts: [81] })]]])]);
    expect(verdict).toEqual({ allowed: false, policy: undefined, dryRun: [] });
  });
  it("allows what no DENY matches when no ALLOW applies", () => {
    expect(judge([policy("x", [[[match({ destinationPorts: [81] })]]], deny)]).allowed).toBe(true);
  });
  it("counts dry-run matches and changes nothing by them", () => {
    const dry = { dryRun: true };
    const verdict = judge([
      policy("allow", [[[match({ destinationPorts: [81] })]]], dry),
      policy("deny", [[]], { ...dry, ...deny }),
    ]);
    expect(verdict).toEqual({ allowed: true, policy: undefined, dryRun: ["istio-system/deny"] });
    expect(judge([policy("real", [[]], deny), policy("z", [[]], dry)])).toEqual({
      allowed: false,
      policy: "istio-system/real",
      dryRun: ["istio-system/z"],
    });
  });
});

describe("which policies apply", () => {
  const denial = (fields: Partial<Policy>): Policy => policy("p", [[]], { ...deny, ...fields });
  it("GLOBAL ones", () => expect(judge([denial({})]).allowed).toBe(false));
  it("NAMESPACE ones of the destination's namespace only", () => {
    expect(judge([denial({ scope: "NAMESPACE", namespace: "default" })]).allowed).toBe(false);
    expect(judge([denial({ scope: "NAMESPACE", namespace: "client-ns" })]).allowed).toBe(true);
  });
  it("selector ones that the workload lists, of whatever namespace", () => {
    const listing = server.with({ authorizationPolicies: ["root/p"] });
    const selector = denial({ scope: "WORKLOAD_SELECTOR", namespace: "root" });
    expect(judge([selector], {}, listing).allowed).toBe(false);
    expect(judge([selector]).allowed).toBe(true);
    expect(judge([{ ...selector, name: "q" }], {}, listing).allowed).toBe(true);
  });
  it("a pod that is not enrolled denies: nobody has said what guards it", () => {
    const mesh = new TestMesh();
    mesh.update({ workloads: [server], policiesSynced: true });
    const connection = { source: STRANGER, destination: "10.0.0.1", port: 80 };
    expect(mesh.kernelDecision(server.uid, connection).allowed).toBe(false);
  });
});

describe("structure", () => {
  const hit = match({ destinationPorts: [80] });
  const miss = match({ destinationPorts: [81] });
  const matches = (rules: Match[][][]): boolean => judge([policy("p", rules)]).allowed;
  it("rules OR", () => expect(matches([[[miss]], [[hit]]])).toBe(true));
  it("clauses AND", () => {
    expect(matches([[[hit], [miss]]])).toBe(false);
    expect(matches([[[hit], [match({ namespaces: [text("client-ns")] })]]])).toBe(true);
  });
  it("matches OR", () => expect(matches([[[miss, hit]]])).toBe(true));
  it("kinds of field AND, values OR", () => {
    expect(
      matches([[[match({ destinationPorts: [1, 80], namespaces: [text("x"), text("client-ns")] })]]]),
    ).toBe(true);
    expect(matches([[[match({ destinationPorts: [80], namespaces: [text("x")] })]]])).toBe(false);
  });
  it("not_x holds when none of its values match", () => {
    expect(matches([[[match({ notDestinationPorts: [81, 82] })]]])).toBe(true);
    expect(matches([[[match({ notDestinationPorts: [81, 80] })]]])).toBe(false);
  });
  it("skips an empty match with siblings, and matches nothing by one alone or by several", () => {
    expect(matches([[[match(), hit]]])).toBe(true);
    expect(matches([[[match(), miss]]])).toBe(false);
    expect(matches([[[match()]]])).toBe(false);
    expect(matches([[[match(), match()]]])).toBe(false);
  });
  it("a clause without matches holds, a rule without clauses holds", () => {
    expect(matches([[[]]])).toBe(true);
    expect(matches([[[], [hit]]])).toBe(true);
    expect(matches([[[], [miss]]])).toBe(false);
    expect(matches([[]])).toBe(true);
  });
  it("a policy without rules never matches: ALLOW denies everything, DENY does nothing", () => {
    expect(judge([policy("p", [])])).toMatchObject({ allowed: false, policy: undefined });
    expect(judge([policy("p", [], deny)]).allowed).toBe(true);
    expect(judge([policy("p", [], { dryRun: true })]).allowed).toBe(true);
  });
});

describe("source identity", () => {
  it.each([
    ["client-ns", true],
    ["client", false],
    ["cli*", true],
    ["*-ns", true],
    ["*", true],
    ["Client-ns", false],
  ])("namespace %s", (value, expected) => {
    expect(allows([match({ namespaces: [text(value)] })])).toBe(expected);
    expect(allows([match({ notNamespaces: [text(value)] })])).toBe(!expected);
  });
  it.each([
    ["cluster.local/ns/client-ns/sa/client", true],
    ["spiffe://cluster.local/ns/client-ns/sa/client", true],
    ["td.example/ns/client-ns/sa/client", false],
    ["cluster.local/ns/client-ns/sa/client2", false],
    ["cluster.local/ns/client-ns/*", true],
    ["spiffe://cluster.local/*", true],
    ["*/sa/client", true],
    ["*/sa/clien", false],
    ["*", true],
  ])("principal %s", (value, expected) => {
    expect(allows([match({ principals: [text(value)] })])).toBe(expected);
    expect(allows([match({ notPrincipals: [text(value)] })])).toBe(!expected);
  });
  it("service accounts ignore the trust domain and compare both halves exactly", () => {
    const account = (namespace: string, serviceAccount: string): Match =>
      match({ serviceAccounts: [{ namespace, serviceAccount }] });
    expect(allows([account("other", "other")], { from: other })).toBe(true);
    expect(allows([account("client-ns", "client")])).toBe(true);
    expect(allows([account("client-ns", "other")])).toBe(false);
    expect(allows([account("client-ns", "*")])).toBe(false);
    expect(
      allows([match({ notServiceAccounts: [{ namespace: "client-ns", serviceAccount: "client" }] })]),
    ).toBe(false);
  });
  it("a trust domain of its own is part of the principal", () => {
    expect(allows([match({ principals: [text("td.example/ns/other/sa/other")] })], { from: other })).toBe(
      true,
    );
    expect(allows([match({ principals: [text("cluster.local/*")] })], { from: other })).toBe(false);
  });
  it("a peer without identity has no principal and no account, its namespace is empty, every not_ holds", () => {
    const from = STRANGER;
    const accounts = [{ namespace: "", serviceAccount: "" }];
    expect(allows([match({ principals: [text("*")] })], { from })).toBe(false);
    expect(allows([match({ principals: [{ kind: "prefix", value: "" }] })], { from })).toBe(false);
    expect(allows([match({ serviceAccounts: accounts })], { from })).toBe(false);
    expect(allows([match({ namespaces: [text("*")] })], { from })).toBe(false);
    expect(allows([match({ namespaces: [text("")] })], { from })).toBe(true);
    expect(allows([match({ namespaces: [{ kind: "prefix", value: "" }] })], { from })).toBe(true);
    expect(allows([match({ namespaces: [{ kind: "suffix", value: "" }] })], { from })).toBe(true);
    expect(allows([match({ notPrincipals: [text("*")] })], { from })).toBe(true);
    expect(allows([match({ notServiceAccounts: accounts })], { from })).toBe(true);
    expect(allows([match({ notNamespaces: [text("client-ns")] })], { from })).toBe(true);
    expect(allows([match({ notNamespaces: [text("*")] })], { from })).toBe(true);
  });
});

describe("addresses and ports", () => {
  it.each([
    ["10.0.0.0/24", "10.0.0.2", true],
    ["10.0.0.2", "10.0.0.2", true],
    ["10.0.0.3", "10.0.0.2", false],
    ["0.0.0.0/0", STRANGER, true],
    ["10.0.0.77/24", "10.0.0.2", true],
    ["fd00::/64", "fd00::2", true],
    ["fd00::ff/64", "fd00::2", true],
    ["::/0", "fd00::2", true],
    ["::/0", "10.0.0.2", false],
    ["::/90", "10.0.0.2", false],
    ["0.0.0.0/0", "fd00::2", false],
  ])("source block %s and %s", (value, from, expected) => {
    const to = from.includes(":") ? "fd00::1" : "10.0.0.1";
    expect(allows([match({ sourceIps: [block(value)] })], { from, to })).toBe(expected);
    expect(allows([match({ notSourceIps: [block(value)] })], { from, to })).toBe(!expected);
  });
  it("the blocks of several rules nest", () => {
    const rules = [
      [[match({ sourceIps: [block("10.0.0.0/8")], notSourceIps: [block("10.0.0.0/30")] })]],
      [[match({ sourceIps: [block("10.0.0.2")] })]],
      [[match({ sourceIps: [block("::/0")], notSourceIps: [block("fd00::/16")] })]],
    ];
    const verdict = (from: string, to: string): boolean => judge([policy("p", rules)], { from, to }).allowed;
    expect(verdict("10.0.0.2", "10.0.0.1")).toBe(true);
    expect(verdict("10.0.0.3", "10.0.0.1")).toBe(false);
    expect(verdict("10.9.0.3", "10.0.0.1")).toBe(true);
    expect(verdict("192.0.2.1", "10.0.0.1")).toBe(false);
    expect(verdict("2001:db8::1", "fd00::1")).toBe(true);
    expect(verdict("fd00::9", "fd00::1")).toBe(false);
  });
  it("destination blocks are judged by the address reached, listed by the control plane or not", () => {
    const second = match({ destinationIps: [block("192.168.50.11")] });
    expect(allows([second], { to: "192.168.50.11" })).toBe(true);
    expect(allows([second], { to: "10.0.0.1" })).toBe(false);
    expect(allows([match({ notDestinationIps: [block("10.0.0.0/8")] })], { to: "192.168.50.11" })).toBe(true);
  });
  it("destination blocks are judged by family of a dual-stack pod", () => {
    const v4 = match({ destinationIps: [block("10.0.0.0/8")] });
    expect(allows([v4], { to: "10.0.0.1" })).toBe(true);
    expect(allows([v4], { to: "fd00::1" })).toBe(false);
    const not = match({ notDestinationIps: [block("fd00::/16"), block("10.1.0.0/16")] });
    expect(allows([not], { to: "10.0.0.1" })).toBe(true);
    expect(allows([not], { to: "fd00::1" })).toBe(false);
    expect(allows([match({ destinationIps: [block("::/0")] })], { to: "10.0.0.1" })).toBe(false);
  });
  it.each([
    [[80], 80, true],
    [[0], 0, true],
    [[65535, 443], 65535, true],
    [[65535, 443], 80, false],
  ])("ports %j and %i", (destinationPorts, port, expected) => {
    expect(allows([match({ destinationPorts })], { port })).toBe(expected);
    expect(allows([match({ notDestinationPorts: destinationPorts })], { port })).toBe(!expected);
  });
});

describe("what istiod sends", () => {
  const strict = policy("istio_converted_static_strict", [[[match({ notPrincipals: [text("*")] })]]], {
    ...deny,
    scope: "WORKLOAD_SELECTOR",
  });
  const guarded = server.with({ authorizationPolicies: ["istio-system/istio_converted_static_strict"] });
  it("STRICT denies whoever has no identity", () => {
    expect(judge([strict], { from: STRANGER }, guarded).policy).toBe(
      "istio-system/istio_converted_static_strict",
    );
    expect(judge([strict], {}, guarded).allowed).toBe(true);
  });
  it("STRICT with a PERMISSIVE port, and PERMISSIVE with a STRICT port", () => {
    const permissivePort = policy(
      "a",
      [[[match({ notDestinationPorts: [8080] })], [match({ notPrincipals: [text("*")] })]]],
      deny,
    );
    expect(judge([permissivePort], { from: STRANGER, port: 8080 }).allowed).toBe(true);
    expect(judge([permissivePort], { from: STRANGER, port: 80 }).allowed).toBe(false);
    const strictPort = policy(
      "b",
      [[[match({ destinationPorts: [5000], notPrincipals: [text("*")] })]]],
      deny,
    );
    expect(judge([strictPort], { from: STRANGER, port: 5000 }).allowed).toBe(false);
    expect(judge([strictPort], { from: STRANGER, port: 80 }).allowed).toBe(true);
  });
  it("from and to are two clauses, and each when is one more", () => {
    const rule = [
      [match({ destinationPorts: [80] })],
      [match({ namespaces: [text("client-ns")] })],
      [match({ sourceIps: [block("10.0.0.0/24")], notSourceIps: [block("10.0.0.3")] })],
    ];
    expect(judge([policy("p", [rule])]).allowed).toBe(true);
    expect(judge([policy("p", [rule])], { port: 81 }).allowed).toBe(false);
    expect(judge([policy("p", [rule])], { from: other }).allowed).toBe(false);
  });
  it("ALLOW left without rules denies; DENY of L7 only is one empty match and never fires", () => {
    expect(judge([policy("p", [])]).allowed).toBe(false);
    expect(judge([policy("p", [[[match()]]], deny)]).allowed).toBe(true);
  });
  it("DENY with its L7 parts left out denies by the rest", () => {
    const rest = policy(
      "p",
      [[[match({ destinationPorts: [9080] })], [match({ namespaces: [text("other")] })]]],
      deny,
    );
    expect(judge([rest], { from: other, port: 9080 }).allowed).toBe(false);
    expect(judge([rest], { from: other, port: 80 }).allowed).toBe(true);
  });
  it("one rule with no clauses matches everything", () => {
    expect(judge([policy("p", [[]], deny)]).allowed).toBe(false);
  });
  it("an empty source beside a from never fires the rule", () => {
    expect(judge([policy("p", [[[match()], [match({ destinationPorts: [80] })]]])]).allowed).toBe(false);
  });
  it('*x* arrives as a suffix with a star, ** as suffix *, "" as exact nothing', () => {
    const suffix = (value: string): Match => match({ namespaces: [{ kind: "suffix", value }] });
    expect(allows([suffix("ns*")])).toBe(false);
    expect(allows([suffix("*")])).toBe(false);
    expect(allows([match({ namespaces: [{ kind: "exact", value: "" }] })])).toBe(false);
  });
  it("service accounts are literal: {a, b/c} is neither {a/b, c} nor a pattern", () => {
    const odd = workload("a", "odd", ["10.0.0.4"], { serviceAccount: "b/c" });
    const mesh = new TestMesh();
    const rule = [[[match({ serviceAccounts: [{ namespace: "a/b", serviceAccount: "c" }] })]]];
    mesh.update({ workloads: [server, odd], policies: [policy("p", rule)], policiesSynced: true }, [server]);
    const connection = { source: "10.0.0.4", destination: "10.0.0.1", port: 80 };
    expect(mesh.kernelDecision(server.uid, connection).allowed).toBe(false);
  });
  it("values and notValues of a when stand in one match", () => {
    const when = match({ namespaces: [text("*")], notNamespaces: [text("client-ns")] });
    expect(allows([when])).toBe(false);
    expect(allows([when], { from: other })).toBe(true);
  });
});

describe("known failures elsewhere", () => {
  it("every one of several rules, addresses and ports is honoured", () => {
    const rules = [1, 2, 3].map((port) => [[match({ destinationPorts: [port, port + 10] })]]);
    for (const port of [1, 2, 3, 11, 12, 13])
      expect(judge([policy("p", rules)], { port }).allowed).toBe(true);
    const blocks = match({ sourceIps: [block("198.51.100.1"), block("192.0.2.0/24"), block("203.0.113.5")] });
    expect(allows([blocks], { from: STRANGER })).toBe(true);
    expect(allows([blocks], { from: "203.0.113.5" })).toBe(true);
  });
  it("a DENY by principal hits that principal only", () => {
    const denial = policy(
      "p",
      [[[match({ principals: [text("cluster.local/ns/client-ns/sa/client")] })]]],
      deny,
    );
    expect(judge([denial]).allowed).toBe(false);
    expect(judge([denial], { from: other }).allowed).toBe(true);
    expect(judge([denial], { from: STRANGER }).allowed).toBe(true);
  });
  it("an ALLOW by namespace admits that namespace only", () => {
    const allow = [match({ namespaces: [text("client-ns")] })];
    expect(allows(allow)).toBe(true);
    expect(allows(allow, { from: other })).toBe(false);
    expect(allows(allow, { from: STRANGER })).toBe(false);
  });
  it("the order of ALLOW and DENY decides nothing", () => {
    const allow = policy("a", [[]]);
    const denial = policy("z", [[]], deny);
    expect(judge([allow, denial]).allowed).toBe(false);
    expect(judge([denial, allow]).allowed).toBe(false);
  });
  it("a missing policy does not end the evaluation of the others", () => {
    const listing = server.with({ authorizationPolicies: ["default/missing", "default/p"] });
    const selector = policy("p", [[]], { ...deny, scope: "WORKLOAD_SELECTOR", namespace: "default" });
    expect(judge([selector], {}, listing).policy).toBe("default/p");
  });
});

it("reads a policy by the reference alone without any destination block matching across families", () => {
  const inbound = { identity: undefined, source: STRANGER, destination: "10.0.0.1", port: 1 };
  expect(decide([policy("p", [[[match({ destinationIps: [block("::/0")] })]]])], inbound).allowed).toBe(
    false,
  );
});
