// Owns the start and the end of a worker thread that writes to pinned maps without pause.
// Must not know what it writes, nor into which maps.

import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { packageRoot } from "../../daemon/base/package-root.js";

export interface Writer {
  /** Resolves when it has stopped: to the number of its writes. */
  stop(): Promise<number>;
}

/**
 * Starts `script` of this folder; resolves when it has written a first time. It is given `data` and, beside it, the
 * path of the addon, the `directory` that maps are pinned in, and `stop`, memory whose first word tells it to stop.
 */
export function startWriter(script: string, directory: string, data: object): Promise<Writer> {
  const stop = new SharedArrayBuffer(4);
  const addon = join(packageRoot(), "build", "weft_native.node");
  const worker = new Worker(join(packageRoot(), "test", "bpf", script), {
    workerData: { ...data, addon, directory, stop },
  });
  return new Promise((resolve, reject) => {
    worker.once("error", reject);
    worker.once("message", () => {
      resolve({
        stop: () =>
          new Promise((done) => {
            worker.once("message", done);
            Atomics.store(new Int32Array(stop), 0, 1);
          }),
      });
    });
  });
}
