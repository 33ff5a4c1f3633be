// Owns the answer to "what would these policies change": the pairs that were seen, judged as it is and as it would be.
// Must not know HTTP; must not change anything that governs.

import type { AuthzTrial, TriedPair, TriedVerdict } from "../../admin/answers.js";
import type { TrialRequest } from "../../admin/api.js";
import { failed, notInstalled, ok, type Result } from "../../base/errors.js";
import { inSlices } from "../../base/slices.js";
import { principalOf } from "../../compile/authz/identity.js";
import { type Policy, policyKey } from "../../model/policy.js";
import { podKey } from "../explain.js";
import type { Parts } from "../parts.js";
import { changeOf, NO_CHANGE, type PolicyChange } from "./change.js";
import { type Seen, type SeenPair, seenPairs } from "./pairs.js";
import { resourcesFor, Scenario } from "./scenario.js";

/** Verdicts that are asked for, each of them twice: some tenths of a second. */
const MOST_QUESTIONS = 65_536;

export async function tryAuthz(parts: Parts, asked: TrialRequest): Promise<Result<AuthzTrial>> {
  if (!parts.dataplane.installed) return failed(notInstalled());
  const change = changeOf(parts, asked);
  if (!change.ok) return change;
  const seen = await seenPairs(parts);
  const resources = resourcesFor(parts, seen.pairs);
  const before = await Scenario.open(parts, resources, NO_CHANGE);
  if (!before.ok) return before;
  try {
    const after = await Scenario.open(parts, resources, change.value);
    if (!after.ok) return after;
    try {
      const comparison = new Comparison(parts, before.value, after.value);
      await inSlices(comparison.take(seen.pairs));
      return ok(answerOf(parts, change.value, seen, comparison, after.value));
    } finally {
      after.value.close();
    }
  } finally {
    before.value.close();
  }
}

function answerOf(
  parts: Parts,
  change: PolicyChange,
  { looked, notes }: Seen,
  comparison: Comparison,
  after: Scenario,
): AuthzTrial {
  const isEnforced = parts.dataplane.settings.authzOff === 0;
  return {
    changes: comparison.changes(),
    policies: change.policies.map((policy) => ({
      name: policyKey(policy),
      isNew: !parts.store.policies.has(policyKey(policy)),
      scope: policy.scope,
      pods: parts.pods.enrolled
        .filter(({ cookie }) => after.policiesOf(cookie).includes(policy))
        .map(podKey)
        .sort(),
    })),
    counts: comparison.counts,
    looked: { ...looked, omitted: looked.omitted + comparison.omitted },
    notes: [
      ...change.notes,
      ...change.policies
        .filter(({ dryRun }) => dryRun)
        .map((policy) => `policy ${policyKey(policy)} is a dry run: it changes no verdict`),
      ...after.rejections,
      ...notes,
      ...(isEnforced ? [] : ["authorization is switched off: what is said of now is what its policies say"]),
    ],
  };
}

class Comparison {
  readonly counts = { refused: 0, admitted: 0, stillAllowed: 0, stillRefused: 0 };
  omitted = 0;
  readonly #before: Scenario;
  readonly #after: Scenario;
  readonly #podNames: ReadonlyMap<bigint, string>;
  readonly #ports = new Map<bigint, readonly number[]>();
  /** A workload that comes from two addresses is one row, where the verdicts are the same. */
  readonly #rows = new Map<string, TriedPair | undefined>();
  #questions = 0;

  constructor({ pods }: Parts, before: Scenario, after: Scenario) {
    this.#before = before;
    this.#after = after;
    this.#podNames = new Map(pods.enrolled.map((pod) => [pod.cookie, podKey(pod)]));
  }

  *take(pairs: readonly SeenPair[]): Generator<void, void> {
    for (const pair of pairs) {
      yield;
      if (this.#questions >= MOST_QUESTIONS) this.omitted++;
      else if (pair.port !== undefined) this.#note(pair, pair.port, this.#verdicts(pair, pair.port));
      else yield* this.#takeUnknownPort(pair);
    }
  }

  changes(): TriedPair[] {
    const changes = [...this.#rows.values()].filter((row) => row !== undefined);
    const order = ({ after, to, from }: TriedPair) =>
      [after.allowed ? 1 : 0, to.pod, from.workload ?? from.address].join(" ");
    return changes.sort(
      (a, b) => order(a).localeCompare(order(b)) || (a.to.port ?? Infinity) - (b.to.port ?? Infinity),
    );
  }

  /** All ports that no policy names are as one; of the others those that differ from them are told. */
  *#takeUnknownPort(pair: SeenPair): Generator<void, void> {
    const named = this.#namedPorts(pair.cookie);
    const others = this.#verdicts(pair, portBeside(named));
    this.#note(pair, null, others);
    for (const port of named) {
      yield;
      const verdicts = this.#verdicts(pair, port);
      const isSame = verdicts.every(({ allowed }, index) => allowed === others[index]?.allowed);
      if (!isSame) this.#note(pair, port, verdicts);
    }
  }

  #verdicts(pair: SeenPair, port: number): readonly [TriedVerdict, TriedVerdict] {
    this.#questions++;
    return [this.#before.judge(pair, port), this.#after.judge(pair, port)];
  }

  #note(pair: SeenPair, port: number | null, [before, after]: readonly [TriedVerdict, TriedVerdict]): void {
    const owner = this.#before.ownerOf(pair.source);
    const pod = this.#podNames.get(pair.cookie) ?? String(pair.cookie);
    const key = [owner?.uid ?? pair.source, pod, port, before.allowed, after.allowed].join(" ");
    if (this.#rows.has(key)) return;
    if (before.allowed === after.allowed) {
      this.counts[before.allowed ? "stillAllowed" : "stillRefused"]++;
      this.#rows.set(key, undefined);
      return;
    }
    this.counts[after.allowed ? "admitted" : "refused"]++;
    const identity = this.#before.identityOf(pair.source);
    this.#rows.set(key, {
      from: {
        address: pair.source,
        workload: owner?.uid ?? null,
        principal: identity === undefined ? null : principalOf(identity),
      },
      to: { pod, address: pair.destination, port },
      seen: pair.seen,
      before,
      after,
    });
  }

  /** Ports that a policy of the pod names, before or after. */
  #namedPorts(cookie: bigint): readonly number[] {
    const known = this.#ports.get(cookie);
    if (known !== undefined) return known;
    const policies = [...this.#before.policiesOf(cookie), ...this.#after.policiesOf(cookie)];
    const ports = [...new Set(policies.flatMap(portsOf))].sort((a, b) => a - b);
    this.#ports.set(cookie, ports);
    return ports;
  }
}

function portsOf({ rules }: Policy): number[] {
  return rules.flatMap(({ clauses }) =>
    clauses.flat().flatMap((match) => [...match.destinationPorts, ...match.notDestinationPorts]),
  );
}

/** One that is not among these. */
function portBeside(ports: readonly number[]): number {
  let port = 1;
  while (ports.includes(port)) port++;
  return port;
}
