import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { LineWriter } from "../base/line-writer.js";
import { ConnectionEvent, Direction, EventKind } from "../bpf/maps.gen.js";
import { toKeyBytes } from "../model/address.js";
import type { ResourcesById } from "../model/resource-ids.js";
import { AccessLog, type Wanted } from "./access-log.js";
import { createWallClock } from "./clock.js";
import { parseFilter } from "./record.js";

let directory = "";
let path = "";

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "weft-access-log-"));
  path = join(directory, "access.log");
});

afterEach(() => rmSync(directory, { recursive: true }));

function openWriter(file: string): LineWriter {
  const result = LineWriter.open(file);
  if (!result.ok) throw result.error;
  return result.value;
}

describe("AccessLog", () => {
  const names: ResourcesById = {
    workload: () => undefined,
    service: () => undefined,
    policy: () => undefined,
  };

  function bytesOf(kind: EventKind): Uint8Array {
    return ConnectionEvent.encode({
      timeNs: 1n,
      durationNs: 1n,
      sentBytes: 1n,
      receivedBytes: 1n,
      sourceAddress: toKeyBytes("10.0.0.1"),
      destinationAddress: toKeyBytes("10.0.0.2"),
      originalAddress: toKeyBytes("10.0.0.2"),
      sourcePort: 1,
      destinationPort: 2,
      originalPort: 2,
      kind,
      direction: Direction.OUTBOUND,
      source: 0,
      destination: 0,
      service: 0,
      policy: 0,
      reason: 0,
      state: 1,
      srttUs: 0,
      minRttUs: 0,
      retransmits: 0,
      lost: 0,
    });
  }

  it("writes while enabled, and asks the kernel for records only while somebody wants them", async () => {
    const writer = openWriter(path);
    const wanted: Wanted[] = [];
    let send: (records: readonly Uint8Array[]) => void = () => undefined;
    const log = new AccessLog({
      names,
      clock: (ns) => ns,
      writer,
      format: "json",
      enabled: false,
      feed: {
        want(now, onRecords) {
          wanted.push(now);
          send = onRecords;
        },
      },
    });
    log.start();
    send([bytesOf(EventKind.CLOSED)]);
    const filter = parseFilter("event=denied");
    if (!filter.ok) throw new Error(filter.reason);
    const seen: string[] = [];
    const stop = log.tail({ format: "text", filter: filter.filter }, (line) => seen.push(line));
    send([bytesOf(EventKind.CLOSED), bytesOf(EventKind.DENIED)]);
    expect(seen).toHaveLength(1);
    log.setEnabled(true);
    log.setEnabled(true);
    send([bytesOf(EventKind.CLOSED)]);
    stop();
    log.setEnabled(false);
    await writer.close();
    expect(wanted).toEqual(["off", "tail", "on", "off"]);
    const lines = readFileSync(path, "utf8").trim().split("\n");
    expect(lines.map((line) => JSON.parse(line).event)).toEqual(["closed"]);
  });
});

describe("wall clock", () => {
  it("settles within the millisecond that the system's clock leaves open, and follows a step", () => {
    let monotonic = 5_000_000_000n;
    let offset = 1_700_000_000_123_456_789n;
    const clock = createWallClock(
      () => monotonic,
      () => Number((monotonic + offset) / 1_000_000n),
    );
    for (let round = 0; round < 3000; round++) {
      monotonic += 3_001_017n;
      clock(monotonic);
    }
    const error = clock(monotonic) - (monotonic + offset);
    expect(error <= 0n && error > -2_000n).toBe(true);
    offset += 3_600_000_000_000n;
    const after = clock(monotonic) - (monotonic + offset);
    expect(after <= 0n && after > -1_000_000n).toBe(true);
  });
});
