// Owns child processes: run to the end, or keep and stop. Must not know namespaces, cgroups or daemons.

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { slowness } from "./wait.js";

export interface RunResult {
  /** Exit code, -1 when a signal ended it. */
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
  /** Milliseconds from start to end. */
  readonly ms: number;
}

export interface StartOptions {
  readonly env?: NodeJS.ProcessEnv;
  readonly cwd?: string;
  /** Append stdout and stderr to this file instead of collecting them: for what outlives this process. */
  readonly logFile?: string;
}

export interface RunOptions extends Omit<StartOptions, "logFile"> {
  readonly input?: string;
  /** SIGKILL after this time on a machine of usual speed, default 30,000. */
  readonly timeoutMs?: number;
}

/** Runs a command to its end. Rejects only when it cannot be started; look at `code` for failure. */
export async function run(argv: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  const started = performance.now();
  const child = new RunningProcess(argv, options);
  child.stdin.end(options.input ?? "");
  const timer = setTimeout(() => child.kill("SIGKILL"), (options.timeoutMs ?? 30_000) * slowness);
  const code = await child.exited;
  clearTimeout(timer);
  return { code, stdout: child.stdout, stderr: child.stderr, ms: performance.now() - started };
}

/** As run(), but a non-zero exit throws with the command and what it said on stderr. Returns stdout. */
export async function check(argv: readonly string[], options: RunOptions = {}): Promise<string> {
  const result = await run(argv, options);
  if (result.code !== 0) {
    throw new Error(`${argv.join(" ")}: exit ${result.code}: ${result.stderr.trim()}`);
  }
  return result.stdout;
}

/** Blocks until a short command ended, failures ignored: for clean-up in exit handlers. Returns stdout. */
export function runQuietly(argv: readonly string[], input = ""): string {
  const [command = "", ...rest] = argv;
  return spawnSync(command, rest, { input, encoding: "utf8", timeout: 10_000 * slowness }).stdout ?? "";
}

/** A started process, in a session of its own: Ctrl-C reaches it only through whoever started it. */
export class RunningProcess {
  /** Everything written so far. */
  stdout = "";
  stderr = "";
  /** Exit code, -1 when a signal ended it; rejects when the command cannot be started. */
  readonly exited: Promise<number>;
  readonly #child: ChildProcess;
  readonly #lineWatchers: ((line: string) => void)[] = [];
  #rest = "";
  #ended = false;

  constructor(argv: readonly string[], options: StartOptions = {}) {
    const [command = "", ...rest] = argv;
    const { env, cwd, logFile } = options;
    const log = logFile === undefined ? undefined : openSync(logFile, "a");
    this.#child = spawn(command, rest, {
      env,
      cwd,
      detached: true,
      stdio: log === undefined ? "pipe" : ["ignore", log, log],
    });
    if (log !== undefined) closeSync(log);
    this.#child.stdout?.setEncoding("utf8").on("data", (text: string) => this.#onStdout(text));
    this.#child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.stderr += text;
    });
    // A process may end before it has read its input; its exit code tells the story.
    this.#child.stdin?.on("error", () => undefined);
    this.exited = new Promise((resolve, reject) => {
      this.#child.once("error", (cause) => {
        this.#ended = true;
        reject(new Error(`cannot start ${argv.join(" ")}`, { cause }));
      });
      this.#child.once("close", (code) => {
        this.#ended = true;
        resolve(code ?? -1);
      });
    });
    // Whoever awaits it sees the rejection; a process nobody awaits must not end the caller.
    this.exited.catch(() => undefined);
  }

  get pid(): number {
    if (this.#child.pid === undefined) throw new Error("process was not started");
    return this.#child.pid;
  }

  get running(): boolean {
    return !this.#ended;
  }

  get stdin(): NodeJS.WritableStream {
    if (this.#child.stdin === null) throw new Error("process has no stdin");
    return this.#child.stdin;
  }

  /** Calls `watcher` for each whole line of stdout from now on. */
  onLine(watcher: (line: string) => void): void {
    this.#lineWatchers.push(watcher);
  }

  kill(signal: NodeJS.Signals): void {
    if (!this.#ended) this.#child.kill(signal);
  }

  /** SIGTERM, then SIGKILL after `graceMs` on a machine of usual speed. Returns the exit code. */
  async stop(graceMs = 5_000): Promise<number> {
    this.kill("SIGTERM");
    const timer = setTimeout(() => this.kill("SIGKILL"), graceMs * slowness);
    const code = await this.exited;
    clearTimeout(timer);
    return code;
  }

  /** Lets this process exit while that one lives on; it needs a log file, or its output breaks. */
  unref(): void {
    this.#child.unref();
  }

  #onStdout(text: string): void {
    this.stdout += text;
    if (this.#lineWatchers.length === 0) return;
    const lines = (this.#rest + text).split("\n");
    this.#rest = lines.pop() ?? "";
    for (const line of lines) for (const watcher of this.#lineWatchers) watcher(line);
  }
}
