// Owns the proof that mesh files mean what they say, and that a bad one is refused with the place and the reason.

import { describe, expect, it } from "vitest";
import { SharedParts } from "../../daemon/xds/decode-parts.js";
import { decodeResource, openEnvelope, RESOURCE_TYPES } from "../../daemon/xds/resource.js";
import { WireReader } from "../../daemon/xds/wire-reader.js";
import { encodeMesh } from "./encode.js";
import { parseMesh } from "./mesh-file.js";

/** What a client gets of a mesh, by resource name. */
function received(text: string): Map<string, unknown> {
  const parsed = parseMesh(text, "mesh.yaml");
  if (!parsed.ok) throw new Error(parsed.problems.join("\n"));
  const encoded = encodeMesh(parsed.mesh);
  const found = RESOURCE_TYPES.flatMap((type) =>
    (encoded.get(type) ?? []).map(({ name, bytes }) => {
      const envelope = openEnvelope(new WireReader(bytes), new SharedParts());
      const decoded = envelope.ok ? decodeResource(type, envelope.value, new SharedParts()) : envelope;
      if (!decoded.ok) throw new Error(`${name}: ${decoded.reason}`);
      return [name, decoded.value.value] as const;
    }),
  );
  return new Map(found);
}

const BOOKINFO = `
workloads:
  - {name: reviews-v1, namespace: bookinfo, addresses: [10.0.0.5, "fd00::5"], serviceAccount: reviews}
  - {name: reviews-v2, namespace: bookinfo, addresses: [10.0.0.6], capacity: 0, status: UNHEALTHY,
     locality: {region: eu, zone: a}, networkMode: HOST_NETWORK, waypoint: {address: 10.0.0.99}}
services:
  - name: reviews
    namespace: bookinfo
    vips: [10.96.0.10, "fd00::10", 10.97.3.4/16]
    ports: {80: 9080, 443: 9443}
    endpoints: [reviews-v1, {workload: bookinfo/reviews-v2, ports: {80: 9081}}]
    loadBalancing: {mode: FAILOVER, routingPreference: [REGION, ZONE]}
    waypoint: {service: bookinfo/waypoint.bookinfo.svc.cluster.local, port: 15008}
  - {name: named, namespace: bookinfo, ports: {80: 0}, endpoints: [{workload: reviews-v1, ports: {80: 8000}}]}
policies:
  - name: deny
    namespace: bookinfo
    action: DENY
    workloads: [reviews-v1]
    rules:
      - {principals: ["*", "a*", "*z", exact], serviceAccounts: [cart, other/sleep], destinationPorts: [9080]}
      - {}
      - clauses: [[{sourceIps: [10.1.2.3/8]}, {notNamespaces: [x]}], [{}]]
  - {name: everywhere, namespace: istio-system}
  - {name: here, namespace: bookinfo, dryRun: true}
`;

describe("a mesh file", () => {
  it("becomes workloads with the services and policies that name them", () => {
    const mesh = received(BOOKINFO);
    expect(mesh.get("Kubernetes//Pod/bookinfo/reviews-v1")).toMatchObject({
      addresses: ["10.0.0.5", "fd00::5"],
      serviceAccount: "reviews",
      trustDomain: "cluster.local",
      capacity: 1,
      tunnelProtocol: "HBONE",
      authorizationPolicies: ["bookinfo/deny"],
      services: new Map([
        [
          "bookinfo/reviews.bookinfo.svc.cluster.local",
          [
            { servicePort: 80, targetPort: 9080 },
            { servicePort: 443, targetPort: 9443 },
          ],
        ],
        ["bookinfo/named.bookinfo.svc.cluster.local", [{ servicePort: 80, targetPort: 8000 }]],
      ]),
    });
    expect(mesh.get("Kubernetes//Pod/bookinfo/reviews-v2")).toMatchObject({
      capacity: 0,
      status: "UNHEALTHY",
      networkMode: "HOST_NETWORK",
      locality: { region: "eu", zone: "a", subzone: "" },
      waypoint: { destination: { kind: "address", network: "", address: "10.0.0.99" }, hbonePort: 15_008 },
      services: new Map([
        ["bookinfo/reviews.bookinfo.svc.cluster.local", [{ servicePort: 80, targetPort: 9081 }]],
      ]),
    });
  });

  it("becomes services", () => {
    expect(received(BOOKINFO).get("bookinfo/reviews.bookinfo.svc.cluster.local")).toMatchObject({
      addresses: [
        { network: "", address: "10.96.0.10", prefixLength: 32 },
        { network: "", address: "fd00::10", prefixLength: 128 },
        { network: "", address: "10.97.0.0", prefixLength: 16 },
      ],
      loadBalancing: {
        mode: "FAILOVER",
        routingPreference: ["REGION", "ZONE"],
        healthPolicy: "ONLY_HEALTHY",
      },
      waypoint: { destination: { kind: "hostname", hostname: "waypoint.bookinfo.svc.cluster.local" } },
      canonical: true,
    });
  });

  it("becomes policies, with the scope that their place gives them", () => {
    const mesh = received(BOOKINFO);
    expect(mesh.get("istio-system/everywhere")).toMatchObject({
      scope: "GLOBAL",
      action: "ALLOW",
      rules: [],
    });
    expect(mesh.get("bookinfo/here")).toMatchObject({ scope: "NAMESPACE", dryRun: true });
    expect(mesh.get("bookinfo/deny")).toMatchObject({
      scope: "WORKLOAD_SELECTOR",
      action: "DENY",
      rules: [
        {
          clauses: [
            [
              {
                principals: [
                  { kind: "presence" },
                  { kind: "prefix", value: "a" },
                  { kind: "suffix", value: "z" },
                  { kind: "exact", value: "exact" },
                ],
                serviceAccounts: [
                  { namespace: "bookinfo", serviceAccount: "cart" },
                  { namespace: "other", serviceAccount: "sleep" },
                ],
                destinationPorts: [9080],
              },
            ],
          ],
        },
        { clauses: [] },
        {
          clauses: [
            [{ sourceIps: [{ address: "10.0.0.0", prefixLength: 8 }] }, { notNamespaces: [{ value: "x" }] }],
            [{ sourceIps: [] }],
          ],
        },
      ],
    });
  });

  it("may leave everything out", () => {
    for (const text of ["", "# nothing", "{}", "workloads:\n"]) expect(received(text).size).toBe(0);
  });

  it("gives equal bytes for equal content, so that a comment pushes nothing", () => {
    const encode = (text: string) => {
      const parsed = parseMesh(text, "");
      return parsed.ok && [...encodeMesh(parsed.mesh).values()].flat();
    };
    expect(encode(`# comment\n${BOOKINFO}`)).toEqual(encode(BOOKINFO));
  });
});

describe("a bad mesh file", () => {
  it.each([
    ["syntax", "workloads: [", /^m.yaml:1:\d+: /],
    ["a key twice", "workloads: []\nworkloads: []", "m.yaml:2:1: Map keys must be unique"],
    ["a list where a map is due", "- a", "m.yaml:1:1: Invalid input: expected object, received array"],
    ["an unknown key", "worklods: []", "m.yaml:1:1: worklods: unknown key"],
    [
      "an unknown key inside",
      "workloads:\n  - name: a\n    addreses: [10.0.0.1]",
      "m.yaml:3:5: workloads[0].addreses: unknown key",
    ],
    [
      "an address that is none",
      "workloads:\n  - {name: a, addresses: [10.0.0.1, 10.0.0.256]}",
      'm.yaml:2:37: workloads[0].addresses[1]: "10.0.0.256" is not an IP address',
    ],
    [
      "a block that is none",
      "services:\n  - {name: a, ports: {80: 80}, vips: [10.0.0.0/33]}",
      'm.yaml:2:39: services[0].vips[0]: "10.0.0.0/33" is neither an IP address nor a block such as 10.0.0.0/8',
    ],
    [
      "a target port out of range",
      "services:\n  - name: a\n    ports: {80: 70000}",
      "m.yaml:3:17: services[0].ports.80: Too big: expected number to be <=65535",
    ],
    [
      "a service port out of range",
      "services:\n  - name: a\n    ports: {70000: 80}",
      "m.yaml:3:20: services[0].ports.70000: 70000 is not a port from 1 to 65535",
    ],
    [
      "something missing",
      "services:\n  - name: a",
      "m.yaml:2:5: services[0].ports: Invalid input: expected record, received undefined",
    ],
    [
      "an endpoint that is no workload",
      "services:\n  - {name: a, ports: {80: 80}, endpoints: [b]}",
      'm.yaml:2:44: services[0].endpoints[0]: no workload "b"',
    ],
    [
      "a reference to no service",
      "workloads:\n  - {name: a, services: {web: {80: 80}}}",
      'm.yaml:2:26: workloads[0].services.web: no service "web"',
    ],
    [
      "a policy for no workload",
      "policies:\n  - {name: p, workloads: [x/y]}",
      'm.yaml:2:27: policies[0].workloads[0]: no workload "x/y"',
    ],
    [
      "an endpoint twice",
      "workloads: [{name: a}]\nservices:\n  - {name: s, ports: {80: 80}, endpoints: [a, a]}",
      "m.yaml:3:47: services[0].endpoints[1]: is an endpoint of this service twice",
    ],
    [
      "a named port nobody gives",
      "workloads: [{name: a}]\nservices:\n  - {name: s, ports: {80: 0}, endpoints: [a]}",
      "m.yaml:3:43: services[0].endpoints[0]: needs a target port of its own for 80",
    ],
    [
      "a name twice",
      "workloads: [{name: a}, {name: a}]",
      "m.yaml:1:24: workloads[1]: Kubernetes//Pod/default/a is there twice",
    ],
    [
      "an unknown action",
      "policies:\n  - {name: p, action: AUDIT}",
      'm.yaml:2:23: policies[0].action: Invalid option: expected one of "ALLOW"|"DENY"',
    ],
    [
      "an unknown key in a rule",
      "policies:\n  - name: p\n    rules: [{ports: [80]}]",
      "m.yaml:3:14: policies[0].rules[0].ports: unknown key",
    ],
    [
      "a wrong address deep in clauses",
      "policies:\n  - name: p\n    rules: [{clauses: [[{sourceIps: [banana]}]]}]",
      /^m.yaml:3:38: policies\[0\].rules\[0\].clauses\[0\]\[0\].sourceIps\[0\]: "banana" is neither/,
    ],
    [
      "a waypoint of two kinds",
      "services:\n  - {name: s, ports: {80: 80}, waypoint: {}}",
      "m.yaml:2:32: services[0].waypoint: needs one of address and service",
    ],
    [
      "an endpoint with an unknown key",
      "workloads: [{name: a}]\nservices:\n  - {name: s, ports: {80: 80}, endpoints: [{workload: a, weight: 3}]}",
      "m.yaml:3:58: services[0].endpoints[0].weight: unknown key",
    ],
  ])("with %s is refused", (_, text, expected) => {
    const parsed = parseMesh(text, "m.yaml");
    expect(parsed.ok ? [] : parsed.problems).toEqual([
      typeof expected === "string" ? expected : expect.stringMatching(expected),
    ]);
  });

  it("tells every problem, in the order of the file", () => {
    const text = "services: [{name: s, ports: {0: 1}}]\nworkloads: [{name: 'a b'}]\nother: 1";
    const parsed = parseMesh(text, "m.yaml");
    expect(parsed.ok ? [] : parsed.problems.map((line) => line.split(": ").slice(0, 2).join(" "))).toEqual([
      "m.yaml:1:33 services[0].ports.0",
      "m.yaml:2:20 workloads[0].name",
      "m.yaml:3:1 other",
    ]);
  });
});

it("refuses aliases that unfold without end, as one problem", () => {
  const levels = Array.from({ length: 9 }, (_, n) => `k${n + 1}: &k${n + 1} [${Array(9).fill(`*k${n}`)}]`);
  expect(parseMesh(["k0: &k0 [x]", ...levels].join("\n"), "mesh.yaml")).toEqual({
    ok: false,
    problems: [expect.stringMatching(/^mesh\.yaml:1:1: .*alias/)],
  });
});
