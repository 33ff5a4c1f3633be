// Owns what the addon's tests share: its objects, bytes, errors, descriptors, garbage, other processes and
// threads. Must not know what a single test proves.

import { existsSync, readdirSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { Worker } from "node:worker_threads";
import { packageRoot } from "../../daemon/base/package-root.js";
import { type RunResult, run } from "../../lab/process.js";
import { type BpfError, type BpfObject, loadNative } from "../../native/index.js";

export const native = loadNative(packageRoot());

/** For worker threads and child processes, which load it themselves. */
const addonPath = process.env.WEFT_ADDON ?? join(packageRoot(), "build", "weft_native.node");

// The sanitizer's runtime is for processes that load the addon, not for every ip, sh and nsenter.
const preload = process.env.LD_PRELOAD;
delete process.env.LD_PRELOAD;

/** Path of a compiled native/testdata/NAME.bpf.c. */
export function objectPath(name: string): string {
  const path = join(packageRoot(), "build", "native-testdata", `${name}.bpf.o`);
  if (!existsSync(path)) throw new Error(`${path} is missing: run make -C native testdata`);
  return path;
}

/** An object opened and loaded; `prepare` comes between. */
export function loadObject(name: string, prepare?: (object: BpfObject) => void): BpfObject {
  const object = native.openObject(objectPath(name));
  prepare?.(object);
  object.load();
  return object;
}

/** What `action` throws; fails when it does not. */
export function thrownBy(action: () => unknown): BpfError {
  try {
    action();
  } catch (error) {
    return error as BpfError;
  }
  throw new Error("expected an exception");
}

/** Numbers laid end to end, each of `bytes` bytes, little-endian. */
export function pack(bytes: 4 | 8, ...numbers: readonly number[]): Buffer {
  const buffer = Buffer.alloc(bytes * numbers.length);
  for (const [i, n] of numbers.entries()) buffer.writeUIntLE(n, i * bytes, Math.min(bytes, 6));
  return buffer;
}

/** What the iterator `tasks` printed: each thread's number and the 4092 bytes after it; throws at a part of one. */
export function threadBlocks(output: Buffer): Map<number, Buffer> {
  const blocks = new Map<number, Buffer>();
  for (let at = 0; at < output.length; at += 4096) {
    blocks.set(output.readUInt32LE(at), output.subarray(at + 4, at + 4096));
  }
  if (output.length % 4096 !== 0) throw new Error(`${output.length} bytes are no whole blocks`);
  return blocks;
}

/** What the process's descriptors point at, sorted: equal before and after means nothing leaked. */
export function descriptors(): string[] {
  const targets: string[] = [];
  for (const fd of readdirSync("/proc/self/fd")) {
    try {
      targets.push(readlinkSync(`/proc/self/fd/${fd}`));
    } catch (error) {
      // The descriptor of this very listing is closed by now.
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    }
  }
  return targets.sort();
}

/** Descriptors of maps, programs, links and iterators. */
export function bpfDescriptors(): string[] {
  return descriptors().filter((target) => /bpf/.test(target));
}

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;

/** Collects garbage until finalizers, which run as tasks of their own, had their turn. */
export async function collectGarbage(): Promise<void> {
  for (let i = 0; i < 5; i++) {
    collect();
    await new Promise((resolve) => setImmediate(resolve));
  }
}

const prelude = `const native = require(${JSON.stringify(addonPath)});
const path = (name) => ${JSON.stringify(join(packageRoot(), "build", "native-testdata"))} + "/" + name + ".bpf.o";
const load = (name) => { const object = native.openObject(path(name)); object.load(); return object; };
`;

/** Runs CommonJS with \`native\`, \`path(NAME)\` and \`load(NAME)\` in a Node process of its own. */
export function runScript(source: string, nodeOptions: readonly string[] = []): Promise<RunResult> {
  return run(scriptCommand(source, nodeOptions));
}

/** The command of such a process, to be run inside a pod for one. */
export function scriptCommand(source: string, nodeOptions: readonly string[] = []): string[] {
  const sanitizer = preload === undefined ? [] : ["env", `LD_PRELOAD=${preload}`];
  return [...sanitizer, process.execPath, ...nodeOptions, "-e", prelude + source];
}

/** The same in a worker thread; \`parent\` is its parentPort, \`data\` its workerData. */
export function startWorker(source: string, data?: unknown): Worker {
  const ports = `const { parentPort: parent, workerData: data } = require("node:worker_threads");\n`;
  return new Worker(ports + prelude + source, { eval: true, workerData: data });
}

/** Resolves with the next message of a worker; rejects when it fails or ends without one. */
export function nextMessage(worker: Worker): Promise<unknown> {
  return new Promise((resolve, reject) => {
    worker.once("message", resolve);
    worker.once("error", reject);
    worker.once("exit", (code) => reject(new Error(`worker ended with ${code}`)));
  });
}
