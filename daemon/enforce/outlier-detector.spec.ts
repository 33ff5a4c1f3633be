import { beforeEach, describe, expect, it } from "vitest";
import { type Failure, OutlierDetector } from "./outlier-detector.js";

const limits = { consecutive: 5, baseMs: 30_000, mostMs: 300_000 };
const server = { uid: "Kubernetes//Pod/shop/a", address: "10.0.0.1", port: 8080 };
const other = { ...server, port: 9090 };

/** When a pod last reached something of the service; absent: never. */
let reached: Map<bigint, bigint>;
let detector: OutlierDetector;
let now: number;

beforeEach(() => {
  now = 0;
  reached = new Map([1n, 2n, 3n].map((source) => [source, 1_000_000n]));
  detector = new OutlierDetector(limits, (source) => reached.get(source) ?? 0n);
});

function fail(source: bigint, times = 1, failure: Partial<Failure> = {}, endpoint = server) {
  let aside: ReturnType<OutlierDetector["failed"]>;
  for (let i = 0; i < times; i++)
    aside ??= detector.failed(endpoint, { source, service: 1, refused: true, atNs: 5n, ...failure }, now);
  return aside;
}

/** Sets the server aside, and gives for how long. */
function setAside(): number {
  fail(1n, 4);
  const aside = fail(2n);
  if (aside === undefined) throw new Error("it is not set aside");
  return aside.until - aside.since;
}

describe("an endpoint is set aside", () => {
  it("by the fifth failure in a row, of two pods", () => {
    expect(fail(1n, 4)).toBeUndefined();
    expect(fail(2n)).toMatchObject({ ...server, failures: 5, sources: 2, times: 1, cause: "refused" });
    expect(detector.aside.map(({ port }) => port)).toEqual([8080]);
  });

  it("not by one pod alone, however often it fails", () => {
    expect(fail(1n, 1000)).toBeUndefined();
  });

  it("not by failures around a success", () => {
    fail(1n, 4);
    detector.reached(server, now);
    expect(fail(2n, 4)).toBeUndefined();
    expect(fail(1n)).toBeDefined();
  });

  it("not by what fails at another port", () => {
    fail(1n, 4);
    expect(fail(2n, 4, {}, other)).toBeUndefined();
  });

  it("not by pods that reach nothing else of the service: they are what fails, or is denied", () => {
    reached.clear();
    expect([fail(1n, 100), fail(2n, 100)]).toEqual([undefined, undefined]);
    // Reached before the first failure: that may have been before it was denied.
    reached.set(1n, 4n).set(2n, 4n);
    expect(fail(1n)).toBeUndefined();
    reached.set(1n, 6n);
    expect(fail(1n)).toBeUndefined();
    reached.set(2n, 6n);
    expect(fail(2n)).toBeDefined();
  });

  it("by failures of pods that reach others only", () => {
    reached.delete(3n);
    fail(3n, 100);
    fail(1n, 3);
    expect(fail(2n)).toBeUndefined();
    expect(fail(2n)).toMatchObject({ failures: 5, sources: 2 });
  });

  it("and says how it failed", () => {
    fail(1n, 4, { refused: false });
    expect(fail(2n)?.cause).toBe("both");
  });
});

describe("it is back", () => {
  it("when its time is up", () => {
    setAside();
    expect(detector.due).toBe(30_000);
    now = 29_999;
    expect(detector.pass(now)).toEqual([]);
    now = 30_000;
    expect(detector.pass(now)).toMatchObject([server]);
    expect([detector.aside, detector.due]).toEqual([[], undefined]);
    expect(detector.counts).toMatchObject({ set_aside: 1, time: 1 });
  });

  it("at the first success", () => {
    setAside();
    expect(detector.reached(server, now)).toMatchObject(server);
    expect(detector.counts).toMatchObject({ reached: 1 });
  });

  it("when it is another one, and then nothing is known of it", () => {
    setAside();
    detector.forget(new Set([server.uid]));
    expect(detector.aside).toEqual([]);
    expect(setAside()).toBe(30_000);
  });

  it("when its refusals may have been denials, and not for silence", () => {
    fail(1n, 4);
    fail(1n, 4, { refused: false }, other);
    fail(2n, 1, { refused: false }, other);
    detector.excuse(() => false);
    fail(2n);
    expect(detector.aside).toHaveLength(2);
    expect(detector.excuse(() => true)).toMatchObject([server]);
    expect(detector.aside).toMatchObject([other]);
  });

  it("and a row that had begun is excused too", () => {
    fail(1n, 4);
    detector.excuse(() => true);
    expect(fail(2n)).toBeUndefined();
  });
});

describe("its time", () => {
  const again = () => {
    const length = setAside();
    now += length;
    detector.pass(now);
    return length / 1000;
  };

  it("grows with each time, up to five minutes", () => {
    expect(Array.from({ length: 12 }, again)).toEqual([
      30, 60, 90, 120, 150, 180, 210, 240, 270, 300, 300, 300,
    ]);
  });

  it("shrinks by one time for each thirty seconds that it was well", () => {
    for (let i = 0; i < 4; i++) again();
    now += 61_000;
    expect(again()).toBe(90);
    now += 3_600_000;
    expect(again()).toBe(30);
  });

  it("is at least the base time where that is longer", () => {
    detector = new OutlierDetector({ ...limits, mostMs: 1_000 }, () => 9n);
    expect(setAside()).toBe(30_000);
  });
});
