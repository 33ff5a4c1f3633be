// Owns what in a status deserves an operator's attention. Must not know where the facts come from.

import { type MapDescription, maps } from "../bpf/maps.gen.js";
import type { StatusFacts } from "./answers.js";

/** Share of a map's capacity from which on it is a warning: one that may grow has done so before. */
const FULL = 0.9;

const DISABLED =
  "weft is DISABLED: all traffic of this node passes unenforced and unrouted, until 'weftd enable'";

/** Sentences that say what is wrong and what to do, the daemon's own first. */
export function warningsOf(facts: StatusFacts): string[] {
  return [...warningsByKey(facts).values()];
}

/** The same, each by a key that stays while its numbers change. Of the daemon's own the text is the key. */
export function warningsByKey(facts: StatusFacts): Map<string, string> {
  const own = [...(facts.disabled ? [DISABLED] : []), ...facts.warnings];
  const warnings = new Map(own.map((text) => [text, text]));
  const { xds, accessLog, recent } = facts;
  const lately = `in the last ${recent.minutes} minutes`;
  if (xds.state !== "connected") {
    const because = xds.lastError === null ? "" : ` (${xds.lastError})`;
    const governs = xds.snapshot?.governs
      ? `the snapshot of what it said until ${xds.lastContact ?? "an unknown time"} governs`
      : "the kernel keeps the last configuration";
    warnings.set(
      "control plane",
      `no control plane at ${xds.address} since ${xds.since}${because}: ${governs}`,
    );
  }
  if (xds.snapshot !== null && xds.snapshot.error !== null) {
    warnings.set(
      "snapshot",
      `no snapshot is kept (${xds.snapshot.error}): a start without the control plane would know nothing`,
    );
  }
  for (const [type, nacks] of Object.entries(recent.nacks)) {
    if (nacks > 0)
      warnings.set(
        `refused ${type}`,
        `${nacks} ${type} responses ${lately} held a resource that was refused: see the log of xds`,
      );
  }
  for (const { hook, target, attached } of facts.hooks) {
    if (!attached) warnings.set(`${hook} ${target}`, `${hook} is not attached to ${target}: restart weftd`);
  }
  for (const { name, entries, capacity } of facts.maps) {
    if (canFill(name) && entries >= capacity * FULL) {
      warnings.set(
        `map ${name}`,
        `map ${name} is ${Math.floor((entries / capacity) * 100)} % full (${entries} of ${capacity}): ${name === "pods" ? "unenroll some" : "raise --map-limit"}`,
      );
    }
  }
  for (const pod of facts.pods) {
    if (pod.state !== "enrolled") {
      warnings.set(
        `pod ${pod.namespace}/${pod.name}`,
        `pod ${pod.namespace}/${pod.name} is ${pod.state}: ${pod.reason ?? `no namespace at ${pod.netns}`}`,
      );
    } else if (pod.workload === null) {
      warnings.set(
        `pod ${pod.namespace}/${pod.name}`,
        `the control plane does not know pod ${pod.namespace}/${pod.name}: its connections are not named`,
      );
    }
  }
  if (recent.eventsDropped > 0)
    warnings.set(
      "ring buffer",
      `${recent.eventsDropped} access log records ${lately} were lost in the ring buffer`,
    );
  if (recent.linesDropped > 0) {
    const file = accessLog.file ?? "standard output";
    warnings.set(
      "access log",
      `${recent.linesDropped} access log lines ${lately} did not reach ${file}: ${accessLog.dropReason}`,
    );
  }
  for (const { signal, since, error } of facts.exportFailures)
    warnings.set(
      `export of ${signal}`,
      `the OTLP collector has taken no ${signal} since ${since} (${error}): see --otlp-endpoint`,
    );
  if (!facts.authzEnforced) warnings.set("authz", "authorization is not enforced: every verdict is allow");
  return warnings;
}

/** The reasons and the switches are always complete, and an LRU map makes room by itself. */
function canFill(name: string): boolean {
  const description: MapDescription | undefined = Object.values(maps).find((map) => map.name === name);
  const isComplete = name === "reasons" || description?.maxEntries === 1;
  return description !== undefined && !isComplete && !description.type.includes("LRU");
}
