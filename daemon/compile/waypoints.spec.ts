import { describe, expect, it } from "vitest";
import { PodFlag } from "../bpf/maps.gen.js";
import { pod, type SampleFields, service } from "../model/test-samples.js";
import type { GatewayAddress } from "../model/workload.js";
import { singly } from "./operation.js";
import { createMesh, type TestMesh } from "./test-mesh.js";

const byName = (hostname: string): GatewayAddress => ({
  destination: { kind: "hostname", namespace: "default", hostname },
  hbonePort: 15008,
});
const at = (address: string, network = ""): GatewayAddress => ({
  destination: { kind: "address", network, address },
  hbonePort: 15008,
});
/** An endpoint of service wp. */
const guide = (name: string, address: string, fields: SampleFields = {}) =>
  pod(name, { addresses: [address], serves: { "default/wp": "80:8080" }, ...fields });
const a = pod("a", { addresses: ["10.0.0.1"], serves: { "default/web": "80:8080" } });
const plain = service("web", { vips: ["10.96.0.1"] });
const web = (waypoint = byName("wp")) => service("web", { vips: ["10.96.0.1"], waypoint });
const wp = service("wp", { vips: ["10.96.0.9"] });

/** Where the waypoint before web's port leads: `address:port share`. */
function before(mesh: TestMesh, address = "10.96.0.1/128:80"): readonly string[] | undefined {
  const { waypoint } = mesh.view().frontends[address] ?? {};
  return waypoint?.map((backend) => backend.replace(/ \d+ (0|1)\.(\d\d)\d+$/, " $1.$2"));
}

describe("a waypoint", () => {
  it("is the endpoints of a service, on the port that it maps, else on the same", () => {
    const mesh = createMesh();
    mesh.push({ workloads: [a, guide("w", "10.0.0.9")], services: [web(), wp] });
    expect(before(mesh)).toEqual(["10.0.0.9:15008 1.00"]);
    mesh.push({ services: [service("wp", { listens: "15008:9100" })] });
    expect(before(mesh)).toEqual(["10.0.0.9:9100 1.00"]);
  });

  it("is dialled on the operator's port where one is given", () => {
    const mesh = createMesh({ node: "node-a", waypointPort: 15_019 });
    mesh.push({ workloads: [a, guide("w", "10.0.0.9")], services: [web(), wp] });
    expect(before(mesh)).toEqual(["10.0.0.9:15019 1.00"]);
  });

  it("at an address is the workload there, else the service there", () => {
    const mesh = createMesh();
    mesh.push({ workloads: [a, guide("w", "10.0.0.9")], services: [web(at("10.96.0.9")), wp] });
    expect(before(mesh)).toEqual(["10.0.0.9:15008 1.00"]);
    mesh.push({ workloads: [pod("x", { addresses: ["10.96.0.9"] })] });
    expect(before(mesh)).toEqual(["10.96.0.9:15008 1.00"]);
  });

  it.each([
    ["a service that nobody knows", byName("nobody")],
    ["a service without endpoints", byName("empty")],
    ["an address that nobody has", at("10.9.9.9")],
    ["another network", at("10.0.0.9", "elsewhere")],
  ])("that is %s leads nowhere, and nobody goes around it", (_, waypoint) => {
    const mesh = createMesh();
    mesh.push({
      workloads: [a.with({ network: "net" }), guide("w", "10.0.0.9")],
      services: [web(waypoint), wp, service("empty")],
    });
    expect(before(mesh)).toEqual([]);
    expect(mesh.kernel.route("10.96.0.1", 80)).toMatch(/^guide/);
  });

  it("shares connections with others by weight; without weight there is the one", () => {
    const mesh = createMesh();
    const weighted = (weights: readonly number[]) => ({
      ...web(),
      weightedWaypoints: weights.map((weight, index) => ({
        destination: at(`10.0.0.${9 - index}`),
        weight,
      })),
    });
    mesh.push({
      workloads: [a, guide("w", "10.0.0.9"), pod("canary", { addresses: ["10.0.0.8"] })],
      services: [weighted([3, 1]), wp],
    });
    expect(before(mesh)).toEqual(["10.0.0.8:15008 0.25", "10.0.0.9:15008 0.75"]);
    mesh.push({ services: [weighted([0, 0])] });
    expect(before(mesh)).toEqual(["10.0.0.9:15008 1.00"]);
    mesh.push({ services: [{ ...weighted([0]), waypoint: undefined }] });
    expect(before(mesh)).toEqual([]);
  });

  it("before a workload is not before its services", () => {
    const mesh = createMesh();
    mesh.push({
      workloads: [a.with({ waypoint: byName("wp") }), guide("w", "10.0.0.9")],
      services: [plain, wp],
    });
    expect(mesh.view().addresses["10.0.0.1"]?.waypoint?.map((text) => text.split(" ")[0])).toEqual([
      "10.0.0.9:15008",
    ]);
    expect(before(mesh)).toBeUndefined();
  });

  it("whose endpoints change changes in one place, whoever is behind it, and nothing else does", () => {
    const mesh = createMesh();
    const behind = Array.from({ length: 50 }, (_, index) =>
      service(`s${index}`, { vips: [`10.96.1.${index}`], waypoint: byName("wp") }),
    );
    mesh.push({ workloads: [a, guide("w", "10.0.0.9")], services: [web(), ...behind, wp] });
    const { operations } = mesh.push({ workloads: [guide("w2", "10.0.0.8")] });
    const places = [...singly(operations)].map(({ map }) => map);
    expect(places.filter((map) => map === "waypoints")).toHaveLength(1);
    // Of the waypoint itself, and of its own service's frontend.
    expect(places.filter((map) => map === "targets").length).toBeLessThanOrEqual(3);
    expect(before(mesh)).toEqual(["10.0.0.8:15008 0.50", "10.0.0.9:15008 0.50"]);
    expect(before(mesh, "10.96.1.7/128:80")).toEqual(before(mesh));
    mesh.push({ workloads: [guide("w2", "10.0.0.8", { status: "UNHEALTHY" })] });
    expect(before(mesh)).toEqual(["10.0.0.9:15008 1.00"]);
  });

  it("that nothing is behind any more gives its number back", () => {
    const mesh = createMesh();
    mesh.push({ workloads: [a, guide("w", "10.0.0.9")], services: [web(), wp] });
    const { waypoints } = mesh.compiler.sizes();
    for (let round = 0; round < 5; round++) {
      mesh.push({ services: [plain] });
      mesh.compiler.takeRetired()?.();
      mesh.push({ services: [web(at(`10.0.0.${round}`))] });
    }
    expect(mesh.compiler.sizes().waypoints).toBe(waypoints);
  });

  it("is what its endpoints are, fit or not, as long as something is behind it", () => {
    const mesh = createMesh();
    const flags = () => Object.values(mesh.view().pods).map(({ flags }) => flags);
    mesh.push({
      pods: ["w", "a"].map((name, index) => ({ cookie: BigInt(index), namespace: "default", name })),
      workloads: [a, guide("w", "10.0.0.9", { status: "UNHEALTHY" })],
      services: [wp],
      policiesSynced: true,
    });
    expect(flags()).toEqual([0, 0]);
    mesh.push({ services: [web()] });
    expect(flags()).toEqual([PodFlag.WAYPOINT, 0]);
    mesh.push({ workloads: [guide("w", "10.0.0.9").with({ services: new Map() })] });
    expect(flags()).toEqual([0, 0]);
    mesh.push({ services: [web(at("10.0.0.9"))] });
    expect(flags()).toEqual([PodFlag.WAYPOINT, 0]);
    mesh.push({ services: [plain] });
    expect(flags()).toEqual([0, 0]);
  });
});
