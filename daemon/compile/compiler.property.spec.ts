import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type MapName, maps, TableNumber } from "../bpf/maps.gen.js";
import type { Policy } from "../model/policy.js";
import { type Service, serviceKey } from "../model/service.js";
import { createStore, type ReadableStore } from "../model/store.js";
import { freshUpdate, pod, service } from "../model/test-samples.js";
import type { EnrolledPod, Update } from "../model/update.js";
import type { GatewayAddress, Workload } from "../model/workload.js";
import { principalOf } from "./authz/identity.js";
import { match, policy, text } from "./authz/test-mesh.js";
import { type Compiler, createCompiler } from "./compiler.js";
import { type MapOperation, singly } from "./operation.js";
import { atOnce } from "./steps.js";
import { TestMaps } from "./test-maps.js";
import { type LogicalView, logicalView } from "./view.js";

const NODE = { node: "node-a" };
const ADDRESSES = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "2001:db8::1", "2001:db8::2"];
const VIPS = ["10.96.0.1", "10.96.0.2", "2001:db8:f::1", "10.96.0.0/24", "10.0.0.0/8", "::/64"];
const PORTS = ["80", "80:8080 443", "80:0 443:8443", "80 80:8080", ""];
const SERVICES = ["web", "api", "db", "dns"];
const POLICIES = ["p1", "p2", "p3"];

/** Everything a connection of the small mesh can ask for. */
const DESTINATIONS = [...ADDRESSES, "10.96.0.1", "10.96.0.2", "10.96.0.77", "2001:db8:f::1", "::1"].flatMap(
  (address) => [80, 443, 9].map((port) => ({ address, port })),
);

const keys = ["default", "other"].flatMap((namespace) => SERVICES.map((name) => `${namespace}/${name}`));
const addresses = fc.uniqueArray(fc.constantFrom(...ADDRESSES), { maxLength: 2 });
const network = fc.constantFrom("", "", "net-1", "net-2");
const locality = fc.record({
  region: fc.constantFrom("r1", "r2"),
  zone: fc.constantFrom("z1", "z2"),
  subzone: fc.constant(""),
});
const gateway = fc
  .constantFrom(...SERVICES, ...ADDRESSES, ...VIPS.filter((vip) => !vip.includes("/")))
  .map((name): GatewayAddress => {
    const destination = SERVICES.includes(name)
      ? ({ kind: "hostname", namespace: "default", hostname: name } as const)
      : ({ kind: "address", network: "", address: name } as const);
    return { destination, hbonePort: 15008 };
  });
const waypoint = fc.option(gateway, { nil: undefined, freq: 4 });

const workloads: fc.Arbitrary<Workload> = fc
  .record({
    name: fc.constantFrom("a", "b", "c", "d", "e"),
    kind: fc.constantFrom("pod", "pod", "entry"),
    addresses,
    network,
    node: fc.constantFrom("node-a", "node-b", ""),
    locality,
    networkMode: fc.constantFrom("STANDARD", "STANDARD", "HOST_NETWORK"),
    tunnelProtocol: fc.constantFrom("HBONE", "NONE"),
    serviceAccount: fc.constantFrom("one", "two"),
    status: fc.constantFrom("HEALTHY", "HEALTHY", "UNHEALTHY"),
    capacity: fc.constantFrom(0, 1, 1, 3),
    waypoint,
    authorizationPolicies: fc.uniqueArray(fc.constantFrom(...POLICIES.map((name) => `default/${name}`)), {
      maxLength: 2,
    }),
    serves: fc.dictionary(fc.constantFrom(...keys), fc.constantFrom(...PORTS), { maxKeys: 3 }),
  } as const)
  .map(({ kind, name, ...fields }) => {
    const sample = pod(name, fields);
    if (kind === "pod") return sample;
    return sample.with({ uid: `Kubernetes/networking.istio.io/WorkloadEntry/default/${name}` });
  });

const services: fc.Arbitrary<Service> = fc
  .record({
    name: fc.constantFrom(...SERVICES),
    namespace: fc.constantFrom("default", "default", "default", "other"),
    vips: fc.uniqueArray(fc.constantFrom(...VIPS), { maxLength: 3 }),
    listens: fc.constantFrom(...PORTS),
    network,
    mode: fc.constantFrom("UNSPECIFIED", "UNSPECIFIED", "STRICT", "FAILOVER", "PASSTHROUGH"),
    routingPreference: fc.constantFrom(["NODE"], ["NETWORK", "REGION", "ZONE"], []),
    healthPolicy: fc.constantFrom("ONLY_HEALTHY", "ALLOW_ALL"),
    canonical: fc.boolean(),
    visibility: fc.constantFrom("PUBLIC", "NAMESPACE"),
    waypoint,
  } as const)
  .map(({ name, network, mode, routingPreference, healthPolicy, ...fields }) => {
    const sample = service(name, { ...fields, loadBalancing: { mode, routingPreference, healthPolicy } });
    return { ...sample, addresses: sample.addresses.map((address) => ({ ...address, network })) };
  });

const policies: fc.Arbitrary<Policy> = fc
  .record({
    name: fc.constantFrom(...POLICIES),
    action: fc.constantFrom("ALLOW", "DENY"),
    scope: fc.constantFrom("WORKLOAD_SELECTOR", "NAMESPACE", "GLOBAL"),
    dryRun: fc.boolean(),
    account: fc.constantFrom("one", "two", "*"),
    ports: fc.constantFrom([], [80], [443, 80]),
  } as const)
  .map(({ name, account, ports, ...fields }) => {
    const principals = [account === "*" ? text("*") : text(`cluster.local/ns/default/sa/${account}`)];
    const rules = [[[match({ principals, destinationPorts: ports })]]];
    return policy(name, rules, { ...fields, namespace: "default" });
  });

const enrolled: fc.Arbitrary<EnrolledPod[]> = fc
  .uniqueArray(fc.constantFrom("a", "b", "c"), { maxLength: 3 })
  .map((names) => names.map((name) => ({ cookie: BigInt(name.charCodeAt(0)), namespace: "default", name })));

const updates: fc.Arbitrary<Update> = fc.record(
  {
    workloads: fc.array(workloads, { maxLength: 4 }),
    services: fc.array(services, { maxLength: 3 }),
    policies: fc.array(policies, { maxLength: 2 }),
    removedAddresses: fc.array(
      fc.oneof(
        fc.constantFrom(...keys),
        workloads.map((workload) => workload.uid),
      ),
      { maxLength: 3 },
    ),
    removedPolicies: fc.array(fc.constantFrom(...POLICIES.map((name) => `default/${name}`)), {
      maxLength: 1,
    }),
    pods: enrolled,
    policiesSynced: fc.boolean(),
  },
  { requiredKeys: ["workloads"] },
);

function viewOf(compiler: Compiler, operations: TestMaps): LogicalView {
  const identities = [...compiler.authz.identities()].map(
    (identity) => [identity.number, principalOf(identity)] as const,
  );
  return logicalView(operations.entries(), new Map(identities));
}

function freshView(state: ReadableStore): LogicalView {
  const store = createStore();
  const compiler = createCompiler(NODE);
  const { operations } = compiler.compile(store.apply(freshUpdate(state)), store);
  return viewOf(compiler, new TestMaps(operations));
}

describe("compiler", () => {
  it("ends in the maps of one fresh push, whatever came before", () => {
    fc.assert(
      fc.property(
        fc.array(updates, { minLength: 1, maxLength: 6 }),
        fc.infiniteStream(fc.boolean()),
        (steps, coin) => {
          const store = createStore();
          const compiler = createCompiler(NODE);
          const kernel = new TestMaps();
          for (const step of [...steps, { policiesSynced: true }, { holdsOver: Number.POSITIVE_INFINITY }]) {
            kernel.apply(compiler.compile(store.apply(step), store).operations);
            if (coin.next().value) compiler.takeRetired()?.();
          }
          const view = viewOf(compiler, kernel);
          expect(view).toEqual(freshView(store));
          expect(viewOf(compiler, new TestMaps([...compiler.snapshot()].flat()))).toEqual(view);
          expect(view.orphans).toBe(0);
          for (const map of [
            "cidrs",
            "addresses",
            "pods",
            "workload_pods",
            "authz_tables",
            "authz_identity",
          ] as const) {
            expect([map, compiler.sizes()[map] ?? 0]).toEqual([map, kernel.count(map)]);
          }
          const again = compiler.compile(store.apply(freshUpdate(store)), store);
          expect(again.operations).toEqual([]);
        },
      ),
      { numRuns: 200 },
    );
  });

  it("has everything lie where it lay when a compaction is taken back", () => {
    fc.assert(
      fc.property(fc.array(updates, { minLength: 1, maxLength: 6 }), (steps) => {
        const store = createStore();
        const compiler = createCompiler(NODE);
        const kernel = new TestMaps();
        const whole = () => [...singly([...compiler.snapshot()].flat())];
        for (const step of [...steps, { policiesSynced: true }, { holdsOver: Number.POSITIVE_INFINITY }]) {
          kernel.apply(compiler.compile(store.apply(step), store).operations);
          const before = { whole: whole(), sizes: compiler.sizes(), needed: compiler.needed() };
          const undo = atOnce(compiler.compact());
          whole();
          atOnce(undo());
          expect({ whole: whole(), sizes: compiler.sizes(), needed: compiler.needed() }).toEqual(before);
          compiler.takeRetired()?.();
        }
        expect(viewOf(compiler, kernel)).toEqual(freshView(store));
      }),
      { numRuns: 100 },
    );
  });

  it("takes a compaction back in steps, one for each address that says where its targets lie", () => {
    const store = createStore();
    const compiler = createCompiler(NODE);
    const services = ["a", "b", "c"].map((name, index) => service(name, { vips: [`10.96.0.${index}`] }));
    compiler.compile(store.apply({ services }), store);
    compiler.compile(store.apply({ removedAddresses: services.slice(0, 1).map(serviceKey) }), store);
    compiler.takeRetired()?.();
    const undo = atOnce(compiler.compact());
    expect([...undo()]).toHaveLength(2);
  });

  it("ends in the same maps when the first updates are noted, and the maps filled after them", () => {
    fc.assert(
      fc.property(
        fc.array(updates, { minLength: 1, maxLength: 4 }),
        fc.array(updates, { maxLength: 2 }),
        (noted, later) => {
          const store = createStore();
          const compiler = createCompiler(NODE);
          for (const step of noted) compiler.note(store.apply(step), store);
          atOnce(compiler.catchUp(store));
          const kernel = new TestMaps([...compiler.snapshot()].flat());
          for (const step of [...later, { policiesSynced: true }, { holdsOver: Number.POSITIVE_INFINITY }]) {
            kernel.apply(compiler.compile(store.apply(step), store).operations);
          }
          expect(viewOf(compiler, kernel)).toEqual(freshView(store));
        },
      ),
      { numRuns: 100 },
    );
  });

  it("says the same of what it cannot represent, noted or compiled", () => {
    const wide = service("wide", { vips: ["::/64"] });
    const store = createStore();
    const compiler = createCompiler(NODE);
    expect(compiler.note(store.apply({ services: [wide] }), store).rejections).toEqual([]);
    const rejections = atOnce(compiler.catchUp(store));
    const other = createStore();
    const compiled = createCompiler(NODE).compile(other.apply({ services: [wide] }), other);
    expect(rejections).toEqual(compiled.rejections);
    expect(rejections.map(({ name }) => name)).toEqual(["default/wide"]);
  });

  it("shows a connection the old state or the new one after every single operation", () => {
    fc.assert(
      fc.property(fc.array(updates, { minLength: 1, maxLength: 4 }), (steps) => {
        const store = createStore();
        const compiler = createCompiler(NODE);
        const kernel = new TestMaps();
        for (const step of steps) {
          const { operations } = compiler.compile(store.apply(step), store);
          const clients = ["default", "other", "elsewhere"].map((name) => compiler.namespaces.idOf(name));
          const questions = clients.flatMap((client) => DESTINATIONS.map((to) => ({ client, ...to })));
          const routes = (maps: TestMaps) =>
            questions.map(({ address, port, client }) => maps.route(address, port, client));
          const before = routes(kernel);
          const after = routes(new TestMaps([...asPuts(kernel), ...operations]));
          for (const operation of singly(operations)) {
            kernel.apply([operation]);
            if (ROUTING.has(operation.map)) {
              for (const [index, now] of routes(kernel).entries())
                if (now !== before[index]) expect(now).toBe(after[index]);
            }
            if (operation.map === "addresses" || operation.map === "cidrs")
              expect(isRewriting(kernel)).toBe(true);
            if (operation.map.startsWith("authz") || operation.map === "pods") expectTables(kernel);
          }
          expect(isRewriting(kernel)).toBe(false);
          compiler.takeRetired()?.();
        }
      }),
      { numRuns: 100 },
    );
  });
});

const ROUTING: ReadonlySet<MapName> = new Set(["addresses", "cidrs", "views", "targets", "slots"]);

/** What a hook that searches frontends is told: that they are being changed. */
function isRewriting(kernel: TestMaps): boolean {
  const count = kernel.get("rewrites", maps.rewrites.key.encode(0));
  return count !== undefined && maps.rewrites.value.decode(count).count % 2 === 1;
}

/** Every pod is guarded by a verdict table that is there, or by a number that needs none. */
function expectTables(kernel: TestMaps): void {
  for (const [map, , value] of kernel.entries()) {
    if (map !== "pods") continue;
    const { number } = maps.pods.value.decode(value).guard;
    expect(number).not.toBe(TableNumber.UNKNOWN);
    if (number < TableNumber.FIRST) continue;
    expect(kernel.get("authz_tables", maps.authz_tables.key.encode(number))).toBeDefined();
  }
}

function asPuts(kernel: TestMaps): MapOperation[] {
  return [...kernel.entries()].map(([map, key, value]) => ({ kind: "put", map, key, value }));
}

// Guards the arbitraries themselves: keys as the removals spell them.
it("names services as the removals do", () => {
  expect(serviceKey(service("web"))).toBe("default/web");
});
