// Owns where the snapshot is, and that only one daemon keeps it. Must not know what is in it.

import { mkdirSync } from "node:fs";
import type { Native } from "../../native/index.js";
import { alreadyRunning, failed, messageOf, ok, type Result } from "../base/errors.js";
import type { Logger } from "../base/log.js";
import type { OpenParts } from "../base/open-parts.js";
import { formatHostPort } from "../base/parse.js";
import type { Config } from "../config/schema.js";
import { Snapshot } from "../xds/snapshot.js";

/** undefined: none is wanted. A directory that cannot be used is told and keeps nobody from starting. */
export function openSnapshot(
  native: Pick<Native, "lockDirectory">,
  config: Pick<Config, "stateDir" | "xdsAddress" | "clusterId" | "nodeName">,
  log: Logger,
  open: OpenParts,
): Result<Snapshot | undefined> {
  const { stateDir } = config;
  if (stateDir === undefined) return ok(undefined);
  try {
    mkdirSync(stateDir, { recursive: true, mode: 0o700 });
    const attempt = native.lockDirectory(stateDir);
    if (attempt.lock === undefined) return failed(alreadyRunning(attempt.holder));
    const { lock } = attempt;
    open.add(() => lock.close());
  } catch (error) {
    log.warn(`${stateDir} cannot be locked: ${messageOf(error)}`);
  }
  const origin = {
    controlPlane: formatHostPort(config.xdsAddress),
    cluster: config.clusterId,
    node: config.nodeName,
  };
  return ok(new Snapshot({ directory: stateDir, origin, log }));
}
