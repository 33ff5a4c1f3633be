// Owns what somebody wants to try, in the model's terms: policies, those that are gone, and whom selectors mean.
// Must not know what comes of it.

import type { TrialRequest } from "../../admin/api.js";
import { failed, ok, policyUnclear, type Result } from "../../base/errors.js";
import { type Policy, policyKey } from "../../model/policy.js";
import { type PolicyWords, policyOf, qualified } from "../../model/policy-words.js";
import type { Workload } from "../../model/workload.js";
import { podKey } from "../explain.js";
import type { Parts } from "../parts.js";

export interface PolicyChange {
  readonly policies: readonly Policy[];
  /** Keys of policies that are gone. */
  readonly removed: readonly string[];
  /** By key of a policy: uids of the workloads that name it from now on. Of others nobody does. */
  readonly naming: ReadonlyMap<string, ReadonlySet<string>>;
  /** What was assumed, a sentence each. */
  readonly notes: readonly string[];
}

export const NO_CHANGE: PolicyChange = { policies: [], removed: [], naming: new Map(), notes: [] };

type Known = Pick<Parts, "store" | "pods" | "config">;

export function changeOf(parts: Known, { policies: words, removed }: TrialRequest): Result<PolicyChange> {
  const policies = words.map((each) => policyOf(each as PolicyWords, parts.config.rootNamespace));
  const keys = [...policies.map(policyKey), ...removed];
  const twice = keys.find((key, index) => keys.indexOf(key) !== index);
  if (twice !== undefined) return failed(policyUnclear(`policy ${twice} is there twice`));
  const unknown = removed.find((key) => !parts.store.policies.has(key));
  if (unknown !== undefined)
    return failed(policyUnclear(`there is no policy ${unknown} to remove: 'weftctl dump policy' lists them`));
  const naming = new Map<string, ReadonlySet<string>>();
  const notes: string[] = [];
  for (const [index, policy] of policies.entries()) {
    if (policy.scope !== "WORKLOAD_SELECTOR") continue;
    const found = selectedBy(parts, policy, words[index]?.workloads, notes);
    if (!found.ok) return found;
    naming.set(policyKey(policy), new Set(found.value.map(({ uid }) => uid)));
  }
  return ok({ policies, removed, naming, notes });
}

/** The workload as the control plane would say it after the change. */
export function renamed(workload: Workload, { policies, removed, naming }: PolicyChange): Workload {
  const changed = new Set([...policies.map(policyKey), ...removed]);
  const kept = workload.authorizationPolicies.filter((key) => !changed.has(key));
  const added = [...naming].filter(([, uids]) => uids.has(workload.uid)).map(([key]) => key);
  return workload.with({ authorizationPolicies: [...kept, ...added] });
}

/** Whom a policy selects: those that are listed, else those that name it already. Labels do not come with xDS. */
function selectedBy(
  parts: Known,
  policy: Policy,
  listed: readonly string[] | undefined,
  notes: string[],
): Result<Workload[]> {
  const key = policyKey(policy);
  if (listed !== undefined) return workloadsOf(parts, policy, listed);
  if (parts.store.policies.get(key)?.scope !== "WORKLOAD_SELECTOR")
    return failed(
      policyUnclear(
        `policy ${key} selects workloads by labels, which do not come with xDS, and no such policy is in force that would tell whom it means: say it with --workload NAMESPACE/NAME`,
      ),
    );
  const named = parts.pods.enrolled
    .flatMap(({ namespace, name }) => parts.store.podWorkloads(namespace, name))
    .filter(({ authorizationPolicies }) => authorizationPolicies.includes(key));
  const who = named.length === 0 ? "no pod of this node" : named.map(podKey).join(", ");
  notes.push(`policy ${key} selects by labels: taken to mean those that name it now, which is ${who}`);
  return ok(named);
}

function workloadsOf(parts: Known, policy: Policy, listed: readonly string[]): Result<Workload[]> {
  const workloads: Workload[] = [];
  for (const reference of listed) {
    const [namespace = "", name = ""] = qualified(reference, policy.namespace).split("/");
    const found = parts.store.workloads.get(reference);
    const pods = found === undefined ? parts.store.podWorkloads(namespace, name) : [found];
    if (pods.length === 0)
      return failed(
        policyUnclear(
          `policy ${policyKey(policy)} is for workload ${reference}, which the control plane does not know: 'weftctl dump workload' lists those that it does`,
        ),
      );
    workloads.push(...pods);
  }
  return ok(workloads);
}
