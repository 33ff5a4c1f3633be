// Owns which events a change of the model is: policies, services, and endpoints that come into a service or leave it.
// Must not know who makes the change, nor where events are kept.

import { type Policy, policyKey } from "../model/policy.js";
import type { Service } from "../model/service.js";
import type { Change, Delta } from "../model/update.js";
import type { Workload } from "../model/workload.js";
import type { TellEvent, Told } from "./event.js";

/** Changes of one kind that one update tells singly: a push may hold a hundred thousand. */
const MOST_AT_ONCE = 32;

/** Tells of what an update changed. Costs little where it changed much. */
export function tellChanges(
  { policies, services, workloads }: Pick<Delta, "policies" | "services" | "workloads">,
  tell: TellEvent,
): void {
  tellSome("policy", policies, policyEvents, tell);
  tellSome("service", services, serviceEvents, tell);
  tellSome("endpoint", workloads, endpointEvents, tell);
  tellSome("policy", workloads, selectionEvents, tell);
}

function tellSome<T>(
  type: "policy" | "service" | "endpoint",
  changes: readonly Change<T>[],
  eventsOf: (change: Change<T>) => Told[],
  tell: TellEvent,
): void {
  let told = 0;
  for (const [index, change] of changes.entries()) {
    if (told >= MOST_AT_ONCE) {
      const text = `and ${changes.length - index} more resources of this kind in the same update`;
      tell({ type, subject: "", what: "more", text });
      return;
    }
    for (const event of eventsOf(change)) {
      tell(event);
      told++;
    }
  }
}

function policyEvents({ key, before, after }: Change<Policy>): Told[] {
  const type = "policy";
  const subject = key;
  if (after === undefined) return [{ type, subject, what: "removed", text: `policy ${key} was removed` }];
  const what = before === undefined ? "added" : "changed";
  return [{ type, subject, what, text: `policy ${key} was ${what}: ${policyText(after)}` }];
}

/** Policies with a selector that a workload names, or names no more. */
function selectionEvents({ key, before, after }: Change<Workload>): Told[] {
  if (before === undefined || after === undefined) return [];
  const type = "policy";
  const lacks = (names: readonly string[]) => (name: string) => !names.includes(name);
  const gained = after.authorizationPolicies.filter(lacks(before.authorizationPolicies));
  const lost = before.authorizationPolicies.filter(lacks(after.authorizationPolicies));
  const name = nameOf(after);
  const events: Told[] = [];
  if (gained.length > 0)
    events.push({
      type,
      subject: key,
      what: "selected",
      text: `${name} is selected by ${gained.join(", ")}`,
    });
  if (lost.length > 0) {
    const text = `${name} is not selected any more by ${lost.join(", ")}`;
    events.push({ type, subject: key, what: "unselected", text });
  }
  return events;
}

function policyText(policy: Policy): string {
  const rules = `${policy.rules.length} ${policy.rules.length === 1 ? "rule" : "rules"}`;
  const dry = policy.dryRun ? ", dry run" : "";
  const where = { GLOBAL: "for all", NAMESPACE: `for namespace ${policy.namespace}` }[policy.scope as string];
  return `${policy.action} ${where ?? `for workloads that name ${policyKey(policy)}`}, ${rules}${dry}`;
}

function serviceEvents({ key, before, after }: Change<Service>): Told[] {
  const type = "service";
  const subject = key;
  if (after === undefined) return [{ type, subject, what: "removed", text: `service ${key} was removed` }];
  if (before === undefined) return [{ type, subject, what: "added", text: `service ${key} was added` }];
  return [{ type, subject, what: "changed", text: `service ${key} was changed` }];
}

function endpointEvents({ key, before, after }: Change<Workload>): Told[] {
  const type = "endpoint";
  const left = [...(before?.services.keys() ?? [])].filter((service) => !after?.services.has(service));
  const joined = [...(after?.services.keys() ?? [])].filter((service) => !before?.services.has(service));
  const events: Told[] = [];
  const name = nameOf(after ?? before) || key;
  const at = (after ?? before)?.addresses.join(" ") ?? "";
  const where = at === "" ? "" : ` (${at})`;
  if (left.length > 0) {
    const why = after === undefined ? "the workload was removed" : "it does not serve it any more";
    events.push({
      type,
      subject: key,
      what: "left",
      text: `${name}${where} left ${left.join(", ")}: ${why}`,
    });
  }
  if (joined.length > 0) {
    const state = after?.status === "HEALTHY" ? "" : ", unhealthy";
    const text = `${name}${where} joined ${joined.join(", ")}${state}`;
    events.push({ type, subject: key, what: "joined", text });
  }
  if (before !== undefined && after !== undefined && after.services.size > joined.length)
    events.push(...sameEndpoint(key, before, after));
  return events;
}

/** What is told of a workload that goes on serving. */
function sameEndpoint(subject: string, before: Workload, after: Workload): Told[] {
  const type = "endpoint";
  const events: Told[] = [];
  const services = [...after.services.keys()].join(", ");
  const name = nameOf(after);
  if (before.status !== after.status) {
    const isWell = after.status === "HEALTHY";
    const text = isWell
      ? `${name} is healthy again, for ${services}`
      : `${name} is said to be unhealthy: ${services} passes it over`;
    events.push({ type, subject, what: isWell ? "healthy" : "unhealthy", text });
  }
  if (before.addresses.join() !== after.addresses.join()) {
    const text = `${name} of ${services} moved from ${before.addresses.join(" ")} to ${after.addresses.join(" ")}`;
    events.push({ type, subject, what: "moved", text });
  }
  return events;
}

function nameOf(workload: Workload | undefined): string {
  return workload === undefined ? "" : `${workload.namespace}/${workload.name}`;
}
