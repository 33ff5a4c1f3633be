// Owns the 32-bit numbers by which the kernel knows workloads, services and policies. Must not know any map.

/** Resources that are gone and still known by number: counters and log records name them for a while. */
const KEPT_AFTER_REMOVAL = 4096;

/**
 * Numbers for one kind of resource. A number is the FNV-1a hash of the resource's key, so it is the same after a
 * restart; on a collision the next free one. 0 is never given out.
 */
export interface Ids<T> {
  /** Number of the resource, known from now on; remembers this version of it for get(). */
  acquire(resource: T): number;
  /** The resource is gone. Number and last version stay known until thousands of others followed. */
  retire(key: string): void;
  /** 0 when the key is not known. */
  idOf(key: string): number;
  /** The last version of the resource behind a number, also when it is gone lately. */
  get(id: number): T | undefined;
}

/** Numbers of resources named by `keyOf`; `hash` gives 32 unsigned bits. */
export function createIds<T>(keyOf: (resource: T) => string, hash: (key: string) => number = fnv1a): Ids<T> {
  // Signed inside: V8 keeps those in place, and would put every second unsigned one on the heap.
  const ids = new Map<string, number>();
  const resources = new Map<number, T>();
  const retired = new Set<string>();

  function freeIdFor(key: string): number {
    let id = hash(key) | 0;
    while (id === 0 || resources.has(id)) id = (id + 1) | 0;
    return id;
  }

  return {
    acquire(resource) {
      const key = keyOf(resource);
      let id = ids.get(key);
      if (id === undefined) {
        id = freeIdFor(key);
        ids.set(key, id);
      } else {
        retired.delete(key);
      }
      resources.set(id, resource);
      return id >>> 0;
    },
    retire(key) {
      if (!ids.has(key)) return;
      retired.delete(key);
      retired.add(key);
      for (const oldest of retired) {
        if (retired.size <= KEPT_AFTER_REMOVAL) break;
        retired.delete(oldest);
        resources.delete(ids.get(oldest) ?? 0);
        ids.delete(oldest);
      }
    },
    idOf: (key) => (ids.get(key) ?? 0) >>> 0,
    get: (id) => resources.get(id | 0),
  };
}

/** 32-bit FNV-1a over the UTF-16 units of a text. */
export function fnv1a(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return hash >>> 0;
}
