// Owns the folder in which the nodes of this process are, and their removal on every way out.
// Must not know what the nodes are for.

import { cpSync, existsSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { packageRoot } from "../../daemon/base/package-root.js";
import { listNetns, removeNetns } from "../../lab/netns.js";
import { cutOff } from "./node.js";

/** Not below /run: overlays of containers need a file system of the disk. */
const ROOT = "/var/tmp";
const NAME = /^weft-kube-(\d+)$/;

/** Of this process: what its nodes' ids and networks begin with. */
export const ID = `weft-kube-${process.pid}`;
/** The folder of that name; a node has one in it, of its own name, and the id `ID-NAME`. */
export const STATE = join(ROOT, ID);

/** Makes the folder. It goes with this process in any way but SIGKILL; what that leaves the next call removes. */
export function claimState(): void {
  for (const name of readdirSync(ROOT)) {
    const owner = NAME.exec(name)?.[1];
    if (owner !== undefined && !existsSync(`/proc/${owner}`)) remove(name);
  }
  process.on("exit", removeState);
  for (const [signal, code] of [
    ["SIGINT", 130],
    ["SIGTERM", 143],
    ["SIGHUP", 129],
  ] as const)
    process.once(signal, () => process.exit(code));
  mkdirSync(STATE);
}

/** Ends this process's nodes and removes what they leave but their logs, which are in out/kube then. Blocks. */
export function removeState(): void {
  remove(ID);
}

function remove(id: string): void {
  const state = join(ROOT, id);
  if (!existsSync(state)) return;
  for (const name of readdirSync(state)) {
    cutOff(`${id}-${name}`);
    const logs = join(state, name, "var", "log");
    if (existsSync(logs)) cpSync(logs, join(packageRoot(), "out", "kube", name), { recursive: true });
  }
  removeNetns(listNetns().filter((netns) => netns.startsWith(`${id}-`)));
  rmSync(state, { recursive: true, force: true });
}
