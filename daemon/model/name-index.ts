// Owns which endpoints go by a host name alone, and as what they are endpoints. Must not know who resolves the names.

import type { Workload } from "./workload.js";

interface Name {
  /** By uid, as they are endpoints. */
  readonly endpoints: Map<string, Workload>;
  addresses: readonly string[];
}

/** An endpoint before and after its name stood for something else. */
export interface Renewed {
  readonly before: Workload;
  readonly after: Workload;
}

export class NameIndex {
  readonly #names = new Map<string, Name>();

  /** Names that some endpoint goes by. */
  wanted(): Iterable<string> {
    return this.#names.keys();
  }

  /** What a held workload is as an endpoint. */
  endpointOf(workload: Workload): Workload {
    return this.#names.get(nameOf(workload) ?? "")?.endpoints.get(workload.uid) ?? workload;
  }

  /** Takes another version of a workload in; gives what it is as an endpoint. */
  replace(before: Workload | undefined, after: Workload | undefined): Workload | undefined {
    const [former, name] = [before && nameOf(before), after && nameOf(after)];
    if (before !== undefined && former !== undefined && former !== name) this.#leave(former, before.uid);
    if (after === undefined || name === undefined) return after;
    const entry = this.#names.get(name) ?? { endpoints: new Map<string, Workload>(), addresses: [] };
    this.#names.set(name, entry);
    const endpoint = after.with({ addresses: entry.addresses, isFoundByName: true });
    entry.endpoints.set(after.uid, endpoint);
    return endpoint;
  }

  /** A name stands for these addresses now, canonical texts; one that nobody goes by is passed over. */
  answer(name: string, addresses: readonly string[]): Renewed[] {
    const entry = this.#names.get(name);
    if (entry === undefined || entry.addresses.join() === addresses.join()) return [];
    entry.addresses = addresses;
    return [...entry.endpoints].map(([uid, before]) => {
      const after = before.with({ addresses });
      entry.endpoints.set(uid, after);
      return { before, after };
    });
  }

  #leave(name: string, uid: string): void {
    const entry = this.#names.get(name);
    entry?.endpoints.delete(uid);
    if (entry?.endpoints.size === 0) this.#names.delete(name);
  }
}

/** The name that has to be resolved for a workload to be an endpoint; undefined: none has. */
function nameOf(workload: Workload): string | undefined {
  if (workload.hostname === "" || workload.services.size === 0) return undefined;
  return workload.addresses.length === 0 || workload.isFoundByName ? workload.hostname : undefined;
}
