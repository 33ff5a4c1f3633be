// Owns the test's end of a process that lives in a pod and opens sockets there on demand.
// Must not know what the operations do.

import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { buildSync } from "esbuild";
import { packageRoot } from "../daemon/base/package-root.js";
import type { Arm, Lab, Pod } from "./lab.js";
import type { operations } from "./peer-operations.js";
import type { RunningProcess } from "./process.js";
import { Hopeless, until } from "./wait.js";

type Operations = typeof operations;
type Input<K extends keyof Operations> = Parameters<Operations[K]>[0];
type Output<K extends keyof Operations> = Awaited<ReturnType<Operations[K]>>;

interface Pending {
  resolve(output: unknown): void;
  reject(error: Error): void;
}

/** Starts a peer in a pod; `arm` chooses its cgroup (default mesh: governed). */
export async function startPeer(lab: Lab, pod: Pod, arm: Arm = "mesh"): Promise<Peer> {
  const file = join(lab.directory, "peer.mjs");
  if (!existsSync(file)) writeFileSync(file, peerProgram());
  const peer = new Peer(pod, await lab.spawn(pod, [process.execPath, file], { arm }));
  await peer.ready();
  return peer;
}

let bundled: string | undefined;

/** peer-main.ts as one file of JavaScript, built once: each peer starts five times as fast as from source. */
function peerProgram(): string {
  bundled ??= buildSync({
    entryPoints: [join(packageRoot(), "lab", "peer-main.ts")],
    bundle: true,
    platform: "node",
    format: "esm",
    write: false,
  }).outputFiles[0]?.text;
  if (bundled === undefined) throw new Error("esbuild made nothing of peer-main.ts");
  return bundled;
}

export class Peer {
  readonly #process: RunningProcess;
  readonly #pending = new Map<number, Pending>();
  #next = 1;
  #ready = false;

  constructor(
    readonly pod: Pod,
    process: RunningProcess,
  ) {
    this.#process = process;
    process.onLine((line) => this.#onLine(line));
    void process.exited.finally(() => {
      const error = new Error(`peer in ${pod.name} ended: ${process.stderr}`);
      for (const pending of this.#pending.values()) pending.reject(error);
      this.#pending.clear();
    });
  }

  get pid(): number {
    return this.#process.pid;
  }

  /** Resolves when the process takes calls. */
  async ready(): Promise<void> {
    await until(`the peer in ${this.pod.name}`, () => {
      if (!this.#process.running) throw new Hopeless(this.#process.stderr);
      return this.#ready;
    });
  }

  /** Does one of the peer's operations inside its pod. Rejects with what that threw. */
  call<K extends keyof Operations>(operation: K, input: Input<K>): Promise<Output<K>> {
    const id = this.#next++;
    this.#process.stdin.write(`${JSON.stringify({ id, operation, input })}\n`);
    return new Promise<unknown>((resolve, reject) => {
      this.#pending.set(id, { resolve, reject });
    }) as Promise<Output<K>>;
  }

  #onLine(line: string): void {
    if (line === "ready") {
      this.#ready = true;
      return;
    }
    const { id, output, error } = JSON.parse(line) as { id: number; output?: unknown; error?: string };
    const pending = this.#pending.get(id);
    this.#pending.delete(id);
    if (error === undefined) pending?.resolve(output);
    else pending?.reject(new Error(error));
  }
}
