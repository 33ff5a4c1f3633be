// Owns the bench of large meshes: how long a first sync takes, what it needs, and how fast a change arrives.
// Must not know how weftd does it.
//
// A control plane of its own process (sync-plane.ts) serves encoded responses over gRPC; weftd runs in a lab with
// the real kernel and four enrolled pods under a policy. For each size, in medians of `runs` fresh daemons:
//   sync      from weftd's request for addresses to its ACK of policies, which it sends once the kernel has all
//   cpu       of weftd's threads and its kernel time, from its start to that ACK: fit to compare on a busy machine
//   stall     nodejs_eventloop_lag: 99th percentile from weftd's start to that ACK, maximum until two seconds later
//   rss       VmRSS two seconds later; weftd itself has collected its garbage by then, when there was much
//   change    an endpoint's health turns: response sent to ACK received, gRPC both ways included
//   replace   a pod goes and another comes in one response, likewise
//   to-kernel what weftd's own histogram says of both: from the response's arrival to its last map operation
//   maps      kernel memory of all pinned maps, as their descriptors' memlock says
//   idle      CPU and wake-ups of weftd's threads over ten seconds in which nothing happens
// At the end of each run the kernel's maps must be what the compiler wants.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { packageRoot } from "../../daemon/base/package-root.js";
import { createLab, type Lab } from "../../lab/lab.js";
import { type LabMesh, meshWithPlane } from "../../lab/mesh.js";
import type { RunningProcess } from "../../lab/process.js";
import { Hopeless, sleep, until } from "../../lab/wait.js";
import { mapsUnder, processUsage } from "./kernel-usage.js";
import { type Measurement, printTable, report } from "./report.js";
import { median, quantile } from "./statistics.js";
import { type BenchPod, namespaceName } from "./sync-mesh.js";
import type { PlaneLine } from "./sync-plane.js";

export interface SyncOptions {
  /** Fresh daemons a size. */
  readonly runs: number;
  /** Workloads in the mesh. */
  readonly sizes: readonly number[];
}

const CHANGES = 1000;
const REPLACEMENTS = 500;
const SETTLE_MS = 2000;
const TIMEOUT = { timeoutMs: 120_000, everyMs: 5 };

/** Upper bounds by size; sizes between them have none. */
const SYNC_MS: Readonly<Record<number, number>> = { 1000: 100, 10000: 300, 100000: 1600 };
const RSS_MIB: Readonly<Record<number, number>> = { 1000: 75, 10000: 100, 100000: 200 };
const CHANGE_P50_MS = 0.5;
const CHANGE_P99_MS = 2;
const STALL_MS = 50;
const MAPS_MB: Readonly<Record<number, number>> = { 1000: 5 };
/** Share of one core, in per cent, over IDLE_MS without any change. */
const IDLE_PERCENT = 0.1;
const IDLE_MS = 10_000;

interface Run {
  readonly syncMs: number;
  readonly cpuMs: number;
  readonly stallP99Ms: number;
  readonly stallMaxMs: number;
  readonly rssMib: number;
  readonly change: readonly number[];
  readonly replace: readonly number[];
  readonly toKernelMs: number;
  readonly bytes: number;
  readonly mapsMb: number;
  readonly idlePercent: number;
  readonly idleWakeups: number;
}

/** Measures, prints, and writes out/bench/sync.json. Returns true when every budget is kept. */
export async function sync({ runs, sizes }: SyncOptions): Promise<boolean> {
  const rows: Measurement[] = [];
  const growth = [["workloads", "MB sent", "sync ms", "ms a 1,000", "RSS MiB", "KiB a workload"]];
  let base: { size: number; rss: number } | undefined;
  for (const size of sizes) {
    const taken: Run[] = [];
    for (let run = 0; run < runs; run++) {
      taken.push(await once(size));
      const last = taken.at(-1);
      console.log(
        `${size}: sync ${last?.syncMs.toFixed(0)} ms, CPU ${last?.cpuMs} ms, RSS ${last?.rssMib.toFixed(0)} MiB`,
      );
    }
    rows.push(...rowsOf(size, taken));
    const syncMs = median(taken.map((run) => run.syncMs));
    const rss = median(taken.map((run) => run.rssMib));
    base ??= { size, rss };
    const each = size === base.size ? "-" : (((rss - base.rss) * 1024) / (size - base.size)).toFixed(2);
    growth.push([
      `${size}`,
      ((taken[0]?.bytes ?? 0) / 1e6).toFixed(1),
      syncMs.toFixed(0),
      ((syncMs * 1000) / size).toFixed(1),
      rss.toFixed(0),
      each,
    ]);
  }
  console.log();
  printTable(growth);
  console.log();
  return report("sync", rows);
}

function rowsOf(size: number, runs: readonly Run[]): Measurement[] {
  const row = (name: string, unit: string, value: (run: Run) => number, atMost?: number): Measurement => ({
    name: `${name}-${size}`,
    unit,
    values: runs.map(value),
    references: null,
    budget: atMost === undefined ? null : { of: "value", atMost },
  });
  return [
    row("sync", "ms", (run) => run.syncMs, SYNC_MS[size]),
    row("cpu", "ms", (run) => run.cpuMs),
    row("rss", "MiB", (run) => run.rssMib, RSS_MIB[size]),
    row("change-p50", "ms", (run) => quantile(run.change, 0.5), CHANGE_P50_MS),
    row("change-p99", "ms", (run) => quantile(run.change, 0.99), CHANGE_P99_MS),
    row("replace-p50", "ms", (run) => quantile(run.replace, 0.5), CHANGE_P50_MS),
    row("replace-p99", "ms", (run) => quantile(run.replace, 0.99), CHANGE_P99_MS),
    row("to-kernel-mean", "ms", (run) => run.toKernelMs),
    row("stall-p99", "ms", (run) => run.stallP99Ms, STALL_MS),
    row("stall-max", "ms", (run) => run.stallMaxMs),
    row("maps", "MB", (run) => run.mapsMb, MAPS_MB[size]),
    row("idle-cpu", "%", (run) => run.idlePercent, IDLE_PERCENT),
    row("idle-wakeups", "1/s", (run) => run.idleWakeups),
  ];
}

/** One fresh daemon. */
async function once(size: number): Promise<Run> {
  const lab = await createLab();
  try {
    const pods = await makePods(lab);
    const plane = await startPlane(lab, size, pods);
    const mesh = await meshWithPlane(lab, plane.port, { accessLog: false });
    return await measure(plane, mesh).catch((cause: unknown) => {
      throw new Error(`weftd says:\n${mesh.log("weftd")}`, { cause });
    });
  } finally {
    lab.remove();
  }
}

async function measure(plane: BenchPlane, mesh: LabMesh): Promise<Run> {
  const daemon = mesh.launchDaemon();
  const ended = daemon.exited.then((): never => {
    throw new Error("weftd ended");
  });
  const { synced = Number.NaN, bytes = 0 } = await Promise.race([
    plane.next((line) => line.synced !== undefined),
    ended,
  ]);
  const cpuMs = cpuTimeMs(daemon);
  const during = await eventLoop(mesh);
  await sleep(SETTLE_MS);
  const after = await eventLoop(mesh);
  const rssMib = residentMib(daemon);
  const idle = await idleUsage(daemon);
  const maps = mapsUnder(join(mesh.lab.bpffs, "weft"));
  const counted = await toKernel(mesh);
  const change = await plane.measure(`change ${CHANGES}`);
  const replace = await plane.measure(`replace ${REPLACEMENTS}`);
  const counters = await toKernel(mesh);
  await checkKernel(mesh);
  const toKernelMs = ((counters.sum - counted.sum) / (counters.count - counted.count)) * 1000;
  await mesh.endDaemon("SIGTERM");
  return {
    syncMs: synced,
    cpuMs,
    bytes,
    rssMib,
    change,
    replace,
    toKernelMs,
    stallP99Ms: during.p99,
    stallMaxMs: Math.max(during.max, after.max),
    mapsMb: maps.reduce((sum, { bytes }) => sum + bytes, 0) / 1e6,
    ...idle,
  };
}

/** Pods of one namespace, which its policy lets talk to each other on ports 8080 and 8443. */
export async function makePods(lab: Lab): Promise<BenchPod[]> {
  const pods: BenchPod[] = [];
  for (const [index, name] of ["first", "second", "third", "fourth"].entries()) {
    const pod = { namespace: namespaceName(0), name, ipv4: `10.77.0.${11 + index}` };
    await lab.pod(`${pod.namespace}/${pod.name}`, pod);
    pods.push(pod);
  }
  return pods;
}

export class BenchPlane {
  readonly #process: RunningProcess;
  readonly #lines: PlaneLine[] = [];
  port = 0;

  constructor(process: RunningProcess) {
    this.#process = process;
    process.onLine((line) => this.#lines.push(JSON.parse(line) as PlaneLine));
  }

  /** The next line that `wanted` takes. */
  next(wanted: (line: PlaneLine) => boolean): Promise<PlaneLine> {
    return until(
      "the control plane of the bench",
      () => {
        const failed = this.#lines.find((line) => line.error !== undefined);
        if (failed !== undefined) throw new Hopeless(failed.error);
        if (!this.#process.running) throw new Hopeless(`the control plane ended: ${this.#process.stderr}`);
        const at = this.#lines.findIndex(wanted);
        return at < 0 ? undefined : this.#lines.splice(at, 1)[0];
      },
      TIMEOUT,
    );
  }

  /** Ends it: weftd is alone from now on. */
  async stop(): Promise<void> {
    await this.#process.stop();
  }

  async measure(command: string): Promise<readonly number[]> {
    this.#process.stdin.write(`${command}\n`);
    return (await this.next((line) => line.samples !== undefined)).samples ?? [];
  }
}

export async function startPlane(lab: Lab, size: number, pods: readonly BenchPod[]): Promise<BenchPlane> {
  const file = join(packageRoot(), "test", "bench", "sync-plane.ts");
  const argv = [process.execPath, "--import", "tsx", file, `${size}`, JSON.stringify(pods)];
  const plane = new BenchPlane(lab.spawnDaemon(argv));
  const { port = 0 } = await plane.next((line) => line.port !== undefined);
  plane.port = port;
  return plane;
}

/**
 * The daemon's gauges: how late ticks were that come 100 ms apart. One long stall is one note however long it lasts:
 * hence the maximum beside the percentile. A scrape begins them anew.
 */
export async function eventLoop(mesh: LabMesh): Promise<{ p99: number; max: number }> {
  const text = await mesh.metricsText();
  const read = (name: string) =>
    Number(new RegExp(`^nodejs_eventloop_lag_${name}_seconds (\\S+)`, "m").exec(text)?.[1]) * 1000;
  return { p99: read("p99"), max: read("max") };
}

/** User and system time so far; the kernel counts in hundredths of a second (USER_HZ). */
export function cpuTimeMs({ pid }: RunningProcess): number {
  const [, fields = ""] = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ");
  const [utime, stime] = fields.split(" ").slice(11, 13).map(Number);
  return ((utime ?? 0) + (stime ?? 0)) * 10;
}

async function idleUsage({ pid }: RunningProcess): Promise<Pick<Run, "idlePercent" | "idleWakeups">> {
  const before = processUsage(pid);
  const began = performance.now();
  await sleep(IDLE_MS);
  const after = processUsage(pid);
  const seconds = (performance.now() - began) / 1000;
  return {
    idlePercent: ((after.seconds - before.seconds) / seconds) * 100,
    idleWakeups: (after.wakeups - before.wakeups) / seconds,
  };
}

function residentMib({ pid }: RunningProcess): number {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]) / 1024;
}

/** What weftd has noted of responses so far: seconds and how many. */
async function toKernel(mesh: LabMesh): Promise<{ sum: number; count: number }> {
  const name = "weft_xds_response_to_kernel_seconds";
  return { sum: await mesh.metric(`${name}_sum`), count: await mesh.metric(`${name}_count`) };
}

/** The kernel's maps hold what the compiler wants, nothing else. */
async function checkKernel(mesh: LabMesh): Promise<void> {
  const diff = await mesh.weftctl("diff");
  if (diff.code !== 0) throw new Error(`the kernel differs from the model:\n${diff.stdout}${diff.stderr}`);
}
