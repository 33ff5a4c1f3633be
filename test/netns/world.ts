// Owns the small mesh that the namespace tests share: its pods, what they serve, and its YAML.
// Must not know what a test claims.

import { parse, stringify } from "yaml";
import { createLab, type Lab } from "../../lab/lab.js";
import { type LabMesh, type MeshOptions, startMesh } from "../../lab/mesh.js";
import { type Peer, startPeer } from "../../lab/peer.js";
import { sleep, until } from "../../lab/wait.js";

/** Addresses that nobody has. `block` stands for all of 10.97.0.0/16. */
export const vip = {
  web: { ipv4: "10.96.1.1", ipv6: "fd96::1:1" },
  dns: { ipv4: "10.96.1.2", ipv6: "fd96::1:2" },
  empty: "10.96.1.3",
  /** A second name of the same endpoints as dns. */
  names: "10.96.1.4",
  /** As dns, behind a waypoint that does not exist. */
  guided: "10.96.1.5",
  block: "10.97.3.4",
} as const;
export const webPort = 80;
export const targetPort = 8080;
export const dnsPort = 53;
export const dnsTargetPort = 5353;
export const web = "web.shop.svc.cluster.local";

export type Endpoint = "web-a" | "web-b" | "web-c";
export const endpoints: readonly Endpoint[] = ["web-a", "web-b", "web-c"];

const addresses = {
  client: ["10.77.0.11", "fd77::11"],
  other: ["10.77.0.12", "fd77::12"],
  "web-a": ["10.77.0.21", "fd77::21"],
  "web-b": ["10.77.0.22", "fd77::22"],
  "web-c": ["10.77.0.23", "fd77::23"],
  /** Serves, but the mesh does not know it. */
  outside: ["10.77.0.91", "fd77::91"],
} as const;
export type PodName = keyof typeof addresses;

/** What a test may change of the mesh. */
export interface Knobs {
  readonly weights?: Partial<Record<Endpoint, number>>;
  readonly unhealthy?: readonly Endpoint[];
  readonly policies?: readonly object[];
}

/** The mesh as weft-xds reads it. */
export function worldYaml({ weights = {}, unhealthy = [], policies = [] }: Knobs = {}): string {
  const workload = (name: PodName, more: object = {}) => ({
    name,
    namespace: "shop",
    serviceAccount: name.startsWith("web") ? "web" : name,
    addresses: addresses[name],
    ...more,
  });
  const endpoint = (name: Endpoint) =>
    workload(name, {
      capacity: weights[name] ?? 1,
      status: unhealthy.includes(name) ? "UNHEALTHY" : "HEALTHY",
    });
  const service = (name: string, vips: readonly string[], ports: object, more: object = { endpoints }) => ({
    name,
    namespace: "shop",
    vips,
    ports,
    ...more,
  });
  const webPorts = { [webPort]: targetPort };
  return stringify({
    workloads: [workload("client"), workload("other"), ...endpoints.map(endpoint)],
    services: [
      service("web", [vip.web.ipv4, vip.web.ipv6], webPorts),
      service("dns", [vip.dns.ipv4, vip.dns.ipv6], { [dnsPort]: dnsTargetPort }),
      service("names", [vip.names], { [dnsPort]: dnsTargetPort }),
      service(
        "guided",
        [vip.guided],
        { [dnsPort]: dnsTargetPort },
        { endpoints, waypoint: { address: "10.77.0.99", port: 15008 } },
      ),
      service("empty", [vip.empty], webPorts, {}),
      service("block", ["10.97.0.0/16"], webPorts),
    ],
    policies: policies.map((policy) => ({ namespace: "shop", ...policy })),
  });
}

/** The world's mesh and one more service, of web-b alone. */
export function withService(name: string, vip: string, ports: Readonly<Record<number, number>>): string {
  const world = parse(worldYaml()) as { services: object[] };
  const service = { name, namespace: "shop", vips: [vip], ports, endpoints: ["web-b"] };
  return stringify({ ...world, services: [...world.services, service] });
}

/** Services without endpoints, of which each takes two places among the targets. */
export function moreServices(count: number): object[] {
  return Array.from({ length: count }, (_, index) => ({
    name: `more-${index}`,
    namespace: "shop",
    vips: [`10.98.${index >> 8}.${index & 255}`],
    ports: { 80: 8080 },
  }));
}

/** Milliseconds: longer than one page of metrics is given to all who ask. */
const PAGE_MS = 1_200;

export class World {
  constructor(
    readonly lab: Lab,
    readonly mesh: LabMesh,
    readonly peers: Readonly<Record<PodName, Peer>>,
  ) {}

  /** Pushes another mesh and waits until `check` sees it. */
  async push(knobs: Knobs, what: string, check: () => Promise<boolean>): Promise<void> {
    this.mesh.edit(worldYaml(knobs));
    await until(what, check).catch((cause: unknown) => {
      const logs = ["weft-xds", "weftd"] as const;
      const said = logs.map((name) => `${name}:\n${this.mesh.log(name).split("\n").slice(-12).join("\n")}`);
      throw new Error(`${what}: no effect\n${said.join("\n")}`, { cause });
    });
  }

  /** Pushes another mesh whose endpoints differ, and waits until the kernel's frontends do. */
  async pushEndpoints(knobs: Knobs): Promise<void> {
    const before = await this.frontends();
    await this.push(knobs, "new runs of slots", async () => (await this.frontends()) !== before);
  }

  /** How often a reason was counted, by its name in `reasonNames`. */
  async reason(name: string): Promise<number> {
    const entry = (await this.#map("reasons")).find(({ key }) => key.reasonName === name);
    return Number(entry?.value.count ?? 0);
  }

  /** A metric as it is now, and not as an earlier reader was told. */
  async freshMetric(name: string, labels: Readonly<Record<string, string>> = {}): Promise<number> {
    await sleep(PAGE_MS);
    return this.mesh.metric(name, labels);
  }

  async frontends(): Promise<string> {
    return JSON.stringify(await this.#map("addresses"));
  }

  remove(): void {
    this.lab.remove();
  }

  async #map(name: string): Promise<Entry[]> {
    const dump = (await this.mesh.admin(`/debug/config_dump/bpf/workload?map=${name}`)) as {
      maps: Record<string, { entries: Entry[] }>;
    };
    return dump.maps[name]?.entries ?? [];
  }
}

interface Entry {
  readonly key: Readonly<Record<string, unknown>>;
  readonly value: Readonly<Record<string, unknown>>;
}

/** Pods `client` and `other` ask, web-a, web-b and web-c answer with their names over TCP and UDP. */
export async function createWorld(
  knobs: Knobs = {},
  options: Omit<MeshOptions, "yaml"> = {},
): Promise<World> {
  const lab = await createLab();
  try {
    for (const [name, [ipv4, ipv6]] of Object.entries(addresses)) {
      await lab.pod(`shop/${name}`, { ipv4, ipv6, enrolled: name !== "outside" });
    }
    const start = async ([, pod]: [string, Parameters<typeof startPeer>[1]]) => startPeer(lab, pod);
    const started = await Promise.all([...lab.pods].map(start));
    const peers = Object.fromEntries(started.map((p) => [p.pod.name.slice("shop/".length), p])) as Record<
      PodName,
      Peer
    >;
    for (const name of [...endpoints, "outside"] as const) {
      await peers[name].call("serveTcp", { host: "::", port: targetPort, name });
      await peers[name].call("serveUdp", { host: "::", port: dnsTargetPort, name });
    }
    const mesh = await startMesh(lab, { ...options, yaml: worldYaml(knobs) });
    return new World(lab, mesh, peers);
  } catch (error) {
    lab.remove();
    throw error;
  }
}

/** True when each count is within four standard deviations of its share. */
export function isShared(
  counts: Readonly<Record<string, number>>,
  weights: Readonly<Partial<Record<Endpoint, number>>>,
): boolean {
  const total = Object.values(counts).reduce((sum, count) => sum + count, 0);
  const weight = Object.values(weights).reduce((sum, value) => sum + value, 0);
  const fits = Object.entries(weights).every(([name, value]) => {
    const share = value / weight;
    const deviation = Math.sqrt(total * share * (1 - share));
    return Math.abs((counts[name] ?? 0) - total * share) <= 4 * deviation;
  });
  return fits && Object.keys(counts).every((name) => name in weights);
}
