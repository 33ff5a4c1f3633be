// Owns the bench of the way of the data: what a connection and its bytes cost with weft and without.
// Must not know how weft does it.
//
// Both arms live in one lab and take turns, on two pairs of pods of one shape (one veth each, one bridge, the
// same kernel parameters), with the same programs:
//   on   the pods are enrolled, their processes run in the cgroup that carries weft's hooks, the server's
//        namespace carries the verdict hook with an ALLOW policy by principal, address and port, and the
//        client connects to a virtual IP
//   off  the pods are not enrolled, their processes run in a sibling cgroup without hooks, the server's
//        namespace has no hook, and the client connects to the server's own address
// A ratio is taken inside one pair of turns, and the order within pairs alternates; shown are medians. CPU is that of
// the arm's own cgroup (both ends of the traffic; weftd's as well where weft is on) and of the softirq threads, which
// stands a machine that has other work; connections are counted without warm-up, for their CPU is counted as well.
// Short connections pile up in TIME_WAIT until no port is left, mesh or not: hence `parameters`, in all pods.

import { join } from "node:path";
import { type Arm, createLab, type Lab } from "../../lab/lab.js";
import { startMesh } from "../../lab/mesh.js";
import { sysctl } from "../../lab/netns.js";
import { type BpfTime, bpfTime } from "./bpf-time.js";
import { meshYaml } from "./datapath-mesh.js";
import { type Measurement, report } from "./report.js";
import {
  alternate,
  LOAD_PORT,
  type LoadResult,
  load,
  type Row,
  runLoad,
  type Side,
  type Sides,
  type Turn,
} from "./turns.js";

export interface DatapathOptions {
  /** Pairs of turns a row. */
  readonly alternations: number;
  /** Length of one turn. */
  readonly seconds: number;
}

const parameters = {
  "net.ipv4.ip_local_port_range": "1024 65535",
  "net.ipv4.tcp_tw_reuse": 1,
  "net.ipv4.tcp_max_tw_buckets": 4096,
};
const vip = "10.96.0.10";
const ownAddress = "10.77.0.12";
const ports = { iperf: 5201, load: LOAD_PORT } as const;

/** Measures, prints, and writes out/bench/datapath.json. Returns true when every budget is kept. */
export async function datapath(options: DatapathOptions): Promise<boolean> {
  const lab = await createLab();
  try {
    const sides = await build(lab);
    const mesh = await startMesh(lab, { yaml: meshYaml(vip, Object.values(ports)), accessLog: false });
    await checkGoverned(sides);
    const rows = await measure(sides, options);
    rows.push(...(await bpfRows(sides, lab, options)));
    console.log();
    const kept = report("datapath", rows);
    await mesh.uninstall();
    return kept;
  } finally {
    lab.remove();
  }
}

async function build(lab: Lab): Promise<Sides> {
  const pair = async (arm: Arm, octet: number): Promise<Side> => {
    const enrolled = arm === "mesh";
    const client = await lab.pod(`${arm}/client`, { ipv4: `10.77.0.${octet}`, enrolled });
    const server = await lab.pod(`${arm}/server`, { ipv4: `10.77.0.${octet + 1}`, enrolled });
    for (const pod of [client, server]) await sysctl(pod.netns, parameters);
    await lab.spawn(server, ["iperf3", "-s"], { arm, port: ports.iperf });
    await lab.spawn(server, [load, "server", "--port", `${ports.load}`, "--seconds", "3600"], {
      arm,
      port: ports.load,
    });
    return { arm, client, server, address: enrolled ? vip : `10.77.0.${octet + 1}` };
  };
  return { lab, on: await pair("mesh", 11), off: await pair("plain", 21) };
}

/** The arms must be what they claim: the virtual IP works in one and leads nowhere in the other. */
async function checkGoverned({ lab, on, off }: Sides): Promise<void> {
  await crr(lab, on, 1, 0.1);
  await crr(lab, off, 1, 0.1);
  const argv = [load, "crr", "--address", vip, "--port", `${ports.load}`, "--seconds", "0.1"];
  const stray = await lab.exec(off.client, argv, { arm: off.arm });
  if (stray.code === 0) throw new Error("the arm without weft reaches the virtual IP");
}

async function measure(sides: Sides, options: DatapathOptions): Promise<Measurement[]> {
  const { lab } = sides;
  const { seconds } = options;
  const connections = (workers: number) => async (side: Side) => {
    const { rate, count } = await crr(lab, side, workers, seconds);
    return { rate, work: count };
  };
  const gigabyte = (streams: number) => (side: Side) => iperf(lab, side, streams, seconds);
  const perGigabyte = (streams: number) =>
    ({ name: `cpu-per-gigabyte-${streams}`, unit: "s", atMost: 1.02 }) as const;
  const rows: Row[] = [
    { name: "throughput-1", unit: "Gbit/s", atLeast: 0.99, once: gigabyte(1), cpu: perGigabyte(1) },
    { name: "throughput-8", unit: "Gbit/s", atLeast: 0.99, once: gigabyte(8), cpu: perGigabyte(8) },
    { name: "crr-1", unit: "1/s", atLeast: 0.97, once: connections(1) },
    {
      name: "crr-16",
      unit: "1/s",
      atLeast: 0.97,
      once: connections(16),
      cpu: { name: "cpu-per-connection", unit: "s", atMost: 1.06 },
    },
    {
      name: "pingpong-1",
      unit: "1/s",
      atLeast: 0.99,
      once: async (side) => {
        const { rate, count } = await runLoad(lab, side, "pingpong", [
          "--seconds",
          `${seconds}`,
          "--warmup",
          "0",
        ]);
        return { rate, work: count };
      },
    },
  ];
  const taken: Measurement[] = [];
  for (const row of rows) taken.push(...(await alternate(row, sides, options.alternations)));
  return taken;
}

/** The rows of BPF time: through the service, and to the server's own address. */
async function bpfRows(
  { lab, on }: Sides,
  { bpffs }: Lab,
  { alternations, seconds }: DatapathOptions,
): Promise<Measurement[]> {
  const through = (address: string) =>
    bpfTime(join(bpffs, "weft"), lab.cgroups.mesh, alternations, async () => {
      const flags = ["--workers", "16", "--seconds", `${seconds}`, "--warmup", "0"];
      return (await runLoad(lab, { ...on, address }, "crr", flags)).count;
    });
  const service = await through(vip);
  const direct = await through(ownAddress);
  const rows: readonly [
    name: string,
    unit: string,
    turns: readonly BpfTime[],
    of: keyof BpfTime,
    atMost: number,
  ][] = [
    ["bpf-ns-per-connection", "ns", service, "ns", 2300],
    ["bpf-ns-per-connection-direct", "ns", direct, "ns", 1500],
    ["sockops-runs", "1", service, "sockopsRuns", 11],
    ["connect-ns", "ns", service, "connectNs", 500],
    ["verdict-ns", "ns", service, "verdictNs", 150],
  ];
  return rows.map(([name, unit, turns, of, atMost]) => ({
    name,
    unit,
    values: turns.map((turn) => turn[of]),
    references: null,
    budget: { of: "value", atMost },
  }));
}

function crr(lab: Lab, side: Side, workers: number, seconds: number): Promise<LoadResult> {
  return runLoad(lab, side, "crr", ["--workers", `${workers}`, "--seconds", `${seconds}`, "--warmup", "0"]);
}

/** Throughput at the receiver, Gbit/s, and gigabytes. */
async function iperf(lab: Lab, side: Side, streams: number, seconds: number): Promise<Turn> {
  const argv = ["iperf3", "-J", "-c", side.address, "-P", `${streams}`, "-t", `${seconds}`];
  const result = await lab.exec(side.client, argv, { arm: side.arm });
  const parsed = JSON.parse(result.stdout) as {
    error?: string;
    end?: { sum_received?: { bits_per_second: number; bytes: number } };
  };
  const received = parsed.end?.sum_received;
  if (received === undefined) throw new Error(`${argv.join(" ")}: ${parsed.error ?? result.stderr}`);
  return { rate: received.bits_per_second / 1e9, work: received.bytes / 1e9 };
}
