// Owns the entries that fixtures of bpf/lib/route.h are made of. Must not know what a case expects.

import { FRONTEND_SHIFT, Reason, type Slot, type Target } from "../../daemon/bpf/maps.gen.js";
import { tagOfKey, wordOf } from "../../daemon/compile/word.js";
import { toKeyBytes } from "../../daemon/model/address.js";
import { addressEntry, type Entry, entry } from "./fixture.js";

const ALWAYS_PRIMARY = 0xffffffff;
export const HALF = 0x80000000;

/** Elements of `targets` are taken in turn: more than any case has. */
export const TARGETS = 60;
let targetsMade = 0;
export const SAYS_NOTHING: Target = {
  service: 0,
  firstSlot: 0,
  slots: 0,
  run: 0,
  flags: 0,
  reason: 0,
  port: 0,
  ports: 0,
  waypoint: 0,
};

interface Where {
  /** Of the 16-byte form: less than 128 is a block. */
  readonly prefixLength?: number;
  /** The word is another key's. */
  readonly foreign?: boolean;
  /** Who has the address besides. */
  readonly workload?: number;
  readonly flags?: number;
}

/** A frontend of one port, and what it says there. */
export function frontend(address: string, port: number, value: Partial<Target>, where: Where = {}): Entry[] {
  const [index, targets] = said(port, value);
  return [...targets, naming(address, index, where)];
}

/** What a service says: nothing of ports but this one. */
function said(port: number, value: Partial<Target>): [index: number, targets: Entry[]] {
  const index = 1 + 2 * (targetsMade++ % (TARGETS / 2));
  const first = { ...SAYS_NOTHING, service: value.service ?? 0, reason: Reason.NO_PORT, ports: 1 };
  const listed = { ...SAYS_NOTHING, port, ...value };
  return [index, [entry("targets", index, first), entry("targets", index + 1, listed)]];
}

/** The address or block with target `index`; with the flag SHARED, it is a view. */
export function naming(address: string, index: number, where: Where = {}): Entry {
  const { prefixLength = 128, foreign = false, flags = 0, workload = 0 } = where;
  const base = toKeyBytes(address);
  if (prefixLength < 128)
    return entry(
      "cidrs",
      { prefixBits: prefixLength, address: base },
      { frontend: (index << FRONTEND_SHIFT) | flags },
    );
  const tag = foreign ? tagOfKey(base) + 1 : tagOfKey(base);
  return addressEntry(address, { workload, flags, frontend: index }, tag);
}

/** What clients of namespaces see, by number; `others` all the rest. */
export function view(index: number, others: number, own: Readonly<Record<number, number>>): Entry[] {
  const elements = Object.entries(own).map(([namespace, target]) => ({
    namespace: Number(namespace),
    target,
  }));
  return [{ namespace: elements.length, target: others }, ...elements].map((element, at) =>
    entry("views", index + at, element),
  );
}

/** There are blocks. */
export const blocks = entry("rewrites", 0, { count: 0, blocks: 1 });
/** As it is within a change. */
export const rewriting = entry("rewrites", 0, { count: 1, blocks: 0 });

export type Backend = Slot["primary"];

export function backend(address: string, port: number, workload: number): Backend {
  return { address: toKeyBytes(address), port, workload };
}

/** One column of an alias table; without `alias` the primary is always taken. */
export function slot(
  index: number,
  primary: Backend,
  alias: Backend = primary,
  threshold = ALWAYS_PRIMARY,
): Entry {
  return entry("slots", index, { primary, alias, threshold });
}

export function owner(address: string, workload: number, flags: number, waypoint = 0): Entry {
  return addressEntry(address, { workload, identity: 1, flags, waypoint });
}

/** Waypoint `number`, whose endpoints target `index` tells; with the tag of its number unless another is given. */
export function waypoint(number: number, index: number, tag = number): Entry {
  return entry("waypoints", number, wordOf(index, tag));
}

export function worker(workload: number): Backend {
  return backend(`10.0.0.${workload}`, 8000 + workload, workload);
}
