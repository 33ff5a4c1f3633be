// Owns weft_policy_*: the kernel's counts of verdicts by policy as Prometheus text. Must not know where they are read.

import type { CounterRows } from "../bpf/counters.js";
import { HitKind, Hits, PolicyHitKey } from "../bpf/maps.gen.js";
import { familyHead, label, sample } from "./exposition.js";
import type { Labeller } from "./labels.js";

interface HitFamily {
  readonly name: string;
  readonly help: string;
  /** Kinds of hits, and what each adds to the labels. */
  readonly kinds: Readonly<Partial<Record<HitKind, string>>>;
}

const HIT_FAMILIES: readonly HitFamily[] = [
  {
    name: "weft_policy_denials_total",
    help: "Connections denied, by policy; -: ALLOW policies apply and none matched",
    kinds: { [HitKind.DENIED]: "" },
  },
  {
    name: "weft_policy_allows_total",
    help: "Connections allowed, by policy, with --policy-metrics; -: no ALLOW policy applies",
    kinds: { [HitKind.ALLOWED]: "" },
  },
  {
    name: "weft_policy_dry_run_matches_total",
    help: "Connections that a dry-run policy matched, by what it would have done: would_deny, would_allow",
    kinds: {
      [HitKind.WOULD_DENY]: label("verdict", "would_deny"),
      [HitKind.WOULD_ALLOW]: label("verdict", "would_allow"),
    },
  },
  {
    name: "weft_policy_early_denials_total",
    help: "SYNs that hook tc or XDP denied, by policy; each try of a client that is not answered counts, and so do SYNs with a wrong checksum",
    kinds: { [HitKind.EARLY]: "" },
  },
];

/** Yields the text of all families. */
export function* policyMetrics(rows: readonly CounterRows[], labeller: Labeller): Generator<string> {
  const sums = hitsByLabels(rows, labeller);
  for (const { name, help, kinds } of HIT_FAMILIES) {
    yield familyHead(name, "counter", help);
    for (const [kind, more] of Object.entries(kinds)) {
      for (const [labels, count] of sums.get(Number(kind)) ?? [])
        yield sample(name, more === "" ? labels : `${labels},${more}`, count);
    }
  }
}

/** By enum hit_kind and labels. */
function hitsByLabels(
  rows: readonly CounterRows[],
  labeller: Labeller,
): ReadonlyMap<number, ReadonlyMap<string, bigint>> {
  const sums = new Map<number, Map<string, bigint>>();
  for (const { count, keys, values } of rows) {
    for (let index = 0; index < count; index++) {
      const { policy, destinationParty, kind } = PolicyHitKey.decode(keys, index * PolicyHitKey.size);
      const hits = Hits.decode(values, index * Hits.size);
      const labels = hits.usedNs === 0n ? undefined : labeller.hit(policy, destinationParty);
      if (labels === undefined) continue;
      const ofKind = sums.get(kind) ?? new Map<string, bigint>();
      ofKind.set(labels, (ofKind.get(labels) ?? 0n) + hits.count);
      sums.set(kind, ofKind);
    }
  }
  return sums;
}
