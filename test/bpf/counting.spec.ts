// Owns the proof that no count is lost when two CPUs count at the same time. Knows no verdict.

import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { expect, it } from "vitest";
import { packageRoot } from "../../daemon/base/package-root.js";
import { Reason } from "../../daemon/bpf/maps.gen.js";
import { toKeyBytes } from "../../daemon/model/address.js";
import { ownBpffs } from "./bpffs.js";
import { VerdictCase } from "./cases.gen.js";
import { counted, loadObject } from "./fixture.js";
import { CLIENT, guarded, POD, SERVER } from "./verdict.tables.js";

const TURNS = 40;
const RUNS = 50_000;

const bpffs = ownBpffs("weft-counting");

const packet = VerdictCase.encode({
  pod: POD,
  sourceAddress: toKeyBytes(CLIENT),
  destinationAddress: toKeyBytes(SERVER),
  sourcePort: 40_000,
  port: 80,
  allowed: 0,
  reason: 0,
  policy: 0,
  source: 0,
  destination: 0,
  identity: 0,
  tag: 0,
});

/** Runs the pinned program in a thread of its own; resolves when it has begun. */
function startRunning(path: string): Promise<{ readonly ended: Promise<void> }> {
  const program = `
    const { workerData: { addon, path, packet, turns, repeat }, parentPort } = require("node:worker_threads");
    const program = require(addon).openPinnedProgram(path);
    for (let turn = 0; turn < turns; turn++) {
      if (turn === 1) parentPort.postMessage("begun");
      program.testRun({ data: packet, repeat });
    }`;
  const addon = join(packageRoot(), "build", "weft_native.node");
  const workerData = { addon, path, packet, turns: TURNS, repeat: RUNS };
  const worker = new Worker(program, { eval: true, workerData });
  return new Promise((resolve, reject) => {
    worker.once("error", reject);
    const ended = new Promise<void>((done) => worker.once("exit", () => done()));
    worker.once("message", () => resolve({ ended }));
  });
}

it("two CPUs that count the same at once lose nothing", { timeout: 120_000 }, async () => {
  const object = loadObject("tests/authz", guarded({ flags: 1, allow: [] }));
  try {
    const path = join(bpffs.path, "authorize");
    object.pinProgram("test_authorize", path);
    const other = await startRunning(path);
    for (let turn = 0; turn < TURNS; turn++)
      object.run("test_authorize", VerdictCase, VerdictCase.decode(packet), RUNS);
    await other.ended;
    const total = 2 * TURNS * RUNS;
    expect(object.reasons()).toEqual(counted(Reason.AUTHZ_NO_ALLOW, total));
    expect(object.policyHits()).toEqual([{ policy: 0, destinationParty: 2, kind: 0, count: total }]);
  } finally {
    object.close();
  }
});
