// Owns what is served at this moment and how it changes. Must not know clients, files or content.

import { RESOURCE_TYPES, type ResourceType } from "../../daemon/xds/resource.js";

/** One resource as it goes on the wire. */
export interface Served {
  readonly name: string;
  /** "" where the type has none. */
  readonly version: string;
  /** The encoded envoy Resource. */
  readonly bytes: Uint8Array;
}

/** What one response carries. */
export interface Change {
  readonly type: ResourceType;
  readonly resources: readonly Served[];
  readonly removed: readonly string[];
}

/** The resources of each type, by name. */
export class ServedState {
  readonly #types = new Map<ResourceType, Map<string, Served>>(
    RESOURCE_TYPES.map((type) => [type, new Map()]),
  );

  of(type: ResourceType): ReadonlyMap<string, Served> {
    return this.#types.get(type) ?? new Map();
  }

  apply({ type, resources, removed }: Change): void {
    const held = this.#types.get(type);
    for (const resource of resources) held?.set(resource.name, resource);
    for (const name of removed) held?.delete(name);
  }

  /** What leads from here to `wanted`, addresses first; nothing for a type that stays as it is. */
  changesTo(wanted: ReadonlyMap<ResourceType, readonly Served[]>): Change[] {
    return RESOURCE_TYPES.map((type) => {
      const held = this.of(type);
      const next = wanted.get(type) ?? [];
      const names = new Set(next.map((resource) => resource.name));
      return {
        type,
        resources: next.filter(({ name, bytes }) => !sameBytes(held.get(name)?.bytes, bytes)),
        removed: [...held.keys()].filter((name) => !names.has(name)),
      };
    }).filter((change) => change.resources.length + change.removed.length > 0);
  }

  /** The first response of a stream whose client lists `versions`: what it lacks, and what is gone. */
  since(type: ResourceType, versions: ReadonlyMap<string, string>): Change {
    const held = this.of(type);
    return {
      type,
      resources: [...held.values()].filter(
        ({ name, version }) => version === "" || versions.get(name) !== version,
      ),
      removed: [...versions.keys()].filter((name) => !held.has(name)),
    };
  }
}

function sameBytes(a: Uint8Array | undefined, b: Uint8Array): boolean {
  return a !== undefined && Buffer.compare(a, b) === 0;
}
