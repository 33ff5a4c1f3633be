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
// A ratio is taken inside one pair of turns, and the order within pairs alternates; shown are medians.
// Short connections pile up in TIME_WAIT until no port is left, mesh or not: hence `parameters`, in all pods.

import { readdirSync } from "node:fs";
import { join } from "node:path";
import { packageRoot } from "../../daemon/base/package-root.js";
import { type Arm, createLab, type Lab, type Pod } from "../../lab/lab.js";
import { type LabMesh, startMesh } from "../../lab/mesh.js";
import { sysctl } from "../../lab/netns.js";
import { type BpfProgram, loadNative } from "../../native/index.js";
import { meshYaml } from "./datapath-mesh.js";
import { type Measurement, median, printTable, report } from "./report.js";

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
const ports = { iperf: 5201, load: 9000 } as const;
const load = join(packageRoot(), "build", "load");

/** One arm: who asks whom, and by which address. */
interface Side {
  readonly arm: Arm;
  readonly client: Pod;
  readonly server: Pod;
  readonly address: string;
}

interface Sides {
  readonly lab: Lab;
  readonly on: Side;
  readonly off: Side;
}

/** Measures, prints, and writes out/bench/datapath.json. Returns true when every budget is kept. */
export async function datapath(options: DatapathOptions): Promise<boolean> {
  const lab = await createLab();
  try {
    const sides = await build(lab);
    const mesh = await startMesh(lab, { yaml: meshYaml(vip, Object.values(ports)), accessLog: false });
    await checkGoverned(sides);
    const rows = await measure(sides, options);
    rows.push(await bpfTime(mesh, sides.on, options.seconds));
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
  const atLeast = (ratio: number) => ({ of: "ratio", atLeast: ratio }) as const;
  const rate = async (result: Promise<LoadResult>) => (await result).rate;
  return [
    await alternate("throughput-1", "Gbit/s", sides, options, atLeast(0.99), (s) =>
      iperf(lab, s, 1, seconds),
    ),
    await alternate("throughput-8", "Gbit/s", sides, options, atLeast(0.99), (s) =>
      iperf(lab, s, 8, seconds),
    ),
    await alternate("crr-1", "1/s", sides, options, atLeast(0.97), (s) => rate(crr(lab, s, 1, seconds))),
    await alternate("crr-16", "1/s", sides, options, atLeast(0.97), (s) => rate(crr(lab, s, 16, seconds))),
    await alternate("pingpong-1", "1/s", sides, options, atLeast(0.99), (s) =>
      rate(runLoad(lab, s, "pingpong", ["--seconds", `${seconds}`])),
    ),
  ];
}

/** Measures both arms in turns. */
async function alternate(
  name: string,
  unit: string,
  { on, off }: Sides,
  { alternations }: DatapathOptions,
  budget: Measurement["budget"],
  once: (side: Side) => Promise<number>,
): Promise<Measurement> {
  const values: number[] = [];
  const references: number[] = [];
  for (let i = 0; i < alternations; i++) {
    const order = i % 2 === 0 ? [on, off] : [off, on];
    for (const side of order) (side === on ? values : references).push(await once(side));
    process.stderr.write(`${name}: ${i + 1} of ${alternations}\r`);
  }
  const ratios = values.map((value, i) => value / (references[i] ?? Number.NaN));
  const range = `${Math.min(...ratios).toFixed(3)} to ${Math.max(...ratios).toFixed(3)}`;
  console.log(`${name}: ratio ${median(ratios).toFixed(3)} (${range})`);
  return { name, unit, value: median(values), reference: median(references), ratio: median(ratios), budget };
}

/** What build/load prints. */
interface LoadResult {
  readonly count: number;
  readonly rate: number;
  readonly failed: number;
  readonly lastError: string;
}

function crr(lab: Lab, side: Side, workers: number, seconds: number): Promise<LoadResult> {
  return runLoad(lab, side, "crr", ["--workers", `${workers}`, "--seconds", `${seconds}`]);
}

async function runLoad(lab: Lab, side: Side, mode: string, flags: readonly string[]): Promise<LoadResult> {
  const argv = [load, mode, "--address", side.address, "--port", `${ports.load}`, ...flags];
  const result = await lab.exec(side.client, argv, { arm: side.arm });
  if (result.code !== 0) throw new Error(`${argv.join(" ")}: ${result.stdout}${result.stderr}`);
  const parsed = JSON.parse(result.stdout) as LoadResult;
  // A failed connection costs other work than a good one: such a turn measures nothing.
  if (parsed.failed > 0)
    throw new Error(`${argv.join(" ")}: ${parsed.failed} failed with ${parsed.lastError}`);
  return parsed;
}

/** Throughput at the receiver, Gbit/s. */
async function iperf(lab: Lab, side: Side, streams: number, seconds: number): Promise<number> {
  const argv = ["iperf3", "-J", "-c", side.address, "-P", `${streams}`, "-t", `${seconds}`];
  const result = await lab.exec(side.client, argv, { arm: side.arm });
  const parsed = JSON.parse(result.stdout) as {
    error?: string;
    end?: { sum_received?: { bits_per_second: number } };
  };
  const bits = parsed.end?.sum_received?.bits_per_second;
  if (bits === undefined) throw new Error(`${argv.join(" ")}: ${parsed.error ?? result.stderr}`);
  return bits / 1e9;
}

interface RunTime {
  readonly name: string;
  readonly ns: number;
  readonly runs: number;
}

/**
 * Time in all of weft's programs a connection, both ends on this node, from the kernel's statistics; in a run
 * of its own, for the statistics themselves cost time (two clock readings a run, in part within what they measure).
 */
async function bpfTime(mesh: LabMesh, side: Side, seconds: number): Promise<Measurement> {
  const native = loadNative(packageRoot());
  const programs = openPrograms(join(mesh.lab.bpffs, "weft"));
  const statistics = native.enableStats();
  try {
    const before = programs.map(runTime);
    const flags = ["--workers", "16", "--seconds", `${seconds}`, "--warmup", "0"];
    const { count } = await runLoad(mesh.lab, side, "crr", flags);
    const used = programs.map(runTime).map((after, i) => ({
      name: after.name,
      ns: after.ns - (before[i]?.ns ?? 0),
      runs: after.runs - (before[i]?.runs ?? 0),
    }));
    console.log("\nBPF time a connection:");
    const line = ({ name, ns, runs }: RunTime) => [
      name,
      (runs / count).toFixed(2),
      runs === 0 ? "-" : (ns / runs).toFixed(0),
      (ns / count).toFixed(0),
    ];
    printTable([["program", "runs", "ns a run", "ns"], ...used.filter((u) => u.runs > 0).map(line)]);
    const value = used.reduce((sum, u) => sum + u.ns, 0) / count;
    const budget = { of: "value", atMost: 3000 } as const;
    return { name: "bpf-ns-per-connection", unit: "ns", value, reference: null, ratio: null, budget };
  } finally {
    statistics.close();
    for (const program of programs) program.close();
  }
}

function openPrograms(pins: string): BpfProgram[] {
  const native = loadNative(packageRoot());
  return readdirSync(pins)
    .filter((name) => name.startsWith("generation-"))
    .flatMap((generation) => readdirSync(join(pins, generation)).map((name) => join(pins, generation, name)))
    .filter((path) => /\/weft_[^/]+$/.test(path))
    .map((path) => native.openPinnedProgram(path));
}

function runTime({ info }: BpfProgram): RunTime {
  return { name: info.name, ns: Number(info.runTimeNs), runs: Number(info.runCount) };
}
