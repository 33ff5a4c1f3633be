// Owns records in the ring that weftd reads, at a rate that this machine makes no connections at: a BPF program of the
// tests (records.bpf.c) writes them, run by BPF_PROG_TEST_RUN. Must not know what becomes of them.

import { readdirSync } from "node:fs";
import { join } from "node:path";
import { fnv1aOfText } from "../../daemon/base/fnv1a.js";
import { packageRoot } from "../../daemon/base/package-root.js";
import { ConnectionEvent, Direction, EventKind } from "../../daemon/bpf/maps.gen.js";
import { toKeyBytes } from "../../daemon/model/address.js";
import type { Lab } from "../../lab/lab.js";
import { sleep } from "../../lab/wait.js";
import { loadNative } from "../../native/index.js";
import { CLIENT, SERVER } from "./telemetry-mesh.js";

/** Milliseconds between two runs of the program. */
const STEP_MS = 5;

export interface Fed {
  readonly records: number;
  /** Those that the ring had no room for. */
  readonly refused: number;
}

/** Writes records of connections between client and server for so long, at this rate a second in the mean. */
export async function feedRecords(lab: Lab, rate: number, seconds: number): Promise<Fed> {
  const native = loadNative(packageRoot());
  const object = native.openObject(join(packageRoot(), "build", "bpf", "tests", "records.o"));
  const state = join(lab.bpffs, "weft", "state");
  const ring = readdirSync(state).find((name) => /^events-[0-9a-f]+$/.test(name));
  if (ring === undefined) throw new Error(`no ring in ${state}`);
  const events = native.openPinnedMap(join(state, ring));
  try {
    object.reuseMap("events", events);
    object.load();
    const program = object.program("test_record");
    let [records, refused] = [0, 0];
    const began = performance.now();
    for (let at = 0; at < seconds * 1000; at = performance.now() - began) {
      const repeat = Math.ceil((at / 1000) * rate) - records;
      if (repeat > 0) {
        const { data } = program.testRun({ data: packet(), repeat });
        refused += Number(data.readBigUInt64LE(ConnectionEvent.size));
        records += repeat;
      }
      await sleep(STEP_MS);
    }
    return { records, refused };
  } finally {
    events.close();
    object.close();
  }
}

/** A record of what the load program does, and a number of those refused. */
function packet(): Buffer {
  const idOf = (name: string) => fnv1aOfText(`Kubernetes//Pod/mesh/${name}`);
  const record = ConnectionEvent.encode({
    ...{ timeNs: 0n, durationNs: 1_273_418n, sentBytes: 64n, receivedBytes: 64n },
    ...{ sourceAddress: toKeyBytes(CLIENT), destinationAddress: toKeyBytes(SERVER) },
    ...{ originalAddress: toKeyBytes(SERVER), sourcePort: 0, destinationPort: 8080, originalPort: 8080 },
    ...{ kind: EventKind.CLOSED, direction: Direction.INBOUND, state: 8, early: 0 },
    ...{ source: idOf("client"), destination: idOf("server"), service: 0, policy: 0, reason: 0 },
    ...{ srttUs: 40, minRttUs: 12, retransmits: 0, lost: 0 },
  });
  return Buffer.concat([record, Buffer.alloc(8)]);
}
