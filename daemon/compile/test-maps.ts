// Owns a model of the kernel's routing maps for specs: applies operations, finds routes as bpf/lib/route.h does.
// Must not know the compiler.

import {
  type Backend,
  type MapName,
  maps,
  reasonNames,
  type Slot,
  type Target,
  TargetFlag,
} from "../bpf/maps.gen.js";
import { maskBytes, toKeyBytes } from "../model/address.js";
import { type MapOperation, singly } from "./operation.js";
import type { MapEntry } from "./view.js";
import { numberOf, tagOfKey } from "./word.js";

export class TestMaps {
  readonly #maps = new Map<MapName, Map<string, Uint8Array>>();

  constructor(operations: Iterable<MapOperation> = []) {
    this.apply(operations);
  }

  apply(operations: Iterable<MapOperation>): void {
    for (const operation of singly(operations)) {
      const map = this.#map(operation.map);
      const key = Buffer.from(operation.key).toString("hex");
      if (operation.kind === "delete") map.delete(key);
      else map.set(key, operation.value);
    }
  }

  *entries(): Generator<MapEntry> {
    for (const [name, map] of this.#maps) {
      for (const [key, value] of map) yield [name, Buffer.from(key, "hex"), value];
    }
  }

  get(map: MapName, key: Uint8Array): Uint8Array | undefined {
    return this.#map(map).get(Buffer.from(key).toString("hex"));
  }

  count(map: MapName): number {
    return this.#map(map).size;
  }

  /** Columns of the run behind an address and port, first to last; empty when there is none. */
  columns(address: string, port: number): Slot[] {
    const key = maps.frontends.key.encode({ address: toKeyBytes(address), port, prefixLength: 128 });
    const target = this.#target(key);
    if (typeof target !== "object") return [];
    const { firstSlot, slots } = target;
    return Array.from({ length: slots }, (_, column) => this.#slot(firstSlot + column)).filter(
      (slot) => slot !== undefined,
    );
  }

  /** What a new TCP connection meets, in words: two equal texts are the same fate. */
  route(address: string, port: number): string {
    const target = this.#frontend(address, port);
    if (target === undefined) return "pass";
    if (target === "missing") return "missing target";
    const { service, firstSlot, slots, flags, reason } = target;
    if ((flags & TargetFlag.WAYPOINT) !== 0) return `refuse ${service} waypoint_unsupported`;
    if ((flags & TargetFlag.PASSTHROUGH) !== 0) return "pass";
    if (slots === 0) return `refuse ${service} ${reasonNames[reason]}`;
    const columns = Array.from({ length: slots }, (_, column) => this.#slot(firstSlot + column));
    if (columns.includes(undefined)) return "missing slot";
    const run = columns.map(
      (slot) => slot && `${backendText(slot.primary)} ${backendText(slot.alias)} ${slot.threshold}`,
    );
    return `route ${service} ${run.join()}`;
  }

  #frontend(address: string, port: number): Target | "missing" | undefined {
    const base = toKeyBytes(address);
    const block = this.#block(address);
    for (const at of [{ address: base, prefixLength: 128 }, block]) {
      if (at === undefined) continue;
      for (const number of [port, 0]) {
        const found = this.#target(maps.frontends.key.encode({ ...at, port: number }));
        if (found !== undefined) return found;
      }
    }
    return undefined;
  }

  /** What a frontend says; undefined when there is no such frontend. */
  #target(key: Uint8Array): Target | "missing" | undefined {
    const frontend = this.get("frontends", key);
    if (frontend === undefined) return undefined;
    const index = numberOf(maps.frontends.value.decode(frontend).target, tagOfKey(key));
    const value = index && this.get("targets", maps.targets.key.encode(index));
    return value ? maps.targets.value.decode(value) : "missing";
  }

  #block(address: string): { address: Uint8Array; prefixLength: number } | undefined {
    let longest = -1;
    let found: Uint8Array | undefined;
    for (const [key, value] of this.#map("cidrs")) {
      const block = maps.cidrs.key.decode(Buffer.from(key, "hex"));
      const masked = maskBytes(toKeyBytes(address), block.prefixBits);
      if (block.prefixBits <= longest || Buffer.compare(masked, block.address) !== 0) continue;
      longest = block.prefixBits;
      found = value;
    }
    return found && maps.cidrs.value.decode(found);
  }

  #slot(index: number): Slot | undefined {
    const value = this.get("slots", maps.slots.key.encode(index));
    return value && maps.slots.value.decode(value);
  }

  #map(name: MapName): Map<string, Uint8Array> {
    let map = this.#maps.get(name);
    if (map === undefined) {
      map = new Map();
      this.#maps.set(name, map);
    }
    return map;
  }
}

function backendText({ address, port, workload }: Backend): string {
  return `${Buffer.from(address).toString("hex")}:${port}/${workload}`;
}
