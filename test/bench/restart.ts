// Owns the bench of a restart with a large snapshot: what it takes, and what connections see of it.
// Must not know how weftd does it.
//
// weftd learns a mesh from a control plane, which then ends. For each run it is killed, and started again with nothing
// but the snapshot:
//   ready       from its start to its readiness, --sync-timeout of 100 ms included
//   cpu         of weftd's threads and its kernel time until then: fit to compare on a busy machine
//   stall       nodejs_eventloop_lag of that time
//   connect     connect(2) of one pod to another, p99, from the start until a second after it is ready, held against
//               two seconds in which nothing happens
// All the while a port that the policy does not name is refused, and no connection to the other fails.

import { join } from "node:path";
import { createLab, type Lab } from "../../lab/lab.js";
import { type LabMesh, meshWithPlane } from "../../lab/mesh.js";
import { type Peer, startPeer } from "../../lab/peer.js";
import { Hopeless, sleep, until } from "../../lab/wait.js";
import { type Measurement, report } from "./report.js";
import { quantile } from "./statistics.js";
import { cpuTimeMs, eventLoop, makePods, startPlane } from "./sync.js";

export interface RestartOptions {
  /** Restarts. */
  readonly runs: number;
  /** In the snapshot. */
  readonly workloads: number;
}

const READY_MS = 2000;
const STALL_MS = 50;
const CONNECT_RATIO = 2;
const ALLOWED_PORT = 8080;
const DENIED_PORT = 9090;
const EVERY_MS = 2;
/** Between two questions whether it is ready: each costs it a millisecond. */
const LOOK_MS = 50;
const QUIET_MS = 2000;
/** Longer than any restart should be: what comes after is cut off. */
const LOUD_MS = 8000;
const AFTER_MS = 1000;
/** After learning, which leaves much to collect. */
const REST_MS = 3000;

interface Run {
  readonly readyMs: number;
  readonly cpuMs: number;
  readonly stallP99Ms: number;
  readonly stallMaxMs: number;
  readonly quietP99Ms: number;
  readonly switchP99Ms: number;
}

/** Measures, prints, and writes out/bench/restart.json. Returns true when every budget is kept. */
export async function restart({ runs, workloads }: RestartOptions): Promise<boolean> {
  const lab = await createLab();
  try {
    const { mesh, client, host } = await learn(lab, workloads);
    const taken: Run[] = [];
    for (let run = 0; run < runs; run++) {
      const last = await once(mesh, client, host);
      taken.push(last);
      console.log(
        `ready ${last.readyMs.toFixed(0)} ms, CPU ${last.cpuMs} ms, stall p99 ${last.stallP99Ms.toFixed(0)} ms, connect p99 ${last.switchP99Ms.toFixed(2)} ms against ${last.quietP99Ms.toFixed(2)} ms`,
      );
    }
    return report("restart", rowsOf(taken));
  } finally {
    lab.remove();
  }
}

function rowsOf(runs: readonly Run[]): Measurement[] {
  const row = (name: string, value: (run: Run) => number, atMost?: number): Measurement => ({
    ...{ name, unit: "ms", values: runs.map(value), references: null },
    budget: atMost === undefined ? null : { of: "value", atMost },
  });
  return [
    row("ready", (run) => run.readyMs, READY_MS),
    row("cpu", (run) => run.cpuMs),
    row("stall-p99", (run) => run.stallP99Ms, STALL_MS),
    row("stall-max", (run) => run.stallMaxMs),
    {
      ...row("connect-p99", (run) => run.switchP99Ms),
      references: runs.map((run) => run.quietP99Ms),
      budget: { of: "ratio", atMost: CONNECT_RATIO },
    },
  ];
}

/** A weftd that has a snapshot of the whole mesh, and no control plane any more. */
async function learn(lab: Lab, workloads: number): Promise<{ mesh: LabMesh; client: Peer; host: string }> {
  const pods = await makePods(lab);
  const plane = await startPlane(lab, workloads, pods);
  const flags = ["--state-dir", join(lab.directory, "state"), "--sync-timeout", "100ms"];
  const mesh = await meshWithPlane(lab, plane.port, { accessLog: false, flags });
  mesh.launchDaemon();
  await plane.next((line) => line.synced !== undefined);
  await until("a snapshot", async () => (await mesh.metric("weft_xds_snapshot_bytes")) > workloads * 100);
  await plane.stop();
  const [client, server] = await Promise.all(
    [...lab.pods.values()].slice(0, 2).map((pod) => startPeer(lab, pod)),
  );
  const host = pods[1]?.ipv4 ?? "";
  if (client === undefined || server === undefined) throw new Error("the lab has no pods");
  for (const port of [ALLOWED_PORT, DENIED_PORT])
    await server.call("serveTcp", { host: "0.0.0.0", port, name: "server" });
  await sleep(REST_MS);
  return { mesh, client, host };
}

async function isReady(mesh: LabMesh): Promise<boolean> {
  if (!mesh.daemon.running) throw new Hopeless(`weftd ended:\n${mesh.log("weftd")}`);
  return mesh.isReady().catch(() => false);
}

async function once(mesh: LabMesh, client: Peer, host: string): Promise<Run> {
  const allowed = { host, port: ALLOWED_PORT, everyMs: EVERY_MS };
  const both = (ms: number) =>
    Promise.all([
      client.call("connects", { ...allowed, ms }),
      client.call("connects", { ...allowed, port: DENIED_PORT, ms }),
    ]);
  const [quiet] = await both(QUIET_MS);
  const loud = both(LOUD_MS);
  await mesh.endDaemon("SIGKILL");
  const began = Date.now();
  mesh.launchDaemon();
  await until("weftd ready", () => isReady(mesh), { timeoutMs: 120_000, everyMs: LOOK_MS });
  const readyMs = Date.now() - began;
  const cpuMs = cpuTimeMs(mesh.daemon);
  const lag = await eventLoop(mesh);
  await sleep(AFTER_MS);
  const end = began + readyMs + AFTER_MS;
  const [allowedThen, deniedThen] = await loud;
  const during = allowedThen.filter(({ at }) => at >= began && at < end);
  const failed = [...quiet, ...during].filter(({ code }) => code !== "OK");
  const admitted = deniedThen.filter(({ code }) => code !== "ECONNREFUSED");
  if (failed.length + admitted.length > 0 || during.length === 0)
    throw new Error(`not enforced throughout: ${JSON.stringify({ failed, admitted })}`);
  const p99 = (taken: readonly { readonly ms: number }[]) =>
    quantile(
      taken.map(({ ms }) => ms),
      0.99,
    );
  return {
    readyMs,
    cpuMs,
    stallP99Ms: lag.p99,
    stallMaxMs: lag.max,
    quietP99Ms: p99(quiet),
    switchP99Ms: p99(during),
  };
}
