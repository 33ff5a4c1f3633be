// Owns the layout of the pins below <bpffs>/weft. Must not know what the pinned things do.
//
//   state/<map>-<layout>     long-lived maps, shared by generations of the same layout
//   state/<map>-<layout>     also those of other versions: of counters for good, of others until this one governs
//   state/<map>-<layout>-<n> counters that grew out of a smaller map: what that one holds is read with it
//   generation-<n>/<name>    configuration maps and programs of one generation
//   links/<hook>             hooks of the cgroup and of tracepoints; links/guard-<cookie> one an enrolled pod;
//                            links/early-<kind>-<cookie>-<ifindex> one an interface

import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, unlinkSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { maps, ringBuffers, socketStorages } from "./maps.gen.js";

/** Maps that outlive a generation; all others are configuration and belong to one. */
export const STATE_MAPS = [
  "pod_info",
  "settings",
  "disabled",
  "guarded",
  "guards",
  "early_tc",
  "early_xdp",
  "on_destroy",
  "on_reset",
  "on_drop",
  "denied",
  "node_opens",
  "connections",
  "connection_fill",
  "traffic",
  "pod_traffic",
  "policy_hits",
  "labels",
  "reasons",
  "sibling_flows",
  "connected_pods",
  "failing",
  "witnesses",
  "last_failure",
  "pending",
  "kicks",
] as const;

/** Counters: what was counted in a map of another layout, or in a smaller one, is read with what is counted now. */
export const COUNTING_MAPS = ["traffic", "pod_traffic", "policy_hits", "reasons"] as const;

export type CountingName = (typeof COUNTING_MAPS)[number];

/** How an early hook is attached; xdp-reset: in the kernel because it is to answer, and not for want of a driver. */
const EARLY_KINDS = ["tc", "xdp-native", "xdp-generic", "xdp-reset"] as const;

export type EarlyPinKind = (typeof EARLY_KINDS)[number];

/** The link of an early hook, as its pin's name tells it. */
export interface EarlyPin {
  readonly kind: EarlyPinKind;
  readonly cookie: bigint;
  /** Of the interface. */
  readonly index: number;
  readonly path: string;
}

/** Ring buffers outlive a generation too. */
export const STATE_RINGS = ["events", "endpoint_events"] as const;

export type StateRing = (typeof STATE_RINGS)[number];

/** So do the storages of sockets: their flows go on, what has ended stays so, and a header that is owed is owed. */
export const STATE_STORAGES = [
  "flows",
  "ended",
  "counted_bytes",
  "counted_losses",
  "watched",
  "originals",
] as const;

export type StateMapName = (typeof STATE_MAPS)[number];

/** Everything that outlives a generation. */
export type StateName = StateMapName | StateRing | (typeof STATE_STORAGES)[number];

export const STATE_NAMES: readonly StateName[] = [...STATE_MAPS, ...STATE_RINGS, ...STATE_STORAGES];

const layouts: Readonly<Record<StateName, { readonly layout: string }>> = {
  ...maps,
  ...ringBuffers,
  ...socketStorages,
};

export class Pins {
  readonly root: string;

  constructor(bpffs: string) {
    this.root = join(bpffs, "weft");
  }

  /** Makes the directories; idempotent. */
  prepare(): void {
    mkdirSync(this.#path("state"), { recursive: true });
    mkdirSync(this.#path("links"), { recursive: true });
  }

  /** A layout that changed is another file: the new daemon starts that map anew. */
  state(name: StateName): string {
    return this.#path("state", `${name}-${layouts[name].layout}`);
  }

  /** Files of long-lived maps whose layout this daemon does not have. */
  staleState(): string[] {
    const current = new Set(STATE_NAMES.map((name) => this.state(name)));
    return this.#list("state").filter(
      (path) => !current.has(path.replace(/-[0-9]+$/, "")) && !current.has(path),
    );
  }

  /** Files of a long-lived map in other layouts; of counters also those of what grew there. */
  others(name: StateName): string[] {
    const current = basename(this.state(name));
    const named = new RegExp(`^${name}-[0-9a-f]+(-[0-9]+)?$`);
    return this.#list("state").filter((path) => {
      const file = basename(path);
      return named.test(file) && file !== current && !file.startsWith(`${current}-`);
    });
  }

  /** Files of what a map of counters was before it grew. */
  parts(name: StateName): string[] {
    const state = this.state(name);
    return this.#list("state").filter((path) => path.startsWith(`${state}-`));
  }

  nextPart(name: StateName): string {
    return `${this.state(name)}-${this.parts(name).length + 1}`;
  }

  generation(number: number, name: string): string {
    return this.#path(`generation-${number}`, name);
  }

  /** Files of what outlives generations, of links, and of one generation. */
  present(generation: number): ReadonlySet<string> {
    return new Set(["state", "links", `generation-${generation}`].flatMap((name) => this.#list(name)));
  }

  makeGeneration(number: number): void {
    rmSync(this.#path(`generation-${number}`), { recursive: true, force: true });
    mkdirSync(this.#path(`generation-${number}`));
  }

  /** Numbers of the generations on disk, ascending. */
  generations(): number[] {
    if (!existsSync(this.root)) return [];
    return readdirSync(this.root)
      .map((name) => /^generation-(\d+)$/.exec(name)?.[1])
      .filter((number) => number !== undefined)
      .map(Number)
      .sort((left, right) => left - right);
  }

  removeGeneration(number: number): void {
    rmSync(this.#path(`generation-${number}`), { recursive: true, force: true });
  }

  hook(name: string): string {
    return this.#path("links", name);
  }

  guard(cookie: bigint): string {
    return this.#path("links", `guard-${cookie}`);
  }

  /** Cookies that have a guard link. */
  guards(): bigint[] {
    return this.#list("links")
      .map((path) => /\/guard-(\d+)$/.exec(path)?.[1])
      .filter((cookie) => cookie !== undefined)
      .map(BigInt);
  }

  early(kind: EarlyPinKind, cookie: bigint, index: number): string {
    return this.#path("links", `early-${kind}-${cookie}-${index}`);
  }

  /** Links of early hooks. */
  earlies(): EarlyPin[] {
    return this.#list("links").flatMap((path) => {
      const [, name, cookie = "", index] = /\/early-([a-z-]+)-(\d+)-(\d+)$/.exec(path) ?? [];
      const kind = EARLY_KINDS.find((each) => each === name);
      return kind === undefined ? [] : [{ kind, cookie: BigInt(cookie), index: Number(index), path }];
    });
  }

  /** Every link there is. */
  links(): string[] {
    return this.#list("links");
  }

  /** Pins something beside `path`, then moves it there in one step: a crash leaves the old pin or the new one. */
  putInPlace(path: string, pin: (fresh: string) => void): void {
    this.putBeside(path, pin).move();
  }

  /** The first half of it. Gives the other, and what takes the pin away again: idempotent, nothing once it is moved. */
  putBeside(path: string, pin: (fresh: string) => void): { move(): void; remove(): void } {
    // Names on a BPF file system must not hold a dot (bpf_lookup of kernel/bpf/inode.c).
    const fresh = join(dirname(path), `new-${basename(path)}`);
    const remove = () => rmSync(fresh, { force: true });
    remove();
    pin(fresh);
    return { move: () => renameSync(fresh, path), remove };
  }

  remove(path: string): void {
    unlinkSync(path);
  }

  removeAll(): void {
    rmSync(this.root, { recursive: true, force: true });
  }

  #path(...parts: string[]): string {
    return join(this.root, ...parts);
  }

  #list(directory: string): string[] {
    const path = this.#path(directory);
    return existsSync(path) ? readdirSync(path).map((name) => join(path, name)) : [];
  }
}
