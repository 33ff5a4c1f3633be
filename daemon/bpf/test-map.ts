// Owns a double of native's BpfMap for specs, with a capacity and refusals on demand: a real map refuses only what
// its kernel happens to. Must not know what entries mean.

import type { BpfError, BpfMap, MapInfo } from "../../native/index.js";
import { bytesOfText, textOfBytes } from "../base/byte-text.js";
import { type MapDescription, type MapName, maps } from "./maps.gen.js";

/** Numbers of enum bpf_map_type that behave unlike a hash map. */
const TYPES: Readonly<Record<string, number>> = { HASH: 1, ARRAY: 2, LPM_TRIE: 11 };

/** A map of weft's, by name; keeps what it is given, up to `maxEntries`. */
export class TestMap implements BpfMap {
  readonly info: MapInfo;
  readonly held = new Map<string, Buffer>();
  /** Every call that writes, as `update`, `updateBatch 3`, `delete`. */
  readonly calls: string[] = [];
  /** errno name to refuse a put with, whatever room there is. */
  refuse: (key: Buffer) => string | undefined = () => undefined;
  /** As refuse(), of a delete. */
  refuseDelete: (key: Buffer) => string | undefined = () => undefined;
  readonly #type: string;

  constructor(name: MapName, maxEntries: number) {
    const { key, value, type }: MapDescription = maps[name];
    this.#type = type;
    this.info = {
      id: 0,
      type: TYPES[type] ?? 0,
      name,
      keySize: key.size,
      valueSize: value.size,
      maxEntries,
      flags: 0,
    };
  }

  lookup(key: Uint8Array): Buffer | undefined {
    return this.held.get(textOfBytes(key));
  }

  update(key: Uint8Array, value: Uint8Array): void {
    this.calls.push("update");
    const code = this.#put(Buffer.from(key), Buffer.from(value));
    if (code !== undefined) throw errorOf(code);
  }

  updateProgram(): void {
    throw new Error("a test map holds no programs");
  }

  delete(key: Uint8Array): boolean {
    this.calls.push("delete");
    const code = this.refuseDelete(Buffer.from(key));
    if (code !== undefined) throw errorOf(code);
    return this.held.delete(textOfBytes(key));
  }

  updateBatch(keys: Uint8Array, values: Uint8Array, count: number): { done: number; error?: BpfError } {
    this.calls.push(`updateBatch ${count}`);
    const { keySize, valueSize } = this.info;
    for (let done = 0; done < count; done++) {
      const code = this.#put(
        Buffer.from(keys.subarray(done * keySize, (done + 1) * keySize)),
        Buffer.from(values.subarray(done * valueSize, (done + 1) * valueSize)),
      );
      if (code !== undefined) return { done, error: errorOf(code) };
    }
    return { done: count };
  }

  deleteBatch(keys: Uint8Array, count: number): { done: number; error?: BpfError } {
    const { keySize } = this.info;
    for (let i = 0; i < count; i++) this.delete(keys.subarray(i * keySize, (i + 1) * keySize));
    return { done: count };
  }

  entries(): { count: number; keys: Buffer; values: Buffer } {
    return {
      count: this.held.size,
      keys: Buffer.concat([...this.held.keys()].map(bytesOfText)),
      values: Buffer.concat([...this.held.values()]),
    };
  }

  layout(): undefined {
    return undefined;
  }

  pin(): void {
    throw new Error("a double has nothing to pin");
  }

  close(): void {
    this.held.clear();
  }

  /** As the kernel: an array by its index, a full hash map or trie by its fill, existing keys excepted. */
  #put(key: Buffer, value: Buffer): string | undefined {
    const refused = this.refuse(key);
    if (refused !== undefined) return refused;
    const { maxEntries } = this.info;
    if (this.#type === "ARRAY") {
      if (key.readUInt32LE() >= maxEntries) return "E2BIG";
    } else if (!this.held.has(textOfBytes(key)) && this.held.size >= maxEntries) {
      return this.#type === "LPM_TRIE" ? "ENOSPC" : "E2BIG";
    }
    this.held.set(textOfBytes(key), value);
    return undefined;
  }
}

/** One of each map; those not named have room for everything. */
export function testMaps(capacities: Partial<Record<MapName, number>> = {}): Record<MapName, TestMap> {
  const names = Object.keys(maps) as MapName[];
  const entries = names.map((name) => [name, new TestMap(name, capacities[name] ?? 1_000_000)] as const);
  return Object.fromEntries(entries) as Record<MapName, TestMap>;
}

function errorOf(code: string): BpfError {
  return Object.assign(new Error(code), { code, errno: 1 });
}
