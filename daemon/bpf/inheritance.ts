// Owns what becomes of long-lived maps that a weft of another layout has left: taken over, read on, or begun anew.
// Must not know what is in them, nor how a layout is read.

import { statSync } from "node:fs";
import type { BpfMap, Native } from "../../native/index.js";
import { bpfPinFailed, failed, ok, type Result, type WeftError } from "../base/errors.js";
import { copyEntries, growingMaps } from "./growing-maps.js";
import { refusedOf } from "./growth.js";
import { type EntrySource, inLayoutOf } from "./map-conversion.js";
import { COUNTING_MAPS, type CountingName, type Pins, STATE_NAMES, type StateName } from "./pins.js";
import type { Heritage } from "./state.js";

type Copied = (from: Pick<EntrySource, "entries">, to: BpfMap) => () => void;

/** Taken over as soon as there is a map of this layout: hooks write to none of them. */
const TOLD = ["pod_info", "settings", "disabled", "labels"] as const satisfies readonly StateName[];

/** Hooks write to these until the swap, and those of the former generation for a moment more. */
const FOLLOWED: Readonly<Partial<Record<StateName, Copied>>> = {
  node_opens: copyEntries,
  connections: growingMaps.connections.copy ?? copyEntries,
  connection_fill: copyEntries,
  sibling_flows: copyEntries,
  connected_pods: copyEntries,
};

/** What it means for an operator that one begins anew; nothing where it means nothing. */
const LOST: Readonly<Partial<Record<StateName, string>>> = {
  pod_info: "pods have to be enrolled again",
  settings: "the switches are as in the configuration",
  disabled: "weft is enabled",
  node_opens: "a connection that the node is opening may be denied",
  connections: "the ends of some open connections are not counted",
  sibling_flows: "answers to UDP sockets that share a port may show their endpoint's address",
  connected_pods: "connected UDP sockets are not closed when their endpoint leaves",
  labels: "what was counted for those who are gone is not shown any more",
  traffic: "connections are counted from 0",
  pod_traffic: "connections are counted from 0 by pod",
  policy_hits: "verdicts are counted from 0",
  reasons: "reasons are counted from 0",
  events: "access log records that nobody has read are lost",
  failing: "the failures of endpoints are counted from 0",
  flows: "UDP sockets choose their endpoint anew",
  ended: "the ends of a few connections may be counted twice",
  counted_bytes: "bytes of open connections may be counted twice",
  counted_losses: "what open connections sent again may be counted twice",
  watched: "metrics of open connections begin anew",
  originals: "connections that owe a waypoint their header are cut off",
};

interface Former {
  readonly name: StateName;
  readonly path: string;
  readonly map: BpfMap;
}

export interface InheritanceNote {
  readonly text: string;
  /** Something is lost. */
  readonly isLoss: boolean;
}

export class Inheritance implements Heritage {
  readonly #formers: readonly Former[];
  readonly #catchUps: { readonly name: StateName; readonly catchUp: () => void }[] = [];
  readonly #parts: { readonly name: CountingName; readonly path: string; readonly map: EntrySource }[] = [];
  readonly notes: InheritanceNote[] = [];

  private constructor(formers: readonly Former[]) {
    this.#formers = formers;
  }

  /** Makes the directories of pins, and looks there for maps of other layouts. Of several that one map has left, the first made is the one that governs. */
  static of(native: Pick<Native, "openPinnedMap">, pins: Pins): Result<Inheritance> {
    try {
      pins.prepare();
      const formers = STATE_NAMES.flatMap((name) => {
        const paths = pins.others(name).sort((a, b) => statSync(a).mtimeMs - statSync(b).mtimeMs);
        return paths.map((path) => ({ name, path, map: native.openPinnedMap(path) }));
      });
      return ok(new Inheritance(formers));
    } catch (error) {
      return failed(bpfPinFailed(pins.root, error));
    }
  }

  /** Entries that a map needs for what it takes over. */
  entriesOf(name: StateName): number | undefined {
    if (isCounting(name)) return undefined;
    return this.#formers.find((former) => former.name === name)?.map.info.maxEntries;
  }

  /** Call for each map that was made anew, before it is pinned. */
  fill(name: StateName, own: BpfMap): void {
    const former = this.#formers.find((each) => each.name === name);
    if (former === undefined) return;
    const source = isTold(name) || name in FOLLOWED ? inLayoutOf(own, former.map) : undefined;
    if (source !== undefined && isTold(name)) copyEntries(source, own);
    if (isCounting(name)) return;
    this.#note(name, source !== undefined);
  }

  /** Call when every map is there. Gives counters that are read beside the own ones. */
  parts(state: Readonly<Record<CountingName, BpfMap>>): readonly { name: CountingName; map: EntrySource }[] {
    for (const { name, path, map } of this.#formers) {
      if (!isCounting(name)) continue;
      const source = inLayoutOf(state[name], map);
      this.#note(name, source !== undefined);
      if (source !== undefined) this.#parts.push({ name, path, map: source });
    }
    return this.#parts;
  }

  /** Whether what is pinned there is still read. */
  isRead(path: string): boolean {
    return this.#parts.some((part) => part.path === path);
  }

  /** Takes over what hooks have written until now. Call right before the first swap, with the maps that it brings. */
  copy(state: Readonly<Record<StateName, BpfMap>>): void {
    const copied = new Set<StateName>();
    for (const { name, map } of this.#formers) {
      const copy = FOLLOWED[name];
      const source = copied.has(name) || copy === undefined ? undefined : inLayoutOf(state[name], map);
      copied.add(name);
      if (source !== undefined && copy !== undefined)
        this.#catchUps.push({ name, catchUp: copy(source, state[name]) });
    }
  }

  /** As Growth.finish. */
  finish(): WeftError[] {
    const refused = this.#catchUps.splice(0).flatMap(({ name, catchUp }) => refusedOf(name, catchUp));
    for (const { path, map } of this.#formers) if (!this.isRead(path)) map.close();
    return refused;
  }

  #note(name: StateName, isKept: boolean): void {
    const loss = LOST[name];
    const what = `long-lived map ${name} has another layout than that of the weftd before`;
    if (isKept) this.notes.push({ text: `${what}: what it held is kept`, isLoss: false });
    else if (loss !== undefined)
      this.notes.push({ text: `${what}: it begins anew, and ${loss}`, isLoss: true });
  }
}

function isTold(name: StateName): boolean {
  return (TOLD as readonly StateName[]).includes(name);
}

function isCounting(name: StateName): name is CountingName {
  return (COUNTING_MAPS as readonly StateName[]).includes(name);
}
