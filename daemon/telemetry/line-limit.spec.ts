import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { LineLimit } from "./line-limit.js";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

describe("LineLimit", () => {
  const MOST = 3;
  let lines: [line: number, suppressed: number][] = [];
  let limit: LineLimit<number>;
  beforeEach(() => {
    lines = [];
    limit = new LineLimit({ most: MOST, write: (line, suppressed) => lines.push([line, suppressed]) });
  });
  const offer = (kind: string, from: number, to: number) => {
    for (let line = from; line <= to; line++) limit.offer(kind, line);
  };

  it("writes at once what is not too much, and nothing later", () => {
    offer("a", 1, MOST);
    expect(lines.map(([line]) => line)).toEqual([1, 2, 3]);
    vi.advanceTimersByTime(10_000);
    expect(lines).toHaveLength(MOST);
    expect(vi.getTimerCount()).toBe(0);
  });

  it("writes the last of a second's surplus when the second ends, with the number of the others", () => {
    offer("a", 1, 100);
    vi.advanceTimersByTime(999);
    expect(lines).toHaveLength(MOST);
    vi.advanceTimersByTime(1);
    expect(lines.slice(MOST)).toEqual([[100, 96]]);
    expect(limit.suppressed).toBe(96);
  });

  it("says nothing of a number where a single line is held back", () => {
    offer("a", 1, MOST + 1);
    vi.advanceTimersByTime(1000);
    expect(lines.at(-1)).toEqual([MOST + 1, 0]);
  });

  it("lets a flood of one kind hold back no other", () => {
    offer("a", 1, 100);
    offer("b", 200, 201);
    expect(lines.slice(MOST)).toEqual([
      [200, 0],
      [201, 0],
    ]);
  });

  it("holds over the seconds of a flood: few lines, and none is lost from their sum", () => {
    const seconds = 60;
    const each = 1000;
    for (let second = 0; second < seconds; second++) {
      for (let part = 0; part < 10; part++) {
        offer("a", 1, each / 10);
        vi.advanceTimersByTime(100);
      }
    }
    limit.flush();
    expect(lines.length).toBeLessThanOrEqual((seconds + 1) * (MOST + 1));
    const stoodFor = lines.reduce((sum, [, suppressed]) => sum + 1 + suppressed, 0);
    expect(stoodFor).toBe(seconds * each);
    expect(lines.length + limit.suppressed).toBe(seconds * each);
  });

  it("writes what is held back when it is told to, as at the end of the process", () => {
    offer("a", 1, 10);
    limit.flush();
    expect(lines.at(-1)).toEqual([10, 6]);
    expect(vi.getTimerCount()).toBe(0);
  });
});
