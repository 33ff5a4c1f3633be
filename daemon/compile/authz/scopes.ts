// Owns which policies reach a destination, found without looking at all of them. Must not know what they say.

import type { Policy } from "../../model/policy.js";
import type { Change } from "../../model/update.js";
import type { GuardedPod } from "./contract.js";
import { applies, type Destination, maySelect } from "./reference.js";

/** Policies by key. */
type Policies = Map<string, Policy>;

/** The policies of a mesh by scope and namespace. */
export class Scopes {
  readonly #rootNamespace: string;
  readonly #global: Policies = new Map();
  readonly #byNamespace = new Map<string, Policies>();
  /** Enforced ones only: a dry run that might select a pod changes nothing. */
  readonly #selectors = new Map<string, Policies>();

  /** `rootNamespace`: the one whose selector policies reach pods of all namespaces, as far as the operator told. */
  constructor(rootNamespace: string) {
    this.#rootNamespace = rootNamespace;
  }

  take({ key, before, after }: Change<Policy>): void {
    if (before !== undefined) this.#change(before, (policies) => policies.delete(key));
    if (after !== undefined) this.#change(after, (policies) => policies.set(key, after));
  }

  /** Policies that apply; `listed` are those that the destination names and the control plane has. */
  reaching(destination: Destination, listed: readonly Policy[]): Policy[] {
    const candidates = [
      ...this.#global.values(),
      ...(this.#byNamespace.get(destination.namespace)?.values() ?? []),
      ...listed,
    ];
    return [...new Set(candidates)].filter((policy) => applies(policy, destination));
  }

  /** True when a policy could turn out to select a pod of this namespace. */
  maySelect(namespace: string): boolean {
    for (const policies of this.#selectors.values())
      for (const policy of policies.values())
        if (maySelect(policy, namespace, (other) => this.#isRoot(other))) return true;
    return false;
  }

  /** Only the root namespace has GLOBAL policies: they tell where it is when the operator has not. */
  #isRoot(namespace: string): boolean {
    if (namespace === this.#rootNamespace) return true;
    for (const policy of this.#global.values()) if (policy.namespace === namespace) return true;
    return false;
  }

  #change(policy: Policy, change: (policies: Policies) => void): void {
    if (policy.scope === "GLOBAL") change(this.#global);
    else if (policy.scope === "NAMESPACE") within(this.#byNamespace, policy.namespace, change);
    else if (!policy.dryRun) within(this.#selectors, policy.namespace, change);
  }
}

function within(
  groups: Map<string, Policies>,
  namespace: string,
  change: (policies: Policies) => void,
): void {
  const policies = groups.get(namespace) ?? new Map<string, Policy>();
  change(policies);
  if (policies.size > 0) groups.set(namespace, policies);
  else groups.delete(namespace);
}

/** What of a pod decides which policies apply. */
export function destinationOf({ namespace, workload }: GuardedPod): Destination {
  return workload ?? { namespace, authorizationPolicies: undefined };
}

/** True when a changed policy applied to the destination, applies now, is named by it, or might select it. */
export function concerns({ key, before, after }: Change<Policy>, destination: Destination): boolean {
  // Whether one might select it hangs on the scopes of all: there are few pods without a name.
  if (destination.authorizationPolicies === undefined) return true;
  if (destination.authorizationPolicies.includes(key)) return true;
  return [before, after].some((policy) => policy !== undefined && applies(policy, destination));
}
