// Owns the proof that decoders take every field that protobuf's own encoder writes, and refuse what was cut.

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  IPFamilies,
  LoadBalancing_HealthPolicy,
  LoadBalancing_Mode,
  LoadBalancing_Scope,
  NetworkMode,
  ServiceVisibility,
  TunnelProtocol,
  WorkloadStatus,
  WorkloadType,
} from "../../proto/gen/workload.js";
import { resource, service, workload } from "../../test/helpers/wire.js";
import { addressFromBytes, blockFromBytes } from "../model/address.js";
import { SharedParts } from "./decode-parts.js";
import { ADDRESS_TYPE, contentOf } from "./resource.js";
import { decode, open } from "./test-decode.js";

describe("the reader", () => {
  const text = fc.oneof(fc.constantFrom("", "a", "ä", "team/web"), fc.string());
  const port = fc.record({ servicePort: fc.integer({ min: 1, max: 65_535 }), targetPort: fc.nat(65_535) });
  const address = fc.oneof(
    fc.uint8Array({ minLength: 4, maxLength: 4 }),
    fc.uint8Array({ minLength: 16, maxLength: 16 }),
  );
  const gateway = fc.record({
    hboneMtlsPort: fc.nat(65_535),
    destination: fc.oneof(
      fc.record({
        $case: fc.constant("hostname" as const),
        value: fc.record({ namespace: text, hostname: text }),
      }),
      fc.record({ $case: fc.constant("address" as const), value: fc.record({ network: text, address }) }),
    ),
  });
  const some = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: undefined });
  const canonical = (bytes: Uint8Array) => addressFromBytes(bytes);
  const gatewayOf = (
    sent:
      | {
          hboneMtlsPort: number;
          destination:
            | { $case: "hostname"; value: { namespace: string; hostname: string } }
            | { $case: "address"; value: { network: string; address: Uint8Array } };
        }
      | undefined,
  ) => {
    if (sent === undefined) return undefined;
    const { $case: kind, value } = sent.destination;
    const destination =
      kind === "hostname" ? { kind, ...value } : { kind, ...value, address: canonical(value.address) };
    return { destination, hbonePort: sent.hboneMtlsPort };
  };

  const workloads = fc.record({
    uid: text,
    name: text,
    namespace: text,
    addresses: fc.array(address, { maxLength: 3 }),
    hostname: text,
    network: text,
    networkMode: fc.constantFrom(0, 1),
    tunnelProtocol: fc.constantFrom(0, 1, 2),
    nativeTunnel: fc.boolean(),
    trustDomain: text,
    serviceAccount: text,
    waypoint: some(gateway),
    networkGateway: some(gateway),
    node: text,
    workloadType: fc.constantFrom(0, 1, 2, 3),
    workloadName: text,
    canonicalName: text,
    canonicalRevision: text,
    clusterId: text,
    locality: some(fc.record({ region: text, zone: text, subzone: text })),
    status: fc.constantFrom(0, 1),
    capacity: some(fc.nat(0xffffffff)),
    authorizationPolicies: fc.array(text, { maxLength: 3 }),
    services: fc.dictionary(text, fc.array(port, { maxLength: 3 }), { maxKeys: 3 }),
  });

  it("takes every field of a workload that protobuf's own encoder writes", () => {
    const shared = new SharedParts();
    fc.assert(
      fc.property(workloads, ({ services, ...sent }) => {
        const mappings = new Map(Object.entries(services).map(([key, ports]) => [key, { ports }]));
        const bytes = workload(sent.uid, "1", { ...sent, services: mappings });
        const decoded = decode(bytes, shared);
        if (!decoded.ok || decoded.value.kind !== "workload") throw new Error(JSON.stringify(decoded));
        expect(decoded.value.value.fields()).toEqual({
          ...sent,
          isFoundByName: false,
          addresses: sent.addresses.map(canonical),
          networkMode: NetworkMode[sent.networkMode],
          tunnelProtocol: TunnelProtocol[sent.tunnelProtocol],
          workloadType: WorkloadType[sent.workloadType],
          status: WorkloadStatus[sent.status],
          trustDomain: sent.trustDomain || "cluster.local",
          serviceAccount: sent.serviceAccount || "default",
          clusterId: sent.clusterId || "Kubernetes",
          capacity: sent.capacity ?? 1,
          locality: sent.locality ?? { region: "", zone: "", subzone: "" },
          waypoint: gatewayOf(sent.waypoint),
          networkGateway: gatewayOf(sent.networkGateway),
          services: new Map(Object.entries(services)),
        });
      }),
      { numRuns: 300 },
    );
  });

  it("takes every field of a service that protobuf's own encoder writes", () => {
    const shared = new SharedParts();
    const sentServices = fc.record({
      name: text,
      namespace: text,
      hostname: text,
      addresses: fc.array(fc.record({ network: text, address, length: some(fc.nat(32)) }), { maxLength: 3 }),
      ports: fc.array(port, { maxLength: 3 }),
      subjectAltNames: fc.array(text, { maxLength: 2 }),
      waypoint: some(gateway),
      weightedWaypoints: fc.array(fc.record({ destination: gateway, weight: fc.nat(100) }), { maxLength: 2 }),
      loadBalancing: some(
        fc.record({
          routingPreference: fc.array(fc.integer({ min: 1, max: 6 }), { maxLength: 4 }),
          mode: fc.nat(3),
          healthPolicy: fc.nat(1),
        }),
      ),
      ipFamilies: fc.nat(3),
      canonical: fc.boolean(),
      visibility: fc.nat(1),
    });
    fc.assert(
      fc.property(sentServices, (sent) => {
        const bytes = service(sent.hostname, "1", { ...sent, namespace: "default" });
        const decoded = decode(bytes, shared);
        if (!decoded.ok || decoded.value.kind !== "service") throw new Error(JSON.stringify(decoded));
        const { routingPreference = [], mode = 0, healthPolicy = 0 } = sent.loadBalancing ?? {};
        expect(decoded.value.value).toEqual({
          ...sent,
          key: `default/${sent.hostname}`,
          namespace: "default",
          addresses: sent.addresses.map(({ network, address: raw, length }) => ({
            network,
            ...blockFromBytes(raw, length ?? raw.length * 8),
          })),
          waypoint: gatewayOf(sent.waypoint),
          weightedWaypoints: sent.weightedWaypoints.map(({ destination, weight }) => ({
            destination: gatewayOf(destination),
            weight,
          })),
          loadBalancing: {
            mode: LoadBalancing_Mode[mode],
            routingPreference: routingPreference.map((scope) => LoadBalancing_Scope[scope]),
            healthPolicy: LoadBalancing_HealthPolicy[healthPolicy],
          },
          ipFamilies: IPFamilies[sent.ipFamilies],
          visibility: ServiceVisibility[sent.visibility],
        });
      }),
      { numRuns: 300 },
    );
  });

  it("rejects a cut resource, and only ever as malformed or under another name", () => {
    fc.assert(
      fc.property(
        workloads,
        fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
        ({ services: _, ...sent }, share) => {
          const whole = open(workload(sent.uid, "1", sent));
          if (!whole.ok) throw new Error(whole.reason);
          const content = contentOf(whole.value);
          const cut = content.subarray(0, Math.floor(content.length * share));
          const decoded = decode(resource(sent.uid, "1", ADDRESS_TYPE, cut));
          if (decoded.ok) throw new Error("accepted");
          expect(["malformed", "missing"]).toContain(decoded.code);
        },
      ),
      { numRuns: 300 },
    );
  });
});
