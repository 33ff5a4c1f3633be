// Owns the proof that what cannot be represented is rejected with its reason, and that defaults are filled in.

import { describe, expect, it } from "vitest";
import type { Action } from "../../proto/gen/authorization.js";
import type {
  LoadBalancing_Scope,
  NetworkMode,
  TunnelProtocol,
  WorkloadType,
} from "../../proto/gen/workload.js";
import { policy, resource, service, workload } from "../../test/helpers/wire.js";
import { SharedParts } from "./decode-parts.js";
import { ADDRESS_TYPE, AUTHORIZATION_TYPE, contentOf, decodeResource } from "./resource.js";
import { decode, open } from "./test-decode.js";

const UNKNOWN = 42 as TunnelProtocol & WorkloadType & NetworkMode & LoadBalancing_Scope & Action;

describe("defaults", () => {
  it("are those of istio for a workload", () => {
    const decoded = decode(workload("w", "1"));
    expect(decoded).toMatchObject({
      ok: true,
      value: {
        kind: "workload",
        value: {
          uid: "w",
          trustDomain: "cluster.local",
          serviceAccount: "default",
          clusterId: "Kubernetes",
          capacity: 1,
          status: "HEALTHY",
          networkMode: "STANDARD",
          tunnelProtocol: "NONE",
          workloadType: "DEPLOYMENT",
          locality: { region: "", zone: "", subzone: "" },
          waypoint: undefined,
          authorizationPolicies: [],
          services: new Map(),
        },
      },
    });
  });

  it("keep a capacity of 0, which is another thing than none", () => {
    expect(decode(workload("w", "1", { capacity: 0 }))).toMatchObject({ value: { value: { capacity: 0 } } });
  });

  it("make a virtual address without length a single one", () => {
    const addresses = [
      { address: Uint8Array.of(10, 0, 0, 1) },
      { address: Uint8Array.of(10, 1, 2, 3), length: 8 },
      { address: Uint8Array.of(0, 0, 0, 0), length: 0 },
      { address: Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 0, 0, 9) },
    ];
    expect(decode(service("s", "1", { addresses }))).toMatchObject({
      value: {
        value: {
          addresses: [
            { address: "10.0.0.1", prefixLength: 32 },
            { address: "10.0.0.0", prefixLength: 8 },
            { address: "0.0.0.0", prefixLength: 0 },
            { address: "10.0.0.9", prefixLength: 32 },
          ],
          loadBalancing: { mode: "UNSPECIFIED", routingPreference: [], healthPolicy: "ONLY_HEALTHY" },
        },
      },
    });
  });

  it("clear host bits of a policy's blocks", () => {
    const sourceIps = [{ address: Uint8Array.of(127, 0, 0, 1), length: 24 }];
    const rules = [{ clauses: [{ matches: [{ sourceIps }] }] }];
    expect(decode(policy("p", { rules }))).toMatchObject({
      value: {
        value: { rules: [{ clauses: [[{ sourceIps: [{ address: "127.0.0.0", prefixLength: 24 }] }]] }] },
      },
    });
  });
});

describe("a rejection", () => {
  const match = (fields: object) => policy("p", { rules: [{ clauses: [{ matches: [fields] }] }] });
  const at = "rules[0].clauses[0].matches[0]";

  it.each<[string, Uint8Array, string, string]>([
    [
      "an address length",
      workload("w", "1", { addresses: [new Uint8Array(5)] }),
      "address",
      "addresses[0] has 5 bytes instead of 4 or 16",
    ],
    [
      "an empty address",
      workload("w", "1", { addresses: [new Uint8Array()] }),
      "address",
      "addresses[0] has 0 bytes instead of 4 or 16",
    ],
    [
      "an unknown tunnel",
      workload("w", "1", { tunnelProtocol: UNKNOWN }),
      "enum",
      "tunnel_protocol has the unknown value 42",
    ],
    [
      "an unknown type",
      workload("w", "1", { workloadType: UNKNOWN }),
      "enum",
      "workload_type has the unknown value 42",
    ],
    [
      "an unknown network mode",
      workload("w", "1", { networkMode: UNKNOWN }),
      "enum",
      "network_mode has the unknown value 42",
    ],
    [
      "a port of a mapping",
      workload("w", "1", {
        services: new Map([["d/s", { ports: [{ servicePort: 80, targetPort: 65_536 }] }]]),
      }),
      "port",
      "services[d/s].ports[0].target_port is 65536, above 65535",
    ],
    ["a waypoint to nowhere", workload("w", "1", { waypoint: {} }), "missing", "waypoint has no destination"],
    [
      "a waypoint's port",
      service("s", "1", {
        waypoint: { destination: { $case: "hostname", value: {} }, hboneMtlsPort: 70_000 },
      }),
      "port",
      "waypoint.hbone_mtls_port is 70000, above 65535",
    ],
    [
      "a service port 0",
      service("s", "1", { ports: [{ targetPort: 80 }] }),
      "port",
      "ports[0].service_port is 0",
    ],
    [
      "a prefix",
      service("s", "1", { addresses: [{ address: Uint8Array.of(10, 0, 0, 0), length: 33 }] }),
      "address",
      "addresses[0] 10.0.0.0 has a prefix of 33 bits",
    ],
    [
      "an unspecified scope",
      service("s", "1", { loadBalancing: { routingPreference: [0] } }),
      "enum",
      "routing_preference[0] is unspecified",
    ],
    [
      "an unknown scope",
      service("s", "1", { loadBalancing: { routingPreference: [UNKNOWN] } }),
      "enum",
      "routing_preference[0] has the unknown value 42",
    ],
    [
      "a weighted waypoint without destination",
      service("s", "1", { weightedWaypoints: [{ weight: 1 }] }),
      "missing",
      "weighted_waypoints[0].destination is missing",
    ],
    ["an unknown action", policy("p", { action: UNKNOWN }), "enum", "action has the unknown value 42"],
    [
      "a string match without type",
      match({ principals: [{}] }),
      "missing",
      `${at}.principals[0] has no match type`,
    ],
    [
      "a negated one too",
      match({ notNamespaces: [{ matchType: undefined }] }),
      "missing",
      `${at}.not_namespaces[0] has no match type`,
    ],
    [
      "a block of a policy",
      match({ notDestinationIps: [{ address: Uint8Array.of(1, 2, 3), length: 8 }] }),
      "address",
      `${at}.not_destination_ips[0] has 3 bytes instead of 4 or 16`,
    ],
    [
      "a port of a policy",
      match({ destinationPorts: [80, 65_536] }),
      "port",
      `${at}.destination_ports[1] is 65536, above 65535`,
    ],
  ])("names %s", (_, bytes, code, reason) => {
    expect(decode(bytes)).toEqual({ ok: false, code, reason });
  });

  it("tells that a resource is called otherwise", () => {
    const content = (bytes: Uint8Array) => {
      const envelope = open(bytes);
      return envelope.ok ? contentOf(envelope.value) : new Uint8Array();
    };
    const renamed = (type: string, bytes: Uint8Array) => decode(resource("other", "1", type, content(bytes)));
    expect(renamed(ADDRESS_TYPE, workload("w", "1"))).toMatchObject({
      code: "name",
      reason: 'uid is "w", not the resource\'s name',
    });
    expect(renamed(ADDRESS_TYPE, service("s", "1"))).toMatchObject({ code: "name" });
    expect(renamed(AUTHORIZATION_TYPE, policy("p"))).toMatchObject({ code: "name" });
  });

  it("names a few faults of many", () => {
    const ports = Array.from({ length: 100 }, () => ({ servicePort: 70_000 }));
    const decoded = decode(service("s", "1", { ports }));
    expect(decoded.ok ? "" : decoded.reason.split(", ports").length).toBe(4);
  });
});

describe("sharing", () => {
  it("gives equal parts of workloads one instance, and never mixes different ones", () => {
    const shared = new SharedParts();
    const of = (authorizationPolicies: string[], zone: string) => {
      const services = new Map([["d/s", { ports: [{ servicePort: 80, targetPort: 8080 }] }]]);
      const bytes = workload("w", "1", { authorizationPolicies, locality: { region: "r", zone }, services });
      const envelope = open(bytes);
      const decoded = envelope.ok ? decodeResource(ADDRESS_TYPE, envelope.value, shared) : envelope;
      if (!decoded.ok || decoded.value.kind !== "workload") throw new Error("not a workload");
      return decoded.value.value;
    };
    const [a, b, c] = [of(["d/p"], "z"), of(["d/p"], "z"), of(["d/p d/q"], "zz")];
    expect(a.locality).toBe(b.locality);
    expect(a.authorizationPolicies).toBe(b.authorizationPolicies);
    expect(a.services.get("d/s")).toBe(b.services.get("d/s"));
    expect(c.locality).toEqual({ region: "r", zone: "zz", subzone: "" });
    expect(of(["d/p", "d/q"], "z").authorizationPolicies).toEqual(["d/p", "d/q"]);
    expect(c.authorizationPolicies).toEqual(["d/p d/q"]);
  });
});
