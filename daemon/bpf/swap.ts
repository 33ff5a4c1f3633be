// Owns the putting of a generation behind every hook, what judges first, and back again where a hook refuses.
// Must not know what the programs do.

import { existsSync, statSync } from "node:fs";
import type { BpfLink, BpfProgram, Native } from "../../native/index.js";
import { bpfAttachFailed, bpfDetachFailed, failed, ok, type Result, WeftError } from "../base/errors.js";
import { earlyLinks, renewEarlyStubs } from "./early-hooks.js";
import { type Generation, settingsAfter, settingsBefore } from "./generation.js";
import { endLink, removeLink, renewStubs } from "./guard-links.js";
import {
  CGROUP_HOOKS,
  type CgroupHook,
  EARLY_PROGRAMS,
  type EarlyHook,
  GUARD_PROGRAM,
  MAP_HOOKS,
  type MapHook,
  TRACE_HOOKS,
  type TraceHook,
} from "./hooks.js";
import { maps, type Settings } from "./maps.gen.js";
import type { Pins } from "./pins.js";
import { changeSettings, readSettings } from "./settings.js";
import type { StateMaps } from "./state.js";

const FIRST = maps.guards.key.encode(0);

type CalledArray = "guards" | "early_tc" | "early_xdp" | TraceHook["array"];

export interface SwapOptions {
  readonly native: Native;
  readonly pins: Pins;
  /** What hooks are told, what stubs read, the arrays of programs that they call through, and the maps of sockets that programs hang on. */
  readonly maps: Pick<StateMaps, "settings" | "guarded" | "disabled" | CalledArray | MapHook["map"]>;
  /** The generation that governs, if any. */
  readonly former: number | undefined;
  /** Pods whose guard links get this daemon's stubs; undefined: they have them. */
  readonly newStubs: ReadonlySet<bigint> | undefined;
  readonly cgroup: string;
}

/**
 * One atomic step a hook: the program that judges for all pods, those of the cgroup, those of tracepoints; around them
 * what hooks are told. From here on the generation governs, and what could not be taken away of what governed before is
 * given; or, after a failure, that does so at every hook.
 */
export function swapIn(options: SwapOptions, generation: Generation): Result<WeftError[]> {
  const swap = new Swap(options, generation);
  const { cgroup, maps: state, native, newStubs, pins } = options;
  let hook = "guard";
  let target = "the enrolled pods";
  try {
    swap.settings(settingsBefore(generation));
    swap.called("guards", GUARD_PROGRAM);
    if (newStubs !== undefined) renewStubs(native, pins, state, newStubs);
    target = "interfaces";
    for (const each of ["tc", "xdp"] as const) {
      hook = each;
      swap.earlyHook(each);
    }
    if (newStubs !== undefined) renewEarlyStubs(native, pins, state);
    // Before the hooks that put sockets there.
    target = "a map of sockets";
    for (const each of MAP_HOOKS) {
      hook = each.map;
      if (generation.programs.has(each.program)) swap.mapHook(each);
    }
    target = cgroup;
    for (const each of CGROUP_HOOKS) {
      hook = each.hook;
      swap.cgroupHook(each);
    }
    target = "its tracepoint";
    for (const each of TRACE_HOOKS) {
      hook = each.hook;
      if (generation.programs.has(each.program)) swap.traceHook(each);
    }
    swap.settings(settingsAfter(generation));
  } catch (error) {
    const troubles = swap.undo();
    if (error instanceof WeftError) return failed(error);
    const cause = troubles.length === 0 ? error : new AggregateError([error, ...troubles], String(error));
    return failed(bpfAttachFailed(hook, target, cause));
  }
  return ok(swap.commit());
}

class Swap {
  readonly #options: SwapOptions;
  readonly #generation: Generation;
  /** Ways back, the last step's last. */
  readonly #back: (() => void)[] = [];
  readonly #updated: BpfLink[] = [];
  /** Links on another cgroup, which stay until all is done. */
  readonly #replaced: BpfLink[] = [];
  /** Early hooks that only former generations have: they stay until all is done. */
  readonly #dropped: EarlyHook[] = [];

  constructor(options: SwapOptions, generation: Generation) {
    this.#options = options;
    this.#generation = generation;
  }

  settings(change: Partial<Settings>): void {
    const { settings } = this.#options.maps;
    const former = readSettings(settings);
    changeSettings(settings, change);
    this.#back.push(() => changeSettings(settings, former));
  }

  /** A program that stubs call through an array. */
  called(array: CalledArray, name: string): void {
    const map = this.#options.maps[array];
    map.updateProgram(FIRST, this.#programOf(name));
    this.#back.push(() => {
      const former = this.#formerProgram(name);
      if (former === undefined) map.delete(FIRST);
      else map.updateProgram(FIRST, former);
      former?.close();
    });
  }

  /** Without a program of this generation nothing may call another's: it reads maps that nobody writes any more. */
  earlyHook(hook: EarlyHook): void {
    const { array, program } = EARLY_PROGRAMS[hook];
    if (this.#generation.programs.has(program)) this.called(array, program);
    else this.#dropped.push(hook);
  }

  /** What the stub calls is there before the stub. */
  traceHook({ hook, stub, array, program }: TraceHook): void {
    const { native, pins } = this.#options;
    const path = pins.hook(hook);
    this.called(array, program);
    if (existsSync(path)) return;
    const link = native.linkTracepoint(this.#programOf(stub));
    this.#updated.push(link);
    link.pin(path);
    this.#back.push(() => pins.remove(path));
  }

  /** Where there was none before, what hangs there stays: no hook puts a socket there. */
  mapHook({ map, program: name, attachType }: MapHook): void {
    const { maps: state, native } = this.#options;
    native.attachToMap(this.#programOf(name), state[map], attachType);
    this.#back.push(() => {
      const former = this.#formerProgram(name);
      if (former !== undefined) native.attachToMap(former, state[map], attachType);
      former?.close();
    });
  }

  cgroupHook({ hook, program: name, attachType }: CgroupHook): void {
    const { cgroup, native, pins } = this.#options;
    const path = pins.hook(hook);
    const program = this.#programOf(name);
    const existing = existsSync(path) ? native.openPinnedLink(path) : undefined;
    if (existing !== undefined && existing.info.cgroupId === cgroupId(cgroup)) {
      this.#updated.push(existing);
      existing.update(program);
      this.#back.push(() => this.#putBack(existing, name));
      return;
    }
    // First start, or the operator named another cgroup: the new hook stands before the old one goes.
    const link = native.linkCgroup(program, cgroup, attachType);
    pins.putInPlace(path, (fresh) => link.pin(fresh));
    if (existing !== undefined) this.#replaced.push(existing);
    this.#back.push(() => {
      if (existing === undefined) pins.remove(path);
      else pins.putInPlace(path, (fresh) => existing.pin(fresh));
      link.detach();
      link.close();
    });
  }

  /** Every step back, as far as it goes; gives what stood in the way. */
  undo(): unknown[] {
    const troubles = allOf(this.#back.toReversed());
    for (const link of [...this.#updated, ...this.#replaced]) link.close();
    return troubles;
  }

  /** The hooks on a cgroup that is not governed any more go, and early ones that this generation is without. */
  commit(): WeftError[] {
    const { native, pins, maps: state } = this.#options;
    for (const link of this.#updated) link.close();
    const early = this.#dropped.flatMap((hook) => {
      let links: string[] = [];
      return [
        ...allOf([() => (links = earlyLinks(pins, hook))]),
        ...allOf(links.map((path) => () => removeLink(native, pins, path))),
        ...allOf([() => state[EARLY_PROGRAMS[hook].array].delete(FIRST)]),
      ];
    });
    const others = this.#replaced.map((link) => () => endLink(link));
    return [
      ...early.map((trouble) => bpfDetachFailed("an early hook that it is without", trouble)),
      ...allOf(others).map((trouble) => bpfDetachFailed("a hook of the cgroup before", trouble)),
    ];
  }

  #putBack(link: BpfLink, name: string): void {
    const former = this.#formerProgram(name);
    if (former === undefined) throw new Error(`no former ${name} to put back`);
    link.update(former);
    former.close();
  }

  #formerProgram(name: string): BpfProgram | undefined {
    const { former, native, pins } = this.#options;
    if (former === undefined) return undefined;
    const path = pins.generation(former, name);
    return existsSync(path) ? native.openPinnedProgram(path) : undefined;
  }

  #programOf(name: string): BpfProgram {
    const program = this.#generation.programs.get(name);
    if (program === undefined) throw new Error(`program ${name} is in no object`);
    return program;
  }
}

/** Does every step, whatever becomes of those before; gives what was thrown. */
function allOf(steps: readonly (() => unknown)[]): unknown[] {
  return steps.flatMap((step) => {
    try {
      step();
      return [];
    } catch (error) {
      return [error];
    }
  });
}

/** The id that BPF links know a cgroup by: the inode of its directory. */
function cgroupId(path: string): bigint {
  return statSync(path, { bigint: true }).ino;
}
