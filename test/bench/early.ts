// Owns the comparison of the hooks that deny: a flood of denied SYNs at each of them, and bulk data past each of them.
// Must not know how a hook works.
//
// Client and server are pods of one lab, wired by veths. The flood is bounded, as fast as one process sends it, and
// comes from nobody's address; what was denied is taken from weftd's own counters, and CPU is that of the sender's
// cgroup, in whose time the receiver's softirqs run. The same flood to a MAC that nobody has is what the sender alone
// costs. XDP in the kernel answers with RST here, which is how weft uses it on a veth.

import { join } from "node:path";
import { packageRoot } from "../../daemon/base/package-root.js";
import { createLab, type Lab } from "../../lab/lab.js";
import { type LabMesh, startMesh } from "../../lab/mesh.js";
import { check } from "../../lab/process.js";
import { until } from "../../lab/wait.js";
import { cpuSeconds } from "./kernel-usage.js";
import type { Measurement } from "./report.js";

const SECONDS = 2;
const PORTS = { iperf: 5201, denied: 9 } as const;
const CLIENT = "10.77.0.11";
const SERVER = "10.77.0.12";
/** Of nobody. */
const STRANGER = "10.77.0.99";
const NOBODY = "02:00:00:00:00:99";
const MESH = `workloads:
  - { name: client, namespace: mesh, serviceAccount: client, addresses: [${CLIENT}] }
  - { name: server, namespace: mesh, serviceAccount: server, addresses: [${SERVER}] }
policies:
  - { name: closed, namespace: mesh, action: DENY, rules: [{ destinationPorts: [${PORTS.denied}] }] }
`;

interface Arm {
  readonly name: string;
  readonly flags: readonly string[];
  /** What is counted for each denial. */
  readonly reason: string;
  /** As status names the hook. */
  readonly hook: string;
}

const ARMS: readonly Arm[] = [
  { name: "sk_lookup", flags: [], reason: "authz_denied", hook: "guard" },
  { name: "tc", flags: ["--authz-hook", "tc"], reason: "tc_denied", hook: "tc" },
  { name: "xdp-native", flags: ["--authz-hook", "xdp"], reason: "xdp_denied", hook: "xdp native" },
  {
    name: "xdp-generic",
    flags: ["--authz-hook", "xdp", "--xdp-deny", "reset"],
    reason: "xdp_denied",
    hook: "xdp generic",
  },
];

/** Denied SYNs a second, CPU of each, and bulk throughput, a row a hook. */
export async function earlyHooks(turns: number): Promise<Measurement[]> {
  const lab = await createLab();
  try {
    for (const [name, ipv4] of [
      ["client", CLIENT],
      ["server", SERVER],
    ] as const)
      await lab.pod(`mesh/${name}`, { ipv4 });
    const server = podOf(lab, "server");
    await lab.spawn(server, ["iperf3", "-s"], { port: PORTS.iperf });
    const flags: string[] = [];
    const mesh = await startMesh(lab, { yaml: MESH, accessLog: false, flags });
    const taken = new Map<string, number[]>();
    const put = (row: string, value: number) => taken.set(row, [...(taken.get(row) ?? []), value]);
    for (let turn = 0; turn < turns; turn++) {
      const alone = await sendersCost(lab);
      for (const arm of ARMS) {
        await turnTo(mesh, flags, arm);
        const { rate, cpu } = await flood(lab, mesh, arm);
        put(`hook-${arm.name}`, rate);
        put(`hook-${arm.name}-cpu`, cpu - alone);
        put(`bulk-${arm.name}`, await bulk(lab));
      }
    }
    await mesh.endDaemon("SIGTERM");
    await mesh.uninstall();
    return ARMS.flatMap(({ name }) => rowsOf(name, taken));
  } finally {
    lab.remove();
  }
}

function rowsOf(name: string, taken: ReadonlyMap<string, number[]>): Measurement[] {
  const row = (title: string, unit: string, references: readonly number[] | null): Measurement => {
    return { name: title, unit, values: taken.get(title) ?? [], references, budget: null };
  };
  return [
    row(`hook-${name}`, "SYN/s", null),
    row(`hook-${name}-cpu`, "us", null),
    row(`bulk-${name}`, "Gbit/s", taken.get("bulk-sk_lookup") ?? []),
  ];
}

async function turnTo(mesh: LabMesh, flags: string[], { flags: given, hook }: Arm): Promise<void> {
  await mesh.endDaemon("SIGTERM");
  flags.splice(0, flags.length, ...given);
  await mesh.startDaemon();
  await until(`hook ${hook}`, async () => {
    const { hooks } = (await mesh.admin("/status")) as { hooks: { hook: string; attached: boolean }[] };
    const early = hooks.filter((each) => /^(tc$|xdp )/.test(each.hook));
    const isAlone = early.every((each) => each.hook === hook);
    return isAlone && hooks.some((each) => each.hook === hook && each.attached);
  });
}

/** Microseconds of CPU that a frame costs which nobody takes. */
async function sendersCost(lab: Lab): Promise<number> {
  const { sent, cpu } = await send(lab, NOBODY);
  return (cpu / sent) * 1e6;
}

/** SYNs denied in a second, and microseconds of CPU for each. */
async function flood(lab: Lab, mesh: LabMesh, { reason }: Arm): Promise<{ rate: number; cpu: number }> {
  const server = podOf(lab, "server");
  const shown = await check(["ip", "-n", server.netns, "-j", "link", "show", "eth0"]);
  const [link] = JSON.parse(shown) as { address: string }[];
  const counted = async () => {
    const page = (await mesh.admin("/debug/config_dump/bpf/workload?map=reasons")) as {
      maps: { reasons: { entries: { key: { reasonName: string }; value: { count: string } }[] } };
    };
    const entry = page.maps.reasons.entries.find(({ key }) => key.reasonName === reason);
    return Number(entry?.value.count ?? 0);
  };
  const before = await counted();
  const { cpu, seconds } = await send(lab, link?.address ?? "");
  const denied = (await counted()) - before;
  if (denied === 0) throw new Error(`no SYN was denied: ${reason}`);
  return { rate: denied / seconds, cpu: (cpu / denied) * 1e6 };
}

async function send(lab: Lab, mac: string): Promise<{ sent: number; seconds: number; cpu: number }> {
  const argv = [
    join(packageRoot(), "build", "syn"),
    "eth0",
    mac,
    STRANGER,
    SERVER,
    `${PORTS.denied}`,
    `${SECONDS}`,
  ];
  const before = cpuSeconds([lab.cgroups.mesh]);
  const result = await lab.exec(podOf(lab, "client"), argv);
  const cpu = cpuSeconds([lab.cgroups.mesh]) - before;
  if (result.code !== 0) throw new Error(result.stderr);
  return { ...(JSON.parse(result.stdout) as { sent: number; seconds: number }), cpu };
}

async function bulk(lab: Lab): Promise<number> {
  const argv = ["iperf3", "-J", "-c", SERVER, "-t", `${SECONDS}`];
  const result = await lab.exec(podOf(lab, "client"), argv);
  const parsed = JSON.parse(result.stdout) as { end?: { sum_received?: { bits_per_second: number } } };
  const received = parsed.end?.sum_received;
  if (received === undefined) throw new Error(`iperf3: ${result.stdout}${result.stderr}`);
  return received.bits_per_second / 1e9;
}

function podOf(lab: Lab, name: string) {
  const pod = lab.pods.get(`mesh/${name}`);
  if (pod === undefined) throw new Error(`no pod mesh/${name}`);
  return pod;
}
