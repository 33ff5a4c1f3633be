// Owns the bench of what telemetry costs weftd: scrapes, the access log, counting the bytes of open connections.
// Must not know how weftd does it.
//
//   scrape-cpu-N    CPU of weftd for one page of N series, compressed, as Prometheus asks for it
//   scrape-hold-N   the longest that its event loop is held meanwhile, in CPU time (hold-probe.cjs)
//   log-rate        connections a second that one pod accepts, each with a line
//   log-core        CPU of weftd for each of them, times 20,000: cores at that rate
//   log-lost        connections without a line; log-untold: those of them that no counter of drops tells of
//   fed-core, fed-lost, fed-untold
//                   the same of records that a program writes into weftd's ring, 20,000 a second (record-feed.ts)
//   sweep-core      cores that weftd takes while 10,000 connections to a pod are open and say nothing
//   sweep-seen      from the last byte that was sent on them until the metrics hold all
// A series is what Prometheus takes for one: eight are a label set, and 80,000 are 10,000 of those. weftd's CPU is that of
// its threads, the kernel's work for it included: fit to compare on a busy machine.

import { readdirSync, readFileSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { packageRoot } from "../../daemon/base/package-root.js";
import { createLab, type Lab, type Pod } from "../../lab/lab.js";
import { type LabMesh, startMesh } from "../../lab/mesh.js";
import { sysctl } from "../../lab/netns.js";
import { check } from "../../lab/process.js";
import { Hopeless, sleep, until } from "../../lab/wait.js";
import { cgroupSeconds } from "./kernel-usage.js";
import { feedRecords } from "./record-feed.js";
import { type Budget, type Measurement, report } from "./report.js";
import { addSeries, CLIENT, meshYaml, nameParties, SERIES_A_LABEL_SET, SERVER } from "./telemetry-mesh.js";
import { LOAD_PORT, load } from "./turns.js";

export interface TelemetryOptions {
  /** Scrapes of each size, and turns of the access log. */
  readonly turns: number;
  /** Length of a turn of the access log. */
  readonly seconds: number;
}

const SIZES = [1_000, 10_000, 80_000];
const SCRAPE_CPU_MS = 50;
const HOLD_MS = 50;
/** Scrapes that are not counted: V8 compiles what is called often, which a daemon has behind it after minutes. */
const WARM_UPS = 20;
/** Milliseconds after a scrape until what it took is added up. */
const SETTLE_MS = 50;

const LOG_RATE = 20_000;
const LOG_CORES = 0.3;
/** Milliseconds after the last connection until its line is written, as far as weftd keeps up. */
const LOG_SETTLE_MS = 300;

const OPEN = 10_000;
const MESSAGE_BYTES = 64;
const SWEEP_CORES = 0.1;
const SEEN_MS = 5_000;
/** Two counts of open connections, and a look at the maps each thirty seconds. */
const SWEEP_WINDOW_MS = 10_000;
const SWEEP_WINDOWS = 5;

/** Measures, prints, and writes out/bench/telemetry.json. Returns true when every budget is kept. */
export async function telemetry(options: TelemetryOptions): Promise<boolean> {
  const rows = [
    ...(await inLab((lab) => scrapeRows(lab, options))),
    ...(await inLab((lab) => logRows(lab, options))),
    ...(await inLab((lab) => fedRows(lab, options))),
    ...(await inLab(sweepRows)),
  ];
  return report("telemetry", rows);
}

async function inLab(measure: (lab: Lab) => Promise<Measurement[]>): Promise<Measurement[]> {
  const lab = await createLab();
  try {
    return await measure(lab);
  } finally {
    lab.remove();
  }
}

function row(name: string, unit: string, values: readonly number[], bound?: Omit<Budget, "of">): Measurement {
  return {
    name,
    unit,
    values,
    references: null,
    budget: bound === undefined ? null : { of: "value", ...bound },
  };
}

/** A pod that is governed and serves, and one outside of the mesh that never runs out of ports. */
async function makePods(lab: Lab): Promise<{ client: Pod; server: Pod }> {
  const client = await lab.pod("mesh/client", { ipv4: CLIENT, enrolled: false });
  await sysctl(client.netns, {
    "net.ipv4.ip_local_port_range": "1024 65535",
    "net.ipv4.tcp_max_tw_buckets": 4096,
  });
  return { client, server: await lab.pod("mesh/server", { ipv4: SERVER }) };
}

/** Seconds of CPU that weftd takes while `work` is done; the control plane beside it does nothing. */
async function usage(lab: Lab, work: () => Promise<unknown>): Promise<number> {
  const before = cgroupSeconds(lab.cgroups.daemons);
  await work();
  return cgroupSeconds(lab.cgroups.daemons) - before;
}

// ---- scrapes ----

async function scrapeRows(lab: Lab, { turns }: TelemetryOptions): Promise<Measurement[]> {
  await makePods(lab);
  const mesh = await startMesh(lab, { yaml: meshYaml, accessLog: false });
  await mesh.endDaemon("SIGTERM");
  nameParties(lab);
  await mesh.startDaemon();
  const rows: Measurement[] = [];
  for (const [index, size] of SIZES.entries()) {
    await addSeries(mesh, (SIZES[index - 1] ?? 0) / SERIES_A_LABEL_SET, size / SERIES_A_LABEL_SET);
    await until(`a page of ${size} series`, async () => (await seriesOf(mesh)) === size);
    for (let round = 0; round < WARM_UPS; round++) await scrape(mesh);
    const spent: number[] = [];
    for (let turn = 0; turn < turns; turn++) spent.push(await scrapeMs(mesh));
    const bound = size === 10_000 ? { atMost: SCRAPE_CPU_MS } : undefined;
    rows.push(row(`scrape-cpu-${size}`, "ms", spent, bound), await holdRow(mesh, size, turns));
    process.stderr.write(`scrapes of ${size} series done\n`);
  }
  return rows;
}

async function seriesOf(mesh: LabMesh): Promise<number> {
  return [...(await mesh.metricsText()).matchAll(/^(kmesh|istio)_tcp_/gm)].length;
}

async function scrapeMs(mesh: LabMesh): Promise<number> {
  const seconds = await usage(mesh.lab, async () => {
    await scrape(mesh);
    await sleep(SETTLE_MS);
  });
  return seconds * 1000;
}

async function scrape(mesh: LabMesh): Promise<void> {
  const headers = { "accept-encoding": "gzip" };
  await (await fetch(`http://127.0.0.1:${mesh.ports.metrics}/metrics`, { headers })).arrayBuffer();
}

/** The longest holds of scrapes, by a daemon that looks at itself: in place of the other, for a while. */
async function holdRow(mesh: LabMesh, size: number, turns: number): Promise<Measurement> {
  const file = join(mesh.lab.directory, "holds");
  const probe = join(packageRoot(), "test", "bench", "hold-probe.cjs");
  await mesh.endDaemon("SIGTERM");
  await mesh.startDaemon(["env", `NODE_OPTIONS=--require=${probe}`, `WEFT_HOLDS=${file}`]);
  await until(`a page of ${size} series`, async () => (await seriesOf(mesh)) === size);
  const holds: number[] = [];
  for (let turn = 0; turn < turns; turn++) {
    const began = Date.now();
    await scrape(mesh);
    await sleep(SETTLE_MS);
    holds.push(longestSince(file, began));
  }
  await mesh.endDaemon("SIGTERM");
  rmSync(file);
  await mesh.startDaemon();
  return row(`scrape-hold-${size}`, "ms", holds, { atMost: HOLD_MS });
}

function longestSince(file: string, began: number): number {
  const noted = readFileSync(file, "utf8").trim().split("\n");
  const since = noted.map((line) => line.split(" ").map(Number)).filter(([at = 0]) => at >= began);
  return Math.max(0, ...since.map(([, ms = 0]) => ms));
}

// ---- access log ----

async function logRows(lab: Lab, { turns, seconds }: TelemetryOptions): Promise<Measurement[]> {
  const { client, server } = await makePods(lab);
  const mesh = await startMesh(lab, { yaml: meshYaml });
  await serve(lab, server);
  const rates: number[] = [];
  const cores: number[] = [];
  const before = logCounts(await mesh.metricsText());
  let all = before;
  for (let turn = 0; turn < turns; turn++) {
    const spent = await usage(lab, async () => {
      await request(lab, client, ["crr", "--workers", "16", "--seconds", `${seconds}`, "--warmup", "0"]);
      await sleep(LOG_SETTLE_MS);
    });
    // Looking costs weftd a page of metrics each time.
    const done = await until("a line of each connection", async () => {
      const now = logCounts(await mesh.metricsText());
      return now.ends > all.ends && now.lines + now.dropped >= now.ends && now;
    });
    const connections = done.ends - all.ends;
    rates.push(connections / seconds);
    cores.push((spent / connections) * LOG_RATE);
    all = done;
    process.stderr.write(`access log: ${turn + 1} of ${turns}\r`);
  }
  const since = (of: keyof LogCounts) => all[of] - before[of];
  const written = await linesWith(mesh, "");
  return [
    row("log-rate", "1/s", rates),
    row("log-core", "cores", cores, { atMost: LOG_CORES }),
    row("log-lost", "lines", [since("ends") - written], { atMost: 0 }),
    row("log-untold", "lines", [since("ends") - written - since("dropped")], { atMost: 0 }),
  ];
}

/** Lines of the access log that `pattern` is in, those of files that have had their size included. */
async function linesWith(mesh: LabMesh, pattern: string): Promise<number> {
  const directory = dirname(mesh.accessLogFile);
  const files = readdirSync(directory)
    .map((name) => join(directory, name))
    .filter((file) => file.startsWith(mesh.accessLogFile));
  const counts = await check(["grep", "--count", "--no-filename", pattern, ...files]);
  return counts
    .trim()
    .split("\n")
    .reduce((sum, count) => sum + Number(count), 0);
}

/** As logRows(), by records instead of connections. */
async function fedRows(lab: Lab, { turns, seconds }: TelemetryOptions): Promise<Measurement[]> {
  await makePods(lab);
  const mesh = await startMesh(lab, { yaml: meshYaml });
  const cores: number[] = [];
  let [records, refused] = [0, 0];
  for (let turn = 0; turn < turns; turn++) {
    const spent = await usage(lab, async () => {
      const fed = await feedRecords(lab, LOG_RATE, seconds);
      records += fed.records;
      refused += fed.refused;
      await sleep(LOG_SETTLE_MS);
    });
    cores.push(spent / seconds);
    process.stderr.write(`records: ${turn + 1} of ${turns}\r`);
  }
  const { lines, dropped } = await until("an end of each record", async () => {
    const now = logCounts(await mesh.metricsText());
    return now.lines + now.dropped + refused >= records && now;
  });
  const written = await linesWith(mesh, "src.workload=client.*dst.workload=server");
  if (written !== lines) throw new Error(`${lines} lines were counted, and ${written} are there`);
  return [
    row("fed-core", "cores", cores, { atMost: LOG_CORES }),
    row("fed-lost", "lines", [records - written], { atMost: 0 }),
    row("fed-untold", "lines", [records - written - dropped - refused], { atMost: 0 }),
  ];
}

interface LogCounts {
  /** Ends of connections, as the kernel counts them. */
  readonly ends: number;
  readonly lines: number;
  readonly dropped: number;
}

function logCounts(page: string): LogCounts {
  const sum = (series: RegExp) =>
    [...page.matchAll(series)].reduce((total, [, value]) => total + Number(value), 0);
  return {
    ends: sum(/^kmesh_tcp_connections_(?:closed|failed)_total\{.*\} (\d+)$/gm),
    lines: sum(/^weft_access_log_lines_total\{result="written"\} (\d+)$/gm),
    dropped:
      sum(/^weft_access_log_lines_total\{result="dropped"\} (\d+)$/gm) +
      sum(/^weft_ring_buffer_drops_total (\d+)$/gm),
  };
}

async function serve(lab: Lab, server: Pod): Promise<void> {
  await lab.spawn(server, [load, "server", "--port", `${LOAD_PORT}`, "--seconds", "3600"], {
    port: LOAD_PORT,
  });
}

async function request(lab: Lab, client: Pod, words: readonly string[]): Promise<void> {
  const argv = [load, ...words, "--address", SERVER, "--port", `${LOAD_PORT}`];
  const { code, stdout, stderr } = await lab.exec(client, argv, { arm: "plain" });
  if (code !== 0) throw new Error(`${argv.join(" ")}: ${stdout}${stderr}`);
}

// ---- open connections ----

async function sweepRows(lab: Lab): Promise<Measurement[]> {
  const { client, server } = await makePods(lab);
  const mesh = await startMesh(lab, { yaml: meshYaml, accessLog: false });
  await serve(lab, server);
  const seen = [await holdOpen(lab, client, mesh)];
  const cores: number[] = [];
  for (let window = 0; window < SWEEP_WINDOWS; window++) {
    const began = performance.now();
    const seconds = await usage(lab, () => sleep(SWEEP_WINDOW_MS));
    cores.push(seconds / ((performance.now() - began) / 1000));
    process.stderr.write(`open connections: ${window + 1} of ${SWEEP_WINDOWS}\r`);
  }
  return [
    row("sweep-core", "cores", cores, { atMost: SWEEP_CORES }),
    row("sweep-seen", "ms", seen, { atMost: SEEN_MS }),
  ];
}

/** Opens the connections, which stay; gives the milliseconds until the metrics hold all that was said on them. */
async function holdOpen(lab: Lab, client: Pod, mesh: LabMesh): Promise<number> {
  const argv = [load, "hold", "--workers", `${OPEN}`, "--seconds", "600"];
  const child = await lab.spawn(client, [...argv, "--address", SERVER, "--port", `${LOAD_PORT}`], {
    arm: "plain",
  });
  const patience = { timeoutMs: 120_000 };
  await until(
    `${OPEN} open connections`,
    () => {
      if (!child.running) throw new Hopeless(`${argv.join(" ")} ended: ${child.stderr}`);
      return child.stdout.includes("held");
    },
    patience,
  );
  const began = performance.now();
  const counted = () => mesh.metric("kmesh_tcp_received_bytes_total", { reporter: "destination" });
  await until("the bytes", async () => (await counted()) === OPEN * MESSAGE_BYTES, {
    ...patience,
    everyMs: 100,
  });
  return performance.now() - began;
}
