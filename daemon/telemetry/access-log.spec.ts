import { execFileSync } from "node:child_process";
import {
  closeSync,
  constants,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ConnectionEvent, Direction, EventKind } from "../bpf/maps.gen.js";
import { toKeyBytes } from "../model/address.js";
import type { ResourcesById } from "../model/resource-ids.js";
import { AccessLog, type Wanted } from "./access-log.js";
import { createWallClock } from "./clock.js";
import { LineWriter } from "./line-writer.js";
import { parseFilter } from "./record.js";

let directory = "";
let path = "";

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "weft-access-log-"));
  path = join(directory, "access.log");
});

afterEach(() => rmSync(directory, { recursive: true }));

function openWriter(file: string, limit?: number): LineWriter {
  const result = LineWriter.open(file, limit);
  if (!result.ok) throw result.error;
  return result.value;
}

describe("LineWriter", () => {
  it("keeps order and whole lines", async () => {
    const writer = openWriter(path);
    const lines = Array.from({ length: 5000 }, (_, index) => `line ${index} é`);
    for (const line of lines) writer.write(line);
    await writer.close();
    expect(readFileSync(path, "utf8")).toBe(`${lines.join("\n")}\n`);
    expect([writer.written, writer.dropped]).toEqual([5000, 0]);
  });

  it("follows a rotation", async () => {
    const writer = openWriter(path);
    writer.write("before");
    await writer.flush();
    renameSync(path, `${path}.1`);
    expect(writer.reopen().ok).toBe(true);
    writer.write("after");
    await writer.close();
    expect(readFileSync(`${path}.1`, "utf8")).toBe("before\n");
    expect(readFileSync(path, "utf8")).toBe("after\n");
  });

  it("drops and counts when the reader is stuck, and never waits", async () => {
    const fifo = join(directory, "fifo");
    execFileSync("mkfifo", [fifo]);
    // Opened for both so that opening does not wait; a pipe holds 64 KiB, then writes block.
    const reader = openSync(fifo, constants.O_RDWR | constants.O_NONBLOCK);
    const writer = openWriter(fifo, 256 * 1024);
    const line = "x".repeat(1023);
    for (let count = 0; count < 1000; count++) {
      writer.write(line);
      if (count % 100 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    expect(writer.dropped).toBeGreaterThanOrEqual(600);
    const started = Date.now();
    await writer.close(50);
    expect(Date.now() - started).toBeLessThan(1000);
    // Let the write that is under way end, so that no thread stays blocked.
    await drain(reader, writer, 1000);
    closeSync(reader);
    expect(writer.written + writer.dropped).toBe(1000);
  });

  it("counts lines that a full disk refuses as dropped", async () => {
    const writer = openWriter("/dev/full");
    writer.write("lost");
    await writer.close();
    expect([writer.written, writer.dropped]).toEqual([0, 1]);
  });

  it("says what to do about a path that cannot be opened", () => {
    const result = LineWriter.open(join(directory, "none", "access.log"));
    expect(!result.ok && result.error.code).toBe("LOG_FILE_UNWRITABLE");
  });
});

/** Reads a pipe that does not block until every line is accounted for: the last write ends after its last byte is read. */
async function drain(fd: number, writer: LineWriter, total: number): Promise<void> {
  const buffer = Buffer.alloc(65536);
  while (writer.written + writer.dropped < total) {
    try {
      readSync(fd, buffer);
    } catch (error) {
      expect(error).toMatchObject({ code: "EAGAIN" });
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    await new Promise((resolve) => setImmediate(resolve));
  }
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
