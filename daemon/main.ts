// Owns the composition of a running daemon: build the parts, wire them, start and stop.
// Must not decide anything that one of the parts could.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Native } from "../native/index.js";
import type { VersionResponse } from "./admin/answers.js";
import { openPorts } from "./admin/ports.js";
import { Deferred } from "./base/deferred.js";
import { describe, failed, ok, type Result, startFailed, type WeftError } from "./base/errors.js";
import { collectSoon } from "./base/heap.js";
import { LineWriter } from "./base/line-writer.js";
import { createLogs, type Logger, type Logs, logVerifier } from "./base/log.js";
import { OpenParts } from "./base/open-parts.js";
import { packageRoot } from "./base/package-root.js";
import { formatHostPort } from "./base/parse.js";
import type { RotationOptions } from "./base/rotation.js";
import { tellTime } from "./bpf/clock.js";
import { Dataplane } from "./bpf/dataplane.js";
import { checkEnvironment, type Environment, findCgroup2, loadAddon } from "./bpf/environment.js";
import { EventFeed } from "./bpf/event-feed.js";
import { takeLock, takeLockOver } from "./bpf/lock.js";
import { checkProgramTypes, closingMeans } from "./bpf/program-types.js";
import { type Compiler, type CompilerOptions, createCompiler } from "./compile/compiler.js";
import { isLocalNetwork } from "./compile/node.js";
import type { Config } from "./config/schema.js";
import { createEnforcement, type Enforcement, type EnforcementOptions } from "./enforce/enforcement.js";
import { WaypointKicks } from "./enforce/waypoint-kicks.js";
import type { TellEvent } from "./events/event.js";
import { lookUp } from "./names/lookup.js";
import { openCounting } from "./operator/counting.js";
import { DaemonView } from "./operator/daemon-view.js";
import { keptNumbers } from "./operator/metric-sources.js";
import { metricsPage } from "./operator/metrics-page.js";
import { neighbourWarnings } from "./operator/neighbours.js";
import { earlyOf, outlierLimits, switchesOf, unusedOptions } from "./start/choices.js";
import { controlPlaneOf } from "./start/control-plane.js";
import { proxyDns } from "./start/dns.js";
import { accompaniment, startHousekeeping } from "./start/housekeeping.js";
import { openJournal, planeEvents } from "./start/journal.js";
import { governByKubernetes } from "./start/kubernetes.js";
import { checkNeighbours, type Neighbours } from "./start/neighbours.js";
import { nodeIdentity } from "./start/node.js";
import { nodeSettings } from "./start/node-exemption.js";
import { countOpenBytes } from "./start/open-bytes.js";
import { watchRecords } from "./start/records.js";
import { tellServiceManager } from "./start/service-manager.js";
import { openSnapshot } from "./start/snapshot.js";
import { describeVersion } from "./start/version.js";
import { AccessLog } from "./telemetry/access-log.js";
import { createWallClock } from "./telemetry/clock.js";
import type { ConnectionMetrics } from "./telemetry/connection-metrics.js";
import { Instruments } from "./telemetry/instruments.js";
import { LabelBook } from "./telemetry/label-book.js";
import { startExport } from "./telemetry/otlp/start-export.js";
import { filterOf } from "./telemetry/record.js";
import { SeenConnections } from "./telemetry/seen-connections.js";
import { createXdsClient, type XdsClient } from "./xds/client.js";
import type { Snapshot } from "./xds/snapshot.js";

/** Responses from this size on leave garbage that is worth a collection. */
const LARGE_RESPONSE_BYTES = 4 * 1024 * 1024;

/** Milliseconds that the first configuration waits for DNS. */
const NAMES_MS = 2000;

export interface Daemon {
  /** Resolves when it cannot go on. What governed before goes on governing; stop() is still to be called. */
  readonly failure: Promise<WeftError>;
  /** Opens the access log's file anew, after it was moved away. */
  reopenAccessLog(): void;
  /** Stops serving; the kernel goes on enforcing. */
  stop(): Promise<void>;
}

/** Starts the daemon. Resolves once it serves its admin port; what it enforces then, readiness tells. */
export async function startDaemon(config: Config): Promise<Result<Daemon>> {
  const open = new OpenParts();
  const output = LineWriter.given("stderr");
  // The last lines before an end that nobody planned.
  process.once("exit", () => output.flushNow());
  const logs = createLogs({ levels: config.logLevel, format: config.logFormat, output });
  open.add(() => logs.close());
  const started = await start(config, logs, open).catch((error: unknown) => {
    logs.logger("main").debug({ err: error }, "the start failed");
    return failed(startFailed(error));
  });
  if (!started.ok) await open.close();
  return started;
}

async function start(config: Config, logs: Logs, open: OpenParts): Promise<Result<Daemon>> {
  const log = logs.logger("main");
  const ground = await openKernel(config, log, open);
  if (!ground.ok) return ground;
  const { native, dataplane, environment, neighbours } = ground.value;
  dataplane.prepare();
  const version = describeVersion(config.nodeName, native);
  const book = new LabelBook(dataplane.labels);
  const compiler = createCompiler({ ...compilerOptions(config), kept: keptNumbers(book) });
  const { keeper, connectionMetrics } = openCounting(config, dataplane, compiler, book);
  const written = openAccessLog(config, logs, compiler, dataplane, open);
  if (!written.ok) return written;
  const { accessLog, writer, seen, feed } = written.value;
  const instruments = new Instruments();
  const snapshot = openSnapshot(native, config, logs.logger("xds"), open);
  if (!snapshot.ok) return snapshot;
  const journal = openJournal(config, version.version, log, open);
  const tellEvent: TellEvent = (told) => journal.tell(told);
  const told = { instruments, tellEvent, log: logs.logger("bpf") };
  const enforcement = createEnforcement(enforcementOptions(config, ground.value, compiler, told));
  open.add(() => enforcement.stop());
  const failure = new Deferred<WeftError>();
  const kept = { tellEvent, snapshot: snapshot.value };
  const accompany = accompaniment({ ...enforcement, dataplane, feed }, logs.logger("bpf"));
  const subscribed = { native, dataplane, enforcement, instruments, version, accompany, ...kept };
  const xds = subscribe(config, logs, subscribed, failure);
  open.add(() => xds.stop());
  const startWarnings = [...unusedOptions(config), ...(await enrollPods(config, enforcement))];
  for (const warning of startWarnings) log.error(warning);
  const kubernetes = await governByKubernetes(config, enforcement, logs.logger("kube"), open);

  const asked = { neighbours, xds, accessLog, connectionMetrics, seen, journal, kubernetes };
  const parts = { config, logs, native, version, ...enforcement, compiler, dataplane, ...asked };
  const page = metricsPage(parts, { instruments, book, keeper });
  const exported = { registry: instruments.registry, log: logs.logger("telemetry") };
  const exporting = startExport({ config, version, page, accessLog, ...exported });
  open.add(() => exporting.close());
  const view = new DaemonView({
    ...{ ...parts, exporting },
    accessLogWriter: writer,
    started: new Date().toISOString(),
    startWarnings,
    closesBy: closingMeans(),
  });
  open.add(view.watch());
  const ports = await openPorts({ ...config, view, page, log: logs.logger("admin"), open });
  if (!ports.ok) return ports;
  xds.start();
  const keepCounters = (mayEnd: boolean) => keeper.look(mayEnd && dataplane.installed);
  open.add(startHousekeeping(enforcement, accompany, keepCounters, logs.logger("bpf")));
  open.add(watchStart(config, dataplane, xds, logs));
  const rounds = { ...ground.value, ...enforcement, compiler, feed, connectionMetrics, instruments };
  startRounds(config, rounds, logs, open);
  log.info({ version: version.version, ...placesOf(config, environment, ports.value) }, "weftd serves");
  open.add(tellServiceManager(native, process.env, () => view.components(), log));
  return ok(daemonOf(open, log, writer, failure));
}

interface RoundParts extends Kernel, Enforcement {
  readonly compiler: Compiler;
  readonly feed: EventFeed;
  readonly connectionMetrics: ConnectionMetrics;
  readonly instruments: Instruments;
}

/** What goes on beside the stream of updates. */
function startRounds(config: Config, parts: RoundParts, logs: Logs, open: OpenParts): void {
  const { compiler, connectionMetrics, dataplane, feed } = parts;
  open.add(watchRecords(dataplane, feed));
  open.add(countOpenBytes(dataplane, (seen) => connectionMetrics.see(seen), logs.logger("bpf")));
  open.add(kickWaypoints(compiler, dataplane, logs));
  const isLocal = (network: string) => isLocalNetwork(network, compiler.node);
  proxyDns(config, { ...parts, isLocal }, logs.logger("main"), open);
}

interface ToldOf {
  readonly instruments: Instruments;
  readonly tellEvent: TellEvent;
  readonly log: Logger;
}

function enforcementOptions(
  config: Config,
  { native, dataplane }: Kernel,
  compiler: Compiler,
  { instruments, tellEvent, log }: ToldOf,
): EnforcementOptions {
  return {
    compiler,
    lookup: lookUp,
    kernel: dataplane,
    waitForReaders: () => native.waitForReaders(),
    outliers: outlierLimits(config),
    deniesSilently: config.authzHook === "xdp" && config.xdpDeny === "drop",
    log,
    onMapWriteFailed: (map) => instruments.mapWriteFailed(map),
    onGenerationFailed: () => instruments.generationFailed(),
    onMapOperations: (map, kind, count) => instruments.mapOperations(map, kind, count),
    tellEvent,
  };
}

/** Where a daemon finds and serves what; `bound` are its own addresses. */
function placesOf(config: Config, { cgroup, bpffs }: Environment, bound: Readonly<Record<string, string>>) {
  const controlPlane = formatHostPort(config.xdsAddress);
  return { node: config.nodeName, control_plane: controlPlane, ...bound, cgroup, bpffs };
}

function daemonOf(open: OpenParts, log: Logger, writer: LineWriter, failure: Deferred<WeftError>): Daemon {
  return {
    failure: failure.promise,
    reopenAccessLog() {
      const reopened = writer.reopen();
      if (!reopened.ok) log.error(describe(reopened.error));
    },
    async stop() {
      log.info("weftd stops; the kernel goes on enforcing");
      await open.close();
    },
  };
}

interface Kernel {
  readonly native: Native;
  readonly dataplane: Dataplane;
  readonly environment: Environment;
  readonly neighbours: Neighbours;
}

/** What governs the node, once it is certain that no other daemon does. */
async function openKernel(config: Config, log: Logger, open: OpenParts): Promise<Result<Kernel>> {
  const environment = checkEnvironment({ bpffs: config.bpffs, cgroup: config.cgroup });
  if (!environment.ok) return environment;
  const addon = loadAddon(packageRoot());
  if (!addon.ok) return addon;
  const native = addon.value;
  const neighbours = checkNeighbours(native, environment.value, config);
  if (!neighbours.ok) return neighbours;
  const types = checkProgramTypes(native);
  if (!types.ok) return types;
  const told = (pid: number) => log.info({ pid }, "another weftd governs this node: it is asked to end");
  const lock = config.takeover
    ? await takeLockOver(native, config.bpffs, told)
    : takeLock(native, config.bpffs);
  if (!lock.ok) return lock;
  open.add(() => lock.value.close());
  const objects = join(packageRoot(), "build", "bpf");
  const limits = { entries: config.mapLimit, series: config.metricsMaxSeries };
  const dataplane = Dataplane.open(native, environment.value, objects, limits, earlyOf(config));
  if (!dataplane.ok) return dataplane;
  for (const { text, isLoss } of dataplane.value.inherited) {
    if (isLoss) log.warn(text);
    else log.info(text);
  }
  for (const text of neighbourWarnings(neighbours.value, dataplane.value.hooks())) log.warn(text);
  const node = nodeSettings(native, config, findCgroup2(readFileSync("/proc/self/mountinfo", "utf8")));
  if (!node.ok) return node;
  dataplane.value.changeSettings({ ...node.value, ...switchesOf(config) });
  tellTime(dataplane.value);
  const opened = { native, neighbours: neighbours.value };
  return ok({ ...opened, dataplane: dataplane.value, environment: environment.value });
}

/** Where Kmesh's waypoints listen for its TLV, whatever port the control plane names. */
const KMESH_PORT = 15_019;

function compilerOptions(config: Config): CompilerOptions {
  return {
    node: config.nodeName,
    cluster: config.clusterId,
    rootNamespace: config.rootNamespace,
    identity: config.identity,
    waypointPort: config.waypointPort ?? (config.waypointProtocol === "kmesh" ? KMESH_PORT : undefined),
  };
}

/** Gives silent connections to waypoints their headers; gives what ends that. */
function kickWaypoints(compiler: Compiler, dataplane: Dataplane, logs: Logs): () => void {
  const sockets = dataplane.waypointSockets;
  const isUsed = () => dataplane.installed && compiler.waypoints.isUsed;
  const kicks = new WaypointKicks({ sockets, isUsed, log: logs.logger("bpf") });
  kicks.start();
  return () => {
    kicks.stop();
    sockets.close();
  };
}

/** How the access log's file is begun anew. */
function rotationOf(config: Config, log: Logger): RotationOptions {
  const onTrouble = (text: string) => log.warn(text);
  return { bytes: config.accessLogMaxSize * 2 ** 20, files: config.accessLogMaxFiles, onTrouble };
}

function openAccessLog(
  config: Config,
  logs: Logs,
  { names }: Compiler,
  dataplane: Dataplane,
  open: OpenParts,
): Result<{ accessLog: AccessLog; writer: LineWriter; seen: SeenConnections; feed: EventFeed }> {
  const opened = LineWriter.open(config.accessLogFile, {
    rotation: rotationOf(config, logs.logger("telemetry")),
  });
  if (!opened.ok) return opened;
  const writer = opened.value;
  open.add(() => writer.close());
  const feed = new EventFeed(dataplane);
  open.add(() => feed.close());
  const seen = new SeenConnections();
  const accessLog = new AccessLog({
    names,
    clock: createWallClock(),
    writer,
    format: config.accessLogFormat,
    // What nobody says now is as it was last left.
    enabled: config.accessLog ?? feed.isStoredOn,
    filter: filterOf(config.accessLogFilter),
    denialLimit: config.accessLogDenialLimit,
    feed,
    onRecord: (record) => seen.note(record),
  });
  open.add(() => accessLog.stop());
  accessLog.start();
  return ok({ accessLog, writer, seen, feed });
}

interface Subscribed {
  readonly native: Native;
  readonly dataplane: Dataplane;
  readonly enforcement: Enforcement;
  readonly instruments: Instruments;
  readonly version: VersionResponse;
  readonly accompany: () => Promise<void>;
  readonly snapshot: Snapshot | undefined;
  readonly tellEvent: TellEvent;
}

/** A client whose updates go through the reconciler; the first complete configuration governs as a new generation. */
function subscribe(config: Config, logs: Logs, parts: Subscribed, failure: Deferred<WeftError>): XdsClient {
  const { accompany, native, dataplane, instruments, version } = parts;
  const { names, reconciler } = parts.enforcement;
  const trim = () => native.trimMemory();
  return createXdsClient({
    ...controlPlaneOf(config),
    ...planeEvents(formatHostPort(config.xdsAddress), parts.tellEvent),
    node: nodeIdentity(config, version.version),
    silence: config.syncTimeout,
    snapshot: parts.snapshot,
    log: logs.logger("xds"),
    apply: (update) => reconciler.apply(update),
    applyPart: (take) => reconciler.applyPart(take),
    async onComplete(source) {
      // What governs until then knows the names.
      await names.settled(NAMES_MS);
      const installed = await reconciler.install();
      // A daemon that cannot enforce must not look like one that does.
      if (!installed.ok) {
        failure.resolve(installed.error);
        return false;
      }
      const log = logs.logger("bpf");
      log.info({ generation: dataplane.generation, source }, "new generation governs");
      for (const lack of dataplane.lacks) {
        log.warn(describe(lack));
        logVerifier(log, lack);
      }
      await accompany();
      collectSoon(trim);
      return true;
    },
    onApplied(milliseconds, bytes) {
      instruments.responseToKernel(milliseconds / 1000);
      // Before the first generation its own collection is to come, and would stop one that is being worked on.
      if (bytes >= LARGE_RESPONSE_BYTES && dataplane.installed) collectSoon(trim);
    },
  });
}

/** Enrolls the pods that an earlier daemon left, and those of the configuration; gives what went wrong. */
async function enrollPods(config: Config, { pods }: Enforcement): Promise<string[]> {
  await pods.restore();
  const warnings: string[] = [];
  for (const pod of config.pod) {
    const enrolled = await pods.want(pod);
    if (!enrolled.ok) warnings.push(describe(enrolled.error));
  }
  return warnings;
}

/** Tells once of a control plane that has not said enough in time; gives what ends that. */
function watchStart(config: Config, dataplane: Dataplane, xds: XdsClient, logs: Logs): () => void {
  const timer = setTimeout(() => {
    // What is held and does not govern yet is a snapshot, which says so itself when it does.
    if (dataplane.installed || xds.state().types.every(({ synced }) => synced)) return;
    logs
      .logger("main")
      .warn(
        { address: formatHostPort(config.xdsAddress) },
        "no complete configuration from the control plane yet: what an earlier daemon left governing goes on, and new pods deny every connection",
      );
  }, config.syncTimeout);
  return () => clearTimeout(timer);
}
