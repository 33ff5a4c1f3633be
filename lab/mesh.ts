// Owns a running mesh in a lab: weft-xds with a YAML file, weftd, and the questions put to them.
// Must not know what a test or the demo does with it.

import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { packageRoot } from "../daemon/base/package-root.js";
import type { Lab } from "./lab.js";
import { type RunningProcess, type RunResult, run } from "./process.js";
import { Hopeless, isListening, until } from "./wait.js";

export interface DaemonOptions {
  /** Default true: every connection goes to accessLog(). */
  readonly accessLog?: boolean;
  /** Further flags of weftd. */
  readonly flags?: readonly string[];
  /** A command that weftd is started by, which becomes it. */
  readonly through?: readonly string[];
}

export interface MeshOptions extends DaemonOptions {
  /** What weft-xds serves. */
  readonly yaml: string;
}

/** Starts both daemons in a lab; resolves when weftd says that it is ready. */
export async function startMesh(lab: Lab, options: MeshOptions): Promise<LabMesh> {
  const mesh = new LabMesh(lab, options, await freePorts());
  mesh.edit(options.yaml);
  await mesh.startXds();
  await mesh.startDaemon();
  return mesh;
}

/** A mesh whose control plane, on port `xds` of loopback, is the caller's. Starts nothing: launchDaemon() does. */
export async function meshWithPlane(lab: Lab, xds: number, options: DaemonOptions = {}): Promise<LabMesh> {
  return new LabMesh(lab, options, { ...(await freePorts()), xds });
}

async function freePorts(): Promise<Ports> {
  return {
    xds: await freePort(),
    admin: await freePort(),
    metrics: await freePort(),
    ready: await freePort(),
  };
}

interface Ports {
  readonly xds: number;
  readonly admin: number;
  readonly metrics: number;
  readonly ready: number;
}

export class LabMesh {
  readonly yamlFile: string;
  readonly accessLogFile: string;
  #xds: RunningProcess | undefined;
  #daemon: RunningProcess | undefined;

  constructor(
    readonly lab: Lab,
    readonly options: DaemonOptions,
    readonly ports: Ports,
  ) {
    mkdirSync(join(lab.directory, "mesh"));
    this.yamlFile = join(lab.directory, "mesh", "mesh.yaml");
    this.accessLogFile = join(lab.directory, "access.log");
    writeFileSync(this.accessLogFile, "");
  }

  get adminUrl(): string {
    return `http://127.0.0.1:${this.ports.admin}`;
  }

  /** weftd as it runs now. */
  get daemon(): RunningProcess {
    if (this.#daemon === undefined) throw new Error("weftd was not started");
    return this.#daemon;
  }

  /** Replaces the YAML in one step; weft-xds pushes what changed. Returns at once. */
  edit(yaml: string): void {
    writeFileSync(`${this.yamlFile}.new`, yaml);
    renameSync(`${this.yamlFile}.new`, this.yamlFile);
  }

  async startXds(): Promise<void> {
    const argv = [...program("weft-xds"), "--file", this.yamlFile, "--listen", `127.0.0.1:${this.ports.xds}`];
    const xds = this.lab.spawnDaemon(argv, { logFile: this.logFile("weft-xds") });
    this.#xds = xds;
    await until("weft-xds listening", () => {
      if (!xds.running) throw new Hopeless(`weft-xds ended:\n${this.log("weft-xds")}`);
      return isListening(xds.pid, this.ports.xds);
    });
  }

  async stopXds(): Promise<void> {
    await this.#xds?.stop();
  }

  /** The command line of weftd, or of another build of it. */
  daemonCommand(weftd: readonly string[] = program("weftd")): string[] {
    const { xds, admin, metrics, ready } = this.ports;
    const { accessLog = true, flags = [] } = this.options;
    return [
      ...weftd,
      ...["--xds-address", `127.0.0.1:${xds}`, "--node-name", "node"],
      ...["--cgroup", this.lab.cgroups.mesh, "--bpffs", this.lab.bpffs],
      ...["--admin-address", `127.0.0.1:${admin}`, "--metrics-address", `127.0.0.1:${metrics}`],
      ...["--ready-address", `127.0.0.1:${ready}`],
      ...[...this.lab.pods.values()]
        .filter((p) => p.enrolled)
        .flatMap((p) => ["--pod", `${p.name}=${p.path}`]),
      ...(accessLog ? ["--access-log", "--access-log-file", this.accessLogFile] : []),
      ...flags,
    ];
  }

  /** Starts weftd, or another build of it, by a command that becomes it, and returns at once. */
  launchDaemon(weftd?: readonly string[], through = this.options.through): RunningProcess {
    const argv = [...(through ?? []), ...this.daemonCommand(weftd)];
    this.#daemon = this.lab.spawnDaemon(argv, { logFile: this.logFile("weftd") });
    return this.#daemon;
  }

  /** Starts weftd and waits until it is ready; returns the milliseconds that took. */
  async startDaemon(through?: readonly string[]): Promise<number> {
    const started = performance.now();
    const daemon = this.launchDaemon(undefined, through);
    await until("weftd being ready", () => {
      if (!daemon.running) throw new Hopeless(`weftd ended:\n${this.log("weftd")}`);
      return this.isReady();
    }).catch((cause: unknown) => {
      if (cause instanceof Hopeless) throw cause;
      throw new Error(`weftd is not ready; it says:\n${this.log("weftd")}`, { cause });
    });
    return performance.now() - started;
  }

  /** Whether weftd says so; rejects while nobody answers. */
  async isReady(): Promise<boolean> {
    return (await fetch(`http://127.0.0.1:${this.ports.ready}/healthz/ready`)).ok;
  }

  /** Ends weftd as `signal` does and waits for its end. Returns the exit code, -1 for a signal. */
  async endDaemon(signal: NodeJS.Signals): Promise<number> {
    this.daemon.kill(signal);
    return await this.daemon.exited;
  }

  /** `weftd uninstall` on the lab's bpffs. */
  uninstall(...args: readonly string[]): Promise<RunResult> {
    return run([...program("weftd"), "uninstall", "--bpffs", this.lab.bpffs, ...args]);
  }

  /** Runs weftctl against this daemon. */
  weftctl(...args: readonly string[]): Promise<RunResult> {
    return run([...program("weftctl"), "--admin", this.adminUrl, ...args]);
  }

  /** GET on the admin port; throws unless 200. */
  async admin(path: string): Promise<unknown> {
    const response = await fetch(this.adminUrl + path);
    if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
    return response.json();
  }

  /** The metrics as Prometheus text. */
  async metricsText(): Promise<string> {
    return (await fetch(`http://127.0.0.1:${this.ports.metrics}/metrics`)).text();
  }

  /** Sum of a metric over the series that carry all of `labels`; 0 when there is none. */
  async metric(name: string, labels: Readonly<Record<string, string>> = {}): Promise<number> {
    let sum = 0;
    for (const line of (await this.metricsText()).split("\n")) {
      const [, series, text, value] = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/.exec(line) ?? [];
      if (series !== name) continue;
      const wanted = Object.entries(labels).every(([k, v]) => `,${text ?? ""}`.includes(`,${k}="${v}"`));
      if (wanted) sum += Number(value);
    }
    return sum;
  }

  /** Lines of the access log so far. */
  accessLog(): string[] {
    return readFileSync(this.accessLogFile, "utf8")
      .split("\n")
      .filter((line) => line !== "");
  }

  /** What a daemon has written to its log. */
  log(name: "weftd" | "weft-xds"): string {
    return existsSync(this.logFile(name)) ? readFileSync(this.logFile(name), "utf8") : "";
  }

  /** Lets both daemons outlive this process. */
  unref(): void {
    this.#xds?.unref();
    this.#daemon?.unref();
  }

  logFile(name: "weftd" | "weft-xds"): string {
    return join(this.lab.directory, `${name}.log`);
  }
}

/** How a built command is started. Throws when it is not built. */
export function program(name: "weftd" | "weftctl" | "weft-xds"): string[] {
  const file = join(packageRoot(), "dist", "cmd", `${name}.js`);
  if (!existsSync(file)) throw new Error(`${file} is missing: run make build`);
  return [process.execPath, file];
}

/** A port of loopback that nothing listens on now. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject).listen(0, "127.0.0.1", resolve);
  });
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (typeof address !== "object" || address === null) throw new Error("no port was given");
  return address.port;
}
