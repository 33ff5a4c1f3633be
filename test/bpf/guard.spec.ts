// Owns the proof that hook sk_lookup reads its context as the verdict expects it: the same fixtures, another way in.
// Knows no verdict of its own.

import { describe, expect, it } from "vitest";
import { Reason, TableNumber } from "../../daemon/bpf/maps.gen.js";
import { counted, withObject } from "./fixture.js";
import { type Attempt, contextOf, SCTP, SK_DROP, SK_PASS, UDP } from "./sk-lookup.js";
import { verdictFixtures } from "./verdict.cases.js";
import type { VerdictFixture } from "./verdict.fixture.js";
import { POD, peers } from "./verdict.tables.js";

function run(fixture: Attempt & Pick<VerdictFixture, "maps">): {
  verdict: number;
  reasons: Record<string, number>;
} {
  return withObject("guard", fixture.maps, (object) => {
    object.callFor(POD);
    return {
      verdict: object.runContext("weft_guard", contextOf(fixture)),
      reasons: object.reasons(),
    };
  });
}

describe("sk_lookup", () => {
  it.each(verdictFixtures)("$description", (fixture) => {
    const { allowed, reason } = fixture.expected;
    expect(run(fixture)).toEqual({ verdict: allowed ? SK_PASS : SK_DROP, reasons: counted(reason) });
  });

  const locked = peers(TableNumber.DENY);

  it("denies TCP to a pod that denies all", () => {
    expect(run({ maps: locked })).toEqual({ verdict: SK_DROP, reasons: counted(Reason.AUTHZ_DENY_ALL) });
  });

  it("denies TCP when no stub has said whose pod it is", () => {
    const verdict = withObject("guard", peers(TableNumber.OPEN), (object) =>
      object.runContext("weft_guard", contextOf({})),
    );
    expect(verdict).toBe(SK_DROP);
  });

  it.each([UDP, SCTP])("leaves protocol %i alone", (protocol) => {
    expect(run({ maps: locked, protocol })).toEqual({
      verdict: SK_PASS,
      reasons: counted(Reason.AUTHZ_NOT_TCP),
    });
  });
});
