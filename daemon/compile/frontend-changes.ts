// Owns which services and virtual addresses a change of the mesh concerns. Must not know what they say.

import type { Service, VirtualAddress } from "../model/service.js";
import { type ReadableStore, virtualAddressKey } from "../model/store.js";
import type { Delta } from "../model/update.js";
import { sameEndpoint } from "./eligibility.js";
import type { FrontendChanges } from "./frontends.js";
import type { ContextChange } from "./node.js";
import type { Steps } from "./steps.js";

/** Everything that a store holds. */
export function* allFrontends(store: ReadableStore): Steps<FrontendChanges> {
  const changes: FrontendChanges = { services: new Set(), addresses: new Map() };
  for (const [key, service] of store.services) {
    changes.services.add(key);
    addVirtualAddresses(changes.addresses, service);
    yield;
  }
  return changes;
}

/** Services whose frontends can differ after a delta, and the virtual addresses that may pass to another. */
export function addFrontendChanges(
  changes: FrontendChanges,
  delta: Delta,
  store: ReadableStore,
  moved: ContextChange,
): void {
  for (const { key, before, after } of delta.services) {
    changes.services.add(key);
    addVirtualAddresses(changes.addresses, before);
    addVirtualAddresses(changes.addresses, after);
  }
  for (const key of delta.answered) changes.services.add(key);
  for (const uid of delta.aside) {
    for (const key of store.workloads.get(uid)?.services.keys() ?? []) changes.services.add(key);
  }
  for (const { before, after } of delta.workloads) {
    for (const key of before?.services.keys() ?? []) {
      if (!sameEndpoint(before, after, key)) changes.services.add(key);
    }
    for (const key of after?.services.keys() ?? []) {
      if (before?.services.has(key) !== true) changes.services.add(key);
    }
  }
  if (moved === "none") return;
  for (const [key, service] of store.services) {
    if (moved === "network") addVirtualAddresses(changes.addresses, service);
    if (moved === "network" || service.loadBalancing.routingPreference.length > 0) changes.services.add(key);
  }
}

/** The virtual addresses of services, by index key. */
function addVirtualAddresses(into: Map<string, VirtualAddress>, service: Service | undefined): void {
  for (const address of service?.addresses ?? []) into.set(virtualAddressKey(address), address);
}
