// Owns running one decision in the kernel: load an object afresh, fill its maps, run a program, read counters.
// Knows no decision.

import { join } from "node:path";
import { packageRoot } from "../../daemon/base/package-root.js";
import { loadStub } from "../../daemon/bpf/guard-stub.js";
import {
  type Codec,
  ConnectionEvent,
  FRONTEND_SHIFT,
  type MapDescription,
  type MapName,
  maps,
  type Reason,
  reasonNames,
  ringBuffers,
} from "../../daemon/bpf/maps.gen.js";
import type { EntryOperation } from "../../daemon/compile/operation.js";
import { tagOfCookie, tagOfKey, wordOf } from "../../daemon/compile/word.js";
import { toKeyBytes } from "../../daemon/model/address.js";
import { type BpfMap, type BpfObject, type BpfProgram, loadNative } from "../../native/index.js";

type CodecType<C> = C extends Codec<infer T> ? T : never;
type Key<Name extends MapName> = CodecType<(typeof maps)[Name]["key"]>;
type Value<Name extends MapName> = CodecType<(typeof maps)[Name]["value"]>;

/** One line of a fixture: what a map holds before the run. */
export interface Entry {
  readonly map: MapName;
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

/** Number of entries of each map while testing: more than any case needs, fewer than take time to make. */
const MAP_ENTRIES = 64;
const RING_BYTES = 64 * 1024;

const native = loadNative(packageRoot());

/** Where `make -C bpf` puts its objects; WEFT_BPF_OBJECTS names those of another compiler. */
const objectDirectory = process.env.WEFT_BPF_OBJECTS ?? join(packageRoot(), "build", "bpf");

export function entry<Name extends MapName>(map: Name, key: Key<Name>, value: Value<Name>): Entry {
  const { key: keyCodec, value: valueCodec }: MapDescription = maps[map];
  return { map, key: keyCodec.encode(key), value: valueCodec.encode(value) };
}

/** Whose an address is, with the tag that a hook looks for unless another is given. */
export function addressEntry(
  address: string,
  value: {
    readonly workload?: number;
    readonly identity?: number;
    readonly flags?: number;
    /** Index of a target, or of a view when the flags say so. */
    readonly frontend?: number;
    readonly waypoint?: number;
  },
  tag = tagOfKey(toKeyBytes(address)),
): Entry {
  return entry(
    "addresses",
    { address: toKeyBytes(address) },
    {
      workload: wordOf(value.workload ?? 0, tag),
      identity: wordOf(value.identity ?? 0, tag),
      frontend: wordOf(((value.frontend ?? 0) << FRONTEND_SHIFT) | (value.flags ?? 0), tag),
      waypoint: wordOf(value.waypoint ?? 0, tag),
    },
  );
}

/** An enrolled pod, with the tag that a hook looks for unless another is given. */
export function podEntry(
  cookie: bigint,
  value: { readonly guard?: number; readonly workload?: number },
  tag = tagOfCookie(cookie),
): Entry {
  return entry("pods", cookie, {
    guard: wordOf(value.guard ?? 0, tag),
    workload: wordOf(value.workload ?? 0, tag),
    service: wordOf(0, tag),
    namespace: wordOf(0, tag),
    flags: wordOf(0, tag),
  });
}

/** Entries to make each map with. */
type Capacity = (map: string) => number;

/** The rows of all verdict fixtures lie in one array, each at its place. */
const smallCapacity: Capacity = (map) => (map === "authz_chunks" ? maps[map].maxEntries : MAP_ENTRIES);

/** Opens an object with small maps, ready to load. Throws BpfError when it is not built. */
export function openSmall(path: string, capacityOf = smallCapacity): BpfObject {
  const object = native.openObject(path);
  for (const name of object.mapNames) {
    if (name in ringBuffers) object.setMaxEntries(name, RING_BYTES);
    else if (isMapName(name) && !isFixedSize(maps[name])) object.setMaxEntries(name, capacityOf(name));
  }
  return object;
}

/** Loads `name` (as in `tests/route`) afresh with these entries; the caller closes it. */
export function loadObject(name: string, entries: readonly Entry[], capacityOf?: Capacity): LoadedObject {
  const object = openSmall(join(objectDirectory, `${name}.o`), capacityOf);
  try {
    object.load();
    for (const { map, key, value } of entries) object.map(map).update(key, value);
  } catch (error) {
    object.close();
    throw error;
  }
  return new LoadedObject(object);
}

/** Loads an object that has the maps of another in place of its own; the caller closes both. */
export function loadBeside(name: string, other: LoadedObject): LoadedObject {
  const object = native.openObject(join(objectDirectory, `${name}.o`));
  try {
    for (const map of object.mapNames) object.reuseMap(map, other.map(map));
    object.load();
  } catch (error) {
    object.close();
    throw error;
  }
  return new LoadedObject(object);
}

/** Loads as loadObject() does, hands it to `use`, and closes it. */
export function withObject<T>(name: string, entries: readonly Entry[], use: (loaded: LoadedObject) => T): T {
  const loaded = loadObject(name, entries);
  try {
    return use(loaded);
  } finally {
    loaded.close();
  }
}

export class LoadedObject {
  readonly #object: BpfObject;
  /** Opened once: each handle is a descriptor. */
  readonly #maps = new Map<string, BpfMap>();
  readonly #programs = new Map<string, BpfProgram>();

  constructor(object: BpfObject) {
    this.#object = object;
  }

  /**
   * Runs an XDP harness `repeat` times over one packet that is a struct of cases.h, and returns that struct.
   * Throws when the program did not find the struct whole.
   */
  run<T>(program: string, codec: Codec<T>, input: T, repeat = 1): T {
    const { returnValue, data } = this.#programOf(program).testRun({ data: codec.encode(input), repeat });
    if (returnValue !== XDP_PASS) throw new Error(`${program}: returned ${returnValue} instead of XDP_PASS`);
    return codec.decode(data);
  }

  /** Runs a program over a frame, with a context where one is given. */
  runFrame(program: string, data: Uint8Array, context?: Uint8Array): { returnValue: number; data: Buffer } {
    return this.#programOf(program).testRun(context === undefined ? { data } : { data, context });
  }

  /** Runs a program that takes a context alone, such as sk_lookup. Returns its verdict. */
  runContext(program: string, context: Uint8Array): number {
    return this.#programOf(program).testRun({ context }).returnValue;
  }

  /** Puts a program behind the stubs. */
  govern(program: string): void {
    this.putProgram("guards", program);
  }

  /** Puts a program into an array of one. */
  putProgram(array: "guards" | "early_tc" | "early_xdp", program: string): void {
    this.map(array).updateProgram(maps[array].key.encode(0), this.#programOf(program));
  }

  /** Runs the stub of a pod. Returns its verdict. */
  runStub(cookie: bigint, context: Uint8Array): number {
    const [guarded, guards, disabled] = [this.map("guarded"), this.map("guards"), this.map("disabled")];
    const stub = loadStub(native, { guarded, guards, disabled }, cookie);
    try {
      return stub.testRun({ context }).returnValue;
    } finally {
      stub.close();
    }
  }

  /** Writes what a compiler wants, one operation after the other. */
  apply(operations: Iterable<EntryOperation>): void {
    for (const operation of operations) {
      const map = this.map(operation.map);
      if (operation.kind === "put") map.update(operation.key, operation.value);
      else map.delete(operation.key);
    }
  }

  /** Deletes all entries of hash maps. */
  empty(names: readonly MapName[]): void {
    for (const name of names) {
      const { count, keys } = this.map(name).entries();
      const { error } = this.map(name).deleteBatch(keys, count);
      if (error !== undefined) throw error;
    }
  }

  /** Pins maps under their names, for another thread to open. */
  pinMaps(names: readonly MapName[], directory: string): void {
    for (const name of names) this.map(name).pin(join(directory, name));
  }

  /** Pins a program, for another thread to run. */
  pinProgram(name: string, path: string): void {
    this.#programOf(name).pin(path);
  }

  /** Says whose stub the judging program is called by, on every CPU. */
  callFor(cookie: bigint): void {
    const value = maps.guarded.value.encode({ cookie, index: 0 });
    const values = Buffer.concat(Array.from({ length: native.possibleCpus() }, () => value));
    this.map("guarded").update(maps.guarded.key.encode(0), values);
  }

  /** How often each reason was counted, by its label; those never counted are absent. */
  reasons(): Record<string, number> {
    const counted = Object.entries(reasonNames).map(([reason, label]): [string, number] => [
      label,
      this.#count("reasons", maps.reasons.key.encode(Number(reason))),
    ]);
    return Object.fromEntries(counted.filter(([, count]) => count > 0));
  }

  policyHits(): { policy: number; destinationParty: number; kind: number; count: number }[] {
    const { size, decode } = maps.policy_hits.key;
    const { count, keys } = this.map("policy_hits").entries();
    return Array.from({ length: count }, (_, index) => {
      const key = keys.subarray(index * size, (index + 1) * size);
      return { ...decode(key), count: this.#count("policy_hits", key) };
    }).sort((a, b) => a.policy - b.policy || a.kind - b.kind);
  }

  /** The first `count` access log records, or those there are after `timeoutMs`. */
  async events(count: number, timeoutMs: number): Promise<ConnectionEvent[]> {
    const events: ConnectionEvent[] = [];
    await new Promise<void>((resolve) => {
      const done = () => {
        clearTimeout(timer);
        ring.close();
        resolve();
      };
      const timer = setTimeout(done, timeoutMs);
      const ring = native.openRingBuffer(this.map(ringBuffers.events.name), (records) => {
        events.push(...records.map((record) => ConnectionEvent.decode(record)));
        if (events.length >= count) done();
      });
    });
    return events;
  }

  close(): void {
    this.#object.close();
  }

  #programOf(name: string): BpfProgram {
    const program = this.#programs.get(name) ?? this.#object.program(name);
    this.#programs.set(name, program);
    return program;
  }

  /** Open as long as the object is. */
  map(name: string): BpfMap {
    const map = this.#maps.get(name) ?? this.#object.map(name);
    this.#maps.set(name, map);
    return map;
  }

  #count(map: "reasons" | "policy_hits", key: Uint8Array): number {
    const value = this.map(map).lookup(key);
    return value === undefined ? 0 : Number(maps[map].value.decode(value).count);
  }
}

/** What reasons() returns after `reason` was counted `times` and nothing else was. */
export function counted(reason: Reason, times = 1): Record<string, number> {
  return { [reasonNames[reason] ?? reason]: times };
}

const XDP_PASS = 2;

function isMapName(name: string): name is MapName {
  return name in maps;
}

/** Maps whose length has a meaning (enum reason, the one entry of settings and its like). */
function isFixedSize({ name }: MapDescription): boolean {
  return [maps.reasons, maps.settings, maps.guarded, maps.guards, maps.early_tc, maps.early_xdp].some(
    (map) => map.name === name,
  );
}
