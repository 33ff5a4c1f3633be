// Owns the rule of one daemon a BPF file system. Must not know what the daemon does.

import { createHash } from "node:crypto";
import { createServer } from "node:net";
import { alreadyRunning, failed, ok, type Result } from "../base/errors.js";

export interface Lock {
  close(): void;
}

/** Takes the lock: an abstract socket, which the kernel frees with the process. */
export function takeLock(bpffs: string): Promise<Result<Lock>> {
  const name = createHash("sha256").update(bpffs).digest("hex").slice(0, 16);
  const server = createServer();
  return new Promise((resolve) => {
    server.once("error", () => resolve(failed(alreadyRunning(undefined))));
    server.listen(`\0weftd-${name}`, () => {
      server.unref();
      resolve(ok({ close: () => void server.close() }));
    });
  });
}
