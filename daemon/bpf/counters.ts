// Owns the reading of the kernel's counters, summed over CPUs. Must not know metrics or labels.

import type { BpfMap, BpfProgram, Native } from "../../native/index.js";
import {
  Counter,
  maps,
  PolicyHitKey,
  type Traffic,
  TrafficKey,
  Traffic as TrafficValue,
} from "./maps.gen.js";

/** Rounding of per-CPU values in a map's buffers (kernel/bpf/hashtab.c). */
const PER_CPU_ALIGNMENT = 8;

export interface TrafficCount {
  readonly key: TrafficKey;
  readonly value: Traffic;
}

export function readTraffic(native: Native, map: BpfMap): TrafficCount[] {
  const { count, keys, values } = map.entries();
  const cpus = native.possibleCpus();
  const stride = perCpuSize(TrafficValue.size) * cpus;
  return Array.from({ length: count }, (_, index) => {
    const sum = { opened: 0n, closed: 0n, failed: 0n, sentBytes: 0n, receivedBytes: 0n };
    for (let cpu = 0; cpu < cpus; cpu++) {
      const one = TrafficValue.decode(values, index * stride + cpu * perCpuSize(TrafficValue.size));
      sum.opened += one.opened;
      sum.closed += one.closed;
      sum.failed += one.failed;
      sum.sentBytes += one.sentBytes;
      sum.receivedBytes += one.receivedBytes;
    }
    return { key: TrafficKey.decode(keys, index * TrafficKey.size), value: sum };
  });
}

export interface ReasonCount {
  /** enum reason */
  readonly reason: number;
  readonly count: bigint;
}

export function readReasons(native: Native, map: BpfMap): ReasonCount[] {
  const { count, keys, values } = map.entries();
  return Array.from({ length: count }, (_, index) => ({
    reason: maps.reasons.key.decode(keys, index * maps.reasons.key.size),
    count: sumCounters(values, index, native.possibleCpus()),
  }));
}

export interface PolicyHitCount {
  readonly policy: number;
  readonly destination: number;
  readonly dryRun: boolean;
  readonly count: bigint;
}

export function readPolicyHits(native: Native, map: BpfMap): PolicyHitCount[] {
  const { count, keys, values } = map.entries();
  return Array.from({ length: count }, (_, index) => {
    const key = PolicyHitKey.decode(keys, index * PolicyHitKey.size);
    return {
      policy: key.policy,
      destination: key.destination,
      dryRun: key.dryRun !== 0,
      count: sumCounters(values, index, native.possibleCpus()),
    };
  });
}

export interface ProgramRuns {
  readonly name: string;
  readonly runTimeNs: bigint;
  readonly runCount: bigint;
}

/** Runs since each program was loaded; empty while the kernel's BPF statistics are off. */
export function readProgramRuns(programs: ReadonlyMap<string, BpfProgram>): ProgramRuns[] {
  return [...programs]
    .map(([name, { info }]) => ({ name, runTimeNs: info.runTimeNs, runCount: info.runCount }))
    .filter(({ runCount }) => runCount > 0n);
}

function sumCounters(values: Buffer, index: number, cpus: number): bigint {
  const size = perCpuSize(Counter.size);
  let sum = 0n;
  for (let cpu = 0; cpu < cpus; cpu++) sum += Counter.decode(values, (index * cpus + cpu) * size).count;
  return sum;
}

function perCpuSize(size: number): number {
  return Math.ceil(size / PER_CPU_ALIGNMENT) * PER_CPU_ALIGNMENT;
}
