// Owns the proof of the stub in front of the verdict hook: it names its pod, and fails closed. Knows no verdict.

import { expect, it } from "vitest";
import { Reason, Switched, TableNumber } from "../../daemon/bpf/maps.gen.js";
import { counted, entry, podEntry, withObject } from "./fixture.js";
import { contextOf, SK_DROP, SK_PASS, UDP } from "./sk-lookup.js";

/** Cookies whose halves have their highest bits set, and plain ones. */
const OPEN = 0xf000_0001_8000_0007n;
const DENIED = 0x8000_0002n;
const maps = [
  podEntry(OPEN, { guard: TableNumber.OPEN, workload: 2 }),
  podEntry(DENIED, { guard: TableNumber.DENY, workload: 3 }),
];

it("tells the one program whose packet it is", () => {
  withObject("guard", maps, (object) => {
    object.govern("weft_guard");
    expect([OPEN, DENIED, OPEN].map((cookie) => object.runStub(cookie, contextOf({})))).toEqual([
      SK_PASS,
      SK_DROP,
      SK_PASS,
    ]);
    expect(object.reasons()).toEqual({
      ...counted(Reason.AUTHZ_NO_POLICY, 2),
      ...counted(Reason.AUTHZ_DENY_ALL),
    });
  });
});

it("drops TCP while no program is there, and leaves other protocols alone", () => {
  withObject("guard", maps, (object) => {
    expect(object.runStub(OPEN, contextOf({}))).toBe(SK_DROP);
    expect(object.runStub(OPEN, contextOf({ protocol: UDP }))).toBe(SK_PASS);
    expect(object.reasons()).toEqual({});
  });
});

it("passes everything while no program is there and weft is disabled, and by no other word", () => {
  for (const [word, verdict] of [
    [Switched.DISABLED, SK_PASS],
    [2, SK_DROP],
  ] as const) {
    withObject("guard", [...maps, entry("disabled", 0, word)], (object) => {
      expect(object.runStub(DENIED, contextOf({}))).toBe(verdict);
      expect(object.runStub(DENIED, contextOf({ protocol: UDP }))).toBe(SK_PASS);
    });
  }
});
