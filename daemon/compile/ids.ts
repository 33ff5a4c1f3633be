// Owns the 32-bit numbers by which the kernel knows workloads, services and policies. Must not know any map.

import { fnv1aOfText } from "../base/fnv1a.js";
import { Party, PolicyId, WorkloadId } from "../bpf/maps.gen.js";

/** Numbers with a meaning of their own. */
const RESERVED: ReadonlySet<number> = new Set(
  [WorkloadId, Party, PolicyId].flatMap((numbers): number[] => Object.values(numbers)),
);

/** Resources that are gone and still known by number: counters and log records name them for a while. */
const KEPT_AFTER_REMOVAL = 4096;

/**
 * Numbers for one kind of resource. A number is the FNV-1a hash of the resource's key, so it is the same after a
 * restart; on a collision the next one that is nobody's, now or by what is kept. Numbers with a meaning of their own
 * are never given out.
 */
export interface Ids<T> {
  /** Number of the resource, known from now on; remembers this version of it for get(). */
  acquire(resource: T): number;
  /** The resource is gone. Number and last version stay known until thousands of others followed. */
  retire(key: string): void;
  /** 0 when the key is not known. */
  idOf(key: string): number;
  /** Of a resource that has one: without looking whether it has. */
  numberOf(resource: T): number;
  /** The last version of the resource behind a number, also when it is gone lately. */
  get(id: number): T | undefined;
  /** How many have numbers. */
  readonly size: number;
  /** All that have numbers, as get() gives them; numbers are signed. */
  all(): Iterable<readonly [id: number, resource: T]>;
  /** Numbers, with their keys, that would be others' in another order: to be kept. */
  collided(): Iterable<readonly [id: number, key: string]>;
}

/** The key that a number is known to be of since an earlier daemon; undefined: of none. */
export type Kept = (id: number) => string | undefined;

interface IdOptions<T> {
  /** 32 bits of a key. */
  readonly hash?: (key: string) => number;
  /** The same of a resource's key, where it is known already. */
  readonly hashOf?: (resource: T) => number;
  readonly kept?: Kept | undefined;
  /** The number of a resource that has been gone for long stands for nothing any more. */
  readonly onForgotten?: (id: number) => void;
}

/** Numbers of resources named by `keyOf`. */
export function createIds<T>(
  keyOf: (resource: T) => string,
  {
    hash = fnv1aOfText,
    kept = () => undefined,
    onForgotten,
    hashOf = (resource) => hash(keyOf(resource)),
  }: IdOptions<T> = {},
): Ids<T> {
  // Signed inside: V8 keeps those in place, and would put every second unsigned one on the heap.
  const resources = new Map<number, T>();
  /** Numbers of keys whose hash was taken: hardly any, so that all others need no entry by key. */
  const moved = new Map<string, number>();
  const retired = new Set<string>();

  function find(key: string, wanted = hash(key) | 0): number | undefined {
    const resource = resources.get(wanted);
    if (resource !== undefined && keyOf(resource) === key) return wanted;
    return moved.get(key);
  }

  function give(key: string, wanted: number): number {
    let id = wanted;
    while (RESERVED.has(id) || resources.has(id) || (kept(id >>> 0) ?? key) !== key) id = (id + 1) | 0;
    if (id !== wanted) moved.set(key, id);
    return id;
  }

  function forget(key: string): void {
    const id = find(key);
    moved.delete(key);
    if (id === undefined) return;
    resources.delete(id);
    onForgotten?.(id >>> 0);
  }

  return {
    acquire(resource) {
      const key = keyOf(resource);
      const wanted = hashOf(resource) | 0;
      const known = find(key, wanted);
      if (known !== undefined) retired.delete(key);
      const id = known ?? give(key, wanted);
      resources.set(id, resource);
      return id >>> 0;
    },
    retire(key) {
      if (find(key) === undefined) return;
      retired.delete(key);
      retired.add(key);
      for (const oldest of retired) {
        if (retired.size <= KEPT_AFTER_REMOVAL) break;
        retired.delete(oldest);
        forget(oldest);
      }
    },
    numberOf: (resource) =>
      (moved.size === 0 ? hashOf(resource) : (moved.get(keyOf(resource)) ?? hashOf(resource))) >>> 0,
    idOf: (key) => (find(key) ?? 0) >>> 0,
    get: (id) => resources.get(id | 0),
    get size() {
      return resources.size;
    },
    all: () => resources,
    *collided() {
      for (const [key, id] of moved) {
        yield [id >>> 0, key];
        const other = resources.get(hash(key) | 0);
        if (other !== undefined) yield [hash(key), keyOf(other)];
      }
    },
  };
}
