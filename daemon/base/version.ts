// Owns which build this is. Must not know who asks.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { packageRoot } from "./package-root.js";

export interface Build {
  readonly version: string;
  /** Short hash; `unknown` outside a clone that was built with none recorded. */
  readonly commit: string;
}

/** Version of package.json; commit of build/commit (written by a release build) or of the clone. */
export function readBuild(root: string = packageRoot()): Build {
  const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { version: string };
  const commit = readText(join(root, "build", "commit")) ?? commitOfClone(join(root, ".git")) ?? "unknown";
  return { version, commit: commit.slice(0, 12) };
}

function commitOfClone(git: string): string | undefined {
  const head = readText(join(git, "HEAD"));
  if (head === undefined || !head.startsWith("ref: ")) return head;
  const ref = head.slice("ref: ".length);
  const packed = readText(join(git, "packed-refs"))?.split("\n");
  return readText(join(git, ref)) ?? packed?.find((line) => line.endsWith(` ${ref}`))?.split(" ")[0];
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8").trim();
  } catch {
    return undefined;
  }
}
