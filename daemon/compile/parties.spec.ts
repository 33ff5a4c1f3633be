// Owns the proof that workloads are counted under their own labels, whoever came, went or was called the same before.

import fc from "fast-check";
import { expect, it } from "vitest";
import { LABEL_TEXT_BYTES } from "../bpf/maps.gen.js";
import { partyText } from "../model/label-text.js";
import { pod } from "../model/test-samples.js";
import type { Workload } from "../model/workload.js";
import { createIds } from "./ids.js";
import { PartyTable } from "./parties.js";

const UIDS = ["a", "b", "c", "d"];

/** A workload as it is from now on; undefined: it is gone. */
const step = fc.record({
  uid: fc.constantFrom(...UIDS),
  labels: fc.option(
    fc.record({
      namespace: fc.constantFrom("shop", "bank"),
      workloadName: fc.constantFrom("web", "api"),
      canonicalRevision: fc.constantFrom("v1", "v2"),
      serviceAccount: fc.constantFrom("web", "api"),
    }),
    { nil: undefined },
  ),
});

it("are those of the text of each, and present while somebody is there", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const ids = createIds<Workload>(({ uid }) => uid);
      const table = new PartyTable(ids, undefined);
      const there = new Map<string, Workload>();
      const texts = new Map<string, string>();
      for (const { uid, labels } of steps) {
        const before = there.get(uid);
        if (labels === undefined) {
          if (before === undefined) continue;
          table.retire(before);
          there.delete(uid);
        } else {
          const after = pod(uid, { uid, ...labels });
          table.set(ids.acquire(after), after, before);
          there.set(uid, after);
          texts.set(uid, partyText(after, LABEL_TEXT_BYTES));
        }
        const present = new Set([...there.keys()].map((one) => texts.get(one)));
        for (const [one, text] of texts) {
          const party = table.ofWorkload(one);
          expect(table.textOf(party)).toBe(text);
          expect(table.isPresent(party)).toBe(present.has(text));
        }
      }
    }),
  );
});
