import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { LineWriter } from "../base/line-writer.js";
import { ConnectionEvent, Direction, EventKind, Reason, WorkloadId } from "../bpf/maps.gen.js";
import { toKeyBytes } from "../model/address.js";
import type { Policy } from "../model/policy.js";
import type { ResourcesById } from "../model/resource-ids.js";
import { pod } from "../model/test-samples.js";
import { AccessLog, type Wanted } from "./access-log.js";
import { createWallClock } from "./clock.js";
import type { AccessRecord } from "./record.js";

const policy: Policy = {
  ...{ name: "p", namespace: "istio-system", scope: "GLOBAL", action: "DENY", dryRun: false, rules: [] },
};

const everything = () => true;

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

  function bytesOf(kind: EventKind, fields: Partial<ConnectionEvent> = {}): Uint8Array {
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
      early: 0,
      srttUs: 0,
      minRttUs: 0,
      retransmits: 0,
      lost: 0,
      ...fields,
    });
  }

  it("limits denials by policy and workload, and neither other records nor live readers", async () => {
    const writer = openWriter(path);
    let send: (records: readonly Uint8Array[]) => void = () => undefined;
    const names: ResourcesById = {
      workload: (id) => pod(`pod-${id}`),
      service: () => undefined,
      policy: (id) => (id === 0 ? undefined : { ...policy, name: `p-${id}` }),
    };
    const log = new AccessLog({
      ...{ names, writer, clock: (ns: bigint) => ns, format: "text", enabled: true, denialLimit: 2 },
      filter: everything,
      onRecord: () => undefined,
      feed: {
        want(_, onRecords) {
          send = onRecords;
        },
      },
    });
    log.start();
    const elsewhere: string[] = [];
    log.alsoTo(({ event }) => elsewhere.push(event));
    let tailed = 0;
    const stop = log.tail({ format: "text", filter: everything }, () => tailed++);
    const denial = (policy: number, destination: number) =>
      bytesOf(EventKind.DENIED, { policy, destination, reason: Reason.AUTHZ_DENIED });
    const records = [denial(1, 1), denial(1, 2), denial(2, 1), bytesOf(EventKind.CLOSED)];
    for (let round = 0; round < 50; round++) send(records);
    stop();
    log.stop();
    await writer.close();
    const lines = readFileSync(path, "utf8").trim().split("\n");
    const of = (...parts: string[]) => lines.filter((line) => parts.every((part) => line.includes(part)));
    expect(of("event=closed")).toHaveLength(50);
    for (const [policy, workload] of [
      ["p-1", "pod-1"],
      ["p-1", "pod-2"],
      ["p-2", "pod-1"],
    ]) {
      const denials = of(`policy=istio-system/${policy}`, `dst.workload=${workload},`);
      expect(denials).toHaveLength(3);
      expect(denials.at(-1)).toMatch(/, policy=istio-system\/p-\d, suppressed=47$/);
    }
    expect(elsewhere).toHaveLength(lines.length);
    expect(log.suppressed).toBe(3 * 47);
    expect(tailed).toBe(4 * 50);
  });

  it("writes the records that its filter chooses; live readers have their own", async () => {
    const writer = openWriter(path);
    let send: (records: readonly Uint8Array[]) => void = () => undefined;
    const noted: AccessRecord[] = [];
    const log = new AccessLog({
      ...{ names, writer, clock: (ns: bigint) => ns, format: "text", enabled: true, denialLimit: 10 },
      filter: ({ sourceWorkload, event }) => sourceWorkload !== "node" || event !== "closed",
      onRecord: (record) => noted.push(record),
      feed: {
        want(_, onRecords) {
          send = onRecords;
        },
      },
    });
    log.start();
    let tailed = 0;
    const stop = log.tail({ format: "text", filter: everything }, () => tailed++);
    const probe = { source: WorkloadId.NODE };
    send([bytesOf(EventKind.CLOSED, probe), bytesOf(EventKind.CLOSED), bytesOf(EventKind.DENIED, probe)]);
    stop();
    log.stop();
    await writer.close();
    const lines = readFileSync(path, "utf8").trim().split("\n");
    expect(lines).toEqual([
      expect.stringMatching(/src\.workload=-,.*event=closed/),
      expect.stringMatching(/src\.workload=node,.*event=denied/),
    ]);
    expect([log.written, log.dropped, tailed, noted.length]).toEqual([2, 0, 3, 3]);
  });

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
      filter: everything,
      denialLimit: 10,
      onRecord: () => undefined,
      feed: {
        want(now, onRecords) {
          wanted.push(now);
          send = onRecords;
        },
      },
    });
    log.start();
    send([bytesOf(EventKind.CLOSED)]);
    const isDenied = ({ event }: AccessRecord) => event === "denied";
    const seen: string[] = [];
    const stop = log.tail({ format: "text", filter: isDenied }, (line) => seen.push(line));
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
