// Owns a model of the kernel's routing maps for specs: applies operations, finds routes as bpf/lib/route.h does.
// Must not know the compiler.

import {
  AddressFlag,
  type Backend,
  FRONTEND_SHIFT,
  type MapName,
  maps,
  reasonNames,
  type Slot,
  Target,
  TargetFlag,
  U32,
  View,
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
    const target = this.#frontend(address, port, 0);
    if (typeof target !== "object") return [];
    const { firstSlot, slots } = target;
    return Array.from({ length: slots }, (_, column) => this.#slot(firstSlot + column)).filter(
      (slot) => slot !== undefined,
    );
  }

  /**
   * What a new TCP connection of a client in a namespace (by number), which is no waypoint's, meets, in words: two
   * equal texts are the same fate.
   */
  route(address: string, port: number, namespace = 0): string {
    const target = this.#frontend(address, port, namespace);
    if (target === undefined) return "pass";
    if (target === "missing") return "missing target";
    const { service, flags, reason } = target;
    const { firstSlot, slots } = target;
    if (target.waypoint !== 0) return this.#guide(service, target.waypoint);
    if ((flags & TargetFlag.PASSTHROUGH) !== 0) return "pass";
    if (slots === 0) return `refuse ${service} ${reasonNames[reason]}`;
    const columns = Array.from({ length: slots }, (_, column) => this.#slot(firstSlot + column));
    if (columns.includes(undefined)) return "missing slot";
    const run = columns.map(
      (slot) => slot && `${backendText(slot.primary)} ${backendText(slot.alias)} ${slot.threshold}`,
    );
    return `route ${service} ${run.join()}`;
  }

  /** By its number: where a waypoint leads is another matter, whoever is behind it. */
  #guide(service: number, number: number): string {
    const value = this.get("waypoints", U32.encode(number));
    const index = value && numberOf(maps.waypoints.value.decode(value), number);
    return index === undefined || this.#target(index) === undefined
      ? "missing waypoint"
      : `guide ${service} ${number}`;
  }

  #frontend(address: string, port: number, namespace: number): Target | "missing" | undefined {
    const key = toKeyBytes(address);
    const value = this.get("addresses", maps.addresses.key.encode({ address: key }));
    const known = value && maps.addresses.value.decode(value);
    const word = known && numberOf(known.frontend, tagOfKey(key));
    if (known !== undefined && word === undefined) return "missing";
    const own = word === undefined ? undefined : this.#seen(word, port, namespace);
    if (own !== undefined || (known !== undefined && known.workload.number !== 0)) return own;
    const block = this.#block(address);
    const target = block === undefined ? undefined : this.#seen(block, port, namespace);
    return target !== undefined && target !== "missing" && target.port === 0 ? undefined : target;
  }

  /** What is said on a port to clients of a namespace, by the word of an address or block. */
  #seen(word: number, port: number, namespace: number): Target | "missing" | undefined {
    let first = word >>> FRONTEND_SHIFT;
    if ((word & AddressFlag.SHARED) !== 0) {
      const others = this.#view(first);
      if (others === undefined || others.namespace === 0) return "missing";
      const own = Array.from({ length: others.namespace }, (_, at) => this.#view(first + 1 + at));
      first = (own.find((view) => view?.namespace === namespace) ?? others).target;
    }
    if (first === 0) return undefined;
    const address = this.#target(first);
    if (address === undefined) return "missing";
    const ports = Array.from({ length: address.ports }, (_, at) => this.#target(first + 1 + at));
    return ports.find((target) => target?.port === port) ?? address;
  }

  #view(index: number): View | undefined {
    const value = this.get("views", U32.encode(index));
    return value && View.decode(value);
  }

  #target(index: number): Target | undefined {
    const value = this.get("targets", U32.encode(index));
    return value && Target.decode(value);
  }

  /** The word of the longest block around an address. */
  #block(address: string): number | undefined {
    let longest = -1;
    let found: Uint8Array | undefined;
    for (const [key, value] of this.#map("cidrs")) {
      const block = maps.cidrs.key.decode(Buffer.from(key, "hex"));
      const masked = maskBytes(toKeyBytes(address), block.prefixBits);
      if (block.prefixBits <= longest || Buffer.compare(masked, block.address) !== 0) continue;
      longest = block.prefixBits;
      found = value;
    }
    return found && maps.cidrs.value.decode(found).frontend;
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
