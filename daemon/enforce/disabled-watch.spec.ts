// Owns the proof of when it is said that weft is disabled, and when connections are judged anew.

import { expect, it } from "vitest";
import type { Logger } from "../base/log.js";
import { Switched } from "../bpf/maps.gen.js";
import { DisabledWatch } from "./disabled-watch.js";

function world(switched: number) {
  const kernel = { switched };
  const lines: string[] = [];
  const say = (text: string) => void lines.push(text);
  const judgeAgain = () => void lines.push("judged");
  const watch = new DisabledWatch({
    kernel,
    judgeAgain,
    log: { warn: say, error: say } as unknown as Logger,
  });
  const look = (now: number) => {
    kernel.switched = now;
    watch.look();
    return lines.splice(0);
  };
  return { look };
}

it("is said when it is so at the start, and each time that it changes", () => {
  const { look } = world(Switched.DISABLED);
  expect(look(Switched.DISABLED)).toEqual([expect.stringContaining("weft is DISABLED")]);
  expect(look(Switched.DISABLED)).toEqual([]);
  expect(look(1_800_000_000)).toEqual([expect.stringContaining("enabled again"), "judged"]);
  expect(look(1_800_000_000)).toEqual([]);
  expect(look(Switched.DISABLED)).toHaveLength(1);
});

it("a weft that governs is nothing to tell of, also when it was once disabled", () => {
  expect(world(0).look(0)).toEqual([]);
  expect(world(0).look(1_800_000_000)).toEqual([]);
});

it("connections are judged also when weft was disabled between two looks", () => {
  const { look } = world(0);
  look(1_800_000_000);
  expect(look(1_800_000_001)).toContain("judged");
});
