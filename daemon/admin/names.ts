// Owns the names that an operator may type, and how many of them are told. Must not know who types.

import { policyKey } from "../model/policy.js";
import type { NameKind } from "./answers.js";
import type { OperatorView } from "./operator-view.js";

/** More than that nobody reads; whoever types another letter is told fewer. */
const MOST = 500;

type Named = Pick<OperatorView, "workloads" | "services" | "policies" | "pods">;

/**
 * Names of a kind that begin so, in order, each once: namespaces; the others as `namespace/name`, of pods those that
 * are enrolled, of services `namespace/hostname:port`.
 */
export function namesOf(view: Named, kind: NameKind, prefix: string): string[] {
  const found = new Set<string>();
  for (const name of everyName(view, kind)) {
    if (name.startsWith(prefix)) found.add(name);
    if (found.size === MOST) break;
  }
  return [...found].sort();
}

function* everyName(view: Named, kind: NameKind): Generator<string> {
  const keyOf = ({ namespace, name }: { readonly namespace: string; readonly name: string }) =>
    `${namespace}/${name}`;
  switch (kind) {
    case "namespace":
      for (const { namespace } of view.workloads()) yield namespace;
      for (const { namespace } of view.services()) yield namespace;
      return;
    case "pod":
      for (const pod of view.pods()) yield keyOf(pod);
      return;
    case "policy":
      for (const policy of view.policies()) yield policyKey(policy);
      return;
    case "service":
      for (const service of view.services())
        for (const { servicePort } of service.ports) yield `${service.key}:${servicePort}`;
      return;
    case "workload":
      for (const workload of view.workloads()) yield keyOf(workload);
  }
}
