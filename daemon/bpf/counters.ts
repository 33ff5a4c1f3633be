// Owns the reading of the kernel's counters. Must not know metrics or labels.

import type { BpfProgram, Entries } from "../../native/index.js";
import { Counter, maps, Traffic, TrafficKey } from "./maps.gen.js";

/** What a map of counters holds: `count` keys and values laid end to end. */
export type CounterRows = Entries;

export interface TrafficCount {
  readonly key: TrafficKey;
  readonly value: Traffic;
}

export function readTraffic({ count, keys, values }: CounterRows): TrafficCount[] {
  return Array.from({ length: count }, (_, index) => ({
    key: TrafficKey.decode(keys, index * TrafficKey.size),
    value: Traffic.decode(values, index * Traffic.size),
  }));
}

/** Whether a series has opened more connections than it closed. */
export function hasOpen({ count, values }: CounterRows): boolean {
  for (let index = 0; index < count; index++) {
    const { opened, closed } = Traffic.decode(values, index * Traffic.size);
    if (opened > closed) return true;
  }
  return false;
}

export interface ReasonCount {
  /** enum reason */
  readonly reason: number;
  readonly count: bigint;
}

export function readReasons({ count, keys, values }: CounterRows): ReasonCount[] {
  return Array.from({ length: count }, (_, index) => ({
    reason: maps.reasons.key.decode(keys, index * maps.reasons.key.size),
    count: Counter.decode(values, index * Counter.size).count,
  }));
}

export interface ProgramRuns {
  readonly name: string;
  readonly runTimeNs: bigint;
  readonly runCount: bigint;
}

/** Runs of a program that tells of something once, and that the kernel left out. */
export interface SkippedRuns {
  readonly name: string;
  readonly count: bigint;
}

/** Runs since each program was loaded; empty while the kernel's BPF statistics are off. */
export function readProgramRuns(programs: ReadonlyMap<string, BpfProgram>): ProgramRuns[] {
  return [...programs]
    .map(([name, { info }]) => ({ name, runTimeNs: info.runTimeNs, runCount: info.runCount }))
    .filter(({ runCount }) => runCount > 0n);
}
