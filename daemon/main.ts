// Owns the composition of a running daemon: build the parts, wire them, start and stop.
// Must not decide anything that one of the parts could.

import { createHash } from "node:crypto";
import { createServer, type Server } from "node:net";
import { networkInterfaces, release } from "node:os";
import { join } from "node:path";
import { loadNative, type Native, type RingBuffer } from "../native/index.js";
import type { VersionResponse } from "./admin/responses.js";
import { adminRoutes, metricsRoutes, readyRoutes } from "./admin/routes.js";
import { type Listener, listen } from "./admin/server.js";
import { alreadyRunning, failed, ok, type Result } from "./base/errors.js";
import { collectSoon } from "./base/heap.js";
import { createLogs, type Logs } from "./base/log.js";
import { packageRoot } from "./base/package-root.js";
import { formatHostPort } from "./base/parse.js";
import { readBuild } from "./base/version.js";
import { Dataplane } from "./bpf/dataplane.js";
import { checkEnvironment } from "./bpf/environment.js";
import { uninstall } from "./bpf/generation.js";
import { maps } from "./bpf/maps.gen.js";
import { Pins, STATE_MAPS } from "./bpf/pins.js";
import { createCompiler } from "./compile/compiler.js";
import type { Config } from "./config/config.js";
import { Mesh } from "./enforce/mesh.js";
import { createStore } from "./model/store.js";
import { DaemonView } from "./operator/daemon-view.js";
import { counterSource, stateSource } from "./operator/metric-sources.js";
import { AccessLog, type Wanted } from "./telemetry/access-log.js";
import { createWallClock } from "./telemetry/clock.js";
import { LineWriter } from "./telemetry/line-writer.js";
import { createMetrics } from "./telemetry/metrics.js";
import { createXdsClient, type XdsClient } from "./xds/client.js";
import type { NodeIdentity } from "./xds/node.js";
import type { ControlPlane } from "./xds/transport.js";

/** How often what the kernel does not announce is looked at: the node's addresses, namespaces that ended. */
const HOUSEKEEPING_MS = 10_000;

/** Where istiod serves xDS over TLS. */
const ISTIOD_TLS_PORT = 15012;

/** Responses from this size on leave garbage that is worth a collection. */
const LARGE_RESPONSE_BYTES = 4 * 1024 * 1024;

/** Values of settings.access_log. */
const ACCESS_LOG = { off: 0, on: 1, tail: 2 } as const;

export interface Daemon {
  /** Opens the access log's file anew, after it was moved away. */
  reopenAccessLog(): void;
  /** Stops serving; the kernel goes on enforcing. */
  stop(): Promise<void>;
}

/** Starts the daemon. Resolves once it serves its admin port; what it enforces then, readiness tells. */
export async function startDaemon(config: Config): Promise<Result<Daemon>> {
  const logs = createLogs({ levels: config.logLevel, format: config.logFormat });
  const log = logs.logger("main");
  const environment = checkEnvironment({ bpffs: config.bpffs, cgroup: config.cgroup });
  if (!environment.ok) return environment;
  const lock = await takeLock(config.bpffs);
  if (!lock.ok) return lock;

  const native = loadNative(packageRoot());
  const opened = Dataplane.open(native, environment.value, objectsDirectory(), config.mapLimit);
  if (!opened.ok) return opened;
  const dataplane = opened.value;
  const compiler = createCompiler({ node: config.nodeName, cluster: config.clusterId });
  const store = createStore();
  const { names } = compiler;

  const writer = LineWriter.open(config.accessLogFile);
  if (!writer.ok) return writer;
  const accessLog = new AccessLog({
    names,
    clock: createWallClock(),
    writer: writer.value,
    format: config.accessLogFormat,
    enabled: config.accessLog || dataplane.settings.accessLog === ACCESS_LOG.on,
    onWanted: (wanted) => sendEvents(wanted),
  });
  // The ring's pages count as the daemon's memory, twice over: it is opened when somebody wants records.
  let events: RingBuffer | undefined;
  const sendEvents = (wanted: Wanted) => {
    if (wanted !== "off") events ??= dataplane.openEvents((records) => accessLog.handle(records));
    dataplane.changeSettings({ accessLog: ACCESS_LOG[wanted] });
  };
  sendEvents(accessLog.wanted);

  const version = describeVersion(config, native);
  let xds: XdsClient | undefined;
  const theXds = () => {
    if (xds === undefined) throw new Error("the xDS client is made before anything asks for it");
    return xds;
  };
  const mesh: Mesh = new Mesh({
    store,
    compiler,
    dataplane,
    log: logs.logger("bpf"),
    onMapWriteFailed: (map) => metrics.mapWriteFailed(map),
    onMapOperations: (map, kind, count) => metrics.mapOperations(map, kind, count),
  });
  const metrics = createMetrics({
    names,
    counters: counterSource({ dataplane, compiler }),
    state: stateSource({ mesh, xds: theXds }),
    accessLog: writer.value,
    build: { version: version.version, commit: version.commit, layout: version.layout },
    legacyNames: config.legacyMetricNames,
  });

  const trim = () => native.trimMemory();
  xds = createXdsClient({
    ...controlPlane(config),
    node: nodeIdentity(config, version),
    silence: config.syncTimeout,
    log: logs.logger("xds"),
    apply: (update) => mesh.applyWhole(update),
    applyPart: (take) => mesh.applyPart(take),
    onComplete: async () => {
      await install(mesh, dataplane, logs);
      collectSoon(trim);
    },
    onApplied: (milliseconds, bytes) => {
      metrics.responseToKernel(milliseconds / 1000);
      if (bytes >= LARGE_RESPONSE_BYTES) collectSoon(trim);
    },
  });

  mesh.apply({ nodeAddresses: nodeAddresses(config) });
  mesh.restoreEnrollments();
  for (const pod of config.pod) {
    const enrolled = mesh.enroll(pod);
    if (!enrolled.ok) log.error({ err: enrolled.error }, enrolled.error.message);
  }
  const view = new DaemonView({
    config,
    logs,
    native,
    version,
    mesh,
    compiler,
    dataplane,
    xds,
    accessLog,
    accessLogWriter: writer.value,
    started: new Date().toISOString(),
    startWarnings: [],
  });
  const listeners: Listener[] = [];
  const adminLog = logs.logger("admin");
  for (const [name, address, routes] of [
    ["admin", config.adminAddress, adminRoutes(view)],
    ["metrics", config.metricsAddress, metricsRoutes(metrics)],
    ["ready", config.readyAddress, readyRoutes(view)],
  ] as const) {
    const listener = await listen(name, address, routes, { log: adminLog, localOnly: name === "admin" });
    if (!listener.ok) {
      await closeAll(listeners, events, lock.value);
      mesh.stop();
      return listener;
    }
    listeners.push(listener.value);
  }
  xds.start();
  warnWhenLate(config, dataplane, logs);
  const housekeeping = setInterval(() => {
    mesh.apply({ nodeAddresses: nodeAddresses(config) });
    mesh.dropDeadPods();
  }, HOUSEKEEPING_MS);
  log.info({ cgroup: environment.value.cgroup, bpffs: config.bpffs, node: config.nodeName }, "weftd serves");

  return ok({
    reopenAccessLog: () => {
      const reopened = writer.value.reopen();
      if (!reopened.ok) log.error({ err: reopened.error }, reopened.error.message);
    },
    async stop() {
      clearInterval(housekeeping);
      await theXds().stop();
      mesh.stop();
      await closeAll(listeners, events, lock.value);
      await writer.value.close();
      log.info("weftd stops; the kernel goes on enforcing");
      logs.flush();
    },
  });
}

/** Takes every hook and pin away. Refuses while a daemon runs. */
export async function uninstallAll(
  bpffs: string,
  cgroup: string | undefined,
): Promise<Result<{ links: number }>> {
  const environment = checkEnvironment({ bpffs, cgroup });
  if (!environment.ok) return environment;
  const lock = await takeLock(bpffs);
  if (!lock.ok) return lock;
  const removed = uninstall(loadNative(packageRoot()), new Pins(bpffs));
  lock.value.close();
  return ok(removed);
}

/** The first complete configuration governs as a new generation; later ones are changes to it. */
async function install(mesh: Mesh, dataplane: Dataplane, logs: Logs): Promise<void> {
  const log = logs.logger("bpf");
  const installed = await mesh.install();
  if (installed.ok) {
    log.info({ generation: dataplane.generation }, "new generation governs");
    return;
  }
  log.error({ err: installed.error }, installed.error.message);
  // A daemon that cannot enforce must not look like one that does; what governed before goes on.
  process.exitCode = 1;
  process.kill(process.pid, "SIGTERM");
}

function warnWhenLate(config: Config, dataplane: Dataplane, logs: Logs): void {
  setTimeout(() => {
    if (dataplane.installed) return;
    logs
      .logger("main")
      .warn(
        { address: config.xdsAddress },
        "no complete configuration from the control plane yet: what an earlier daemon left governing goes on, new pods are not governed",
      );
  }, config.syncTimeout).unref();
}

/** One daemon a BPF file system: an abstract socket, which the kernel frees with the process. */
function takeLock(bpffs: string): Promise<Result<Server>> {
  const name = createHash("sha256").update(bpffs).digest("hex").slice(0, 16);
  const server = createServer();
  return new Promise((resolve) => {
    server.once("error", () => resolve(failed(alreadyRunning(undefined))));
    server.listen(`\0weftd-${name}`, () => {
      server.unref();
      resolve(ok(server));
    });
  });
}

async function closeAll(
  listeners: readonly Listener[],
  events: RingBuffer | undefined,
  lock: Server,
): Promise<void> {
  await Promise.all(listeners.map((listener) => listener.close()));
  events?.close();
  lock.close();
}

/** Every address of this namespace but loopback's; none when the node is not exempt from policy. */
function nodeAddresses(config: Config): string[] {
  if (!config.authzNodeExempt) return [];
  return Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .filter(({ internal }) => !internal)
    .map(({ address }) => address);
}

function controlPlane(config: Config): ControlPlane {
  const { host, port } = config.xdsAddress;
  const address = formatHostPort(config.xdsAddress);
  if (!(config.xdsTls ?? port === ISTIOD_TLS_PORT)) return { address };
  return {
    address,
    tls: {
      rootCertFile: config.xdsRootCert,
      serverName: config.xdsServerName ?? host,
      tokenFile: config.xdsTokenFile,
    },
  };
}

function nodeIdentity(config: Config, version: VersionResponse): NodeIdentity {
  return {
    address: config.podAddress ?? nodeAddresses({ ...config, authzNodeExempt: true })[0] ?? "127.0.0.1",
    name: config.podName ?? `weftd-${config.nodeName}`,
    namespace: config.podNamespace,
    serviceAccount: config.serviceAccount,
    nodeName: config.nodeName,
    clusterId: config.clusterId,
    network: config.network,
    meshId: config.meshId,
    version: version.version,
  };
}

function objectsDirectory(): string {
  return join(packageRoot(), "build", "bpf");
}

function describeVersion(config: Config, native: Native): VersionResponse {
  const layout = createHash("sha256");
  for (const name of STATE_MAPS) layout.update(`${name}:${maps[name].layout};`);
  return {
    ...readBuild(),
    node: config.nodeName,
    kernel: release(),
    libbpf: native.libbpfVersion(),
    layout: layout.digest("hex").slice(0, 16),
  };
}
