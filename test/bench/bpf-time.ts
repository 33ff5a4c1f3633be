// Owns the time in weft's programs: what each run of a hook costs beyond a program that does nothing.
// Must not know what traffic made them run.

import { packageRoot } from "../../daemon/base/package-root.js";
import { loadNative } from "../../native/index.js";
import { loadedPrograms, type ProgramUsage, programsUnder } from "./kernel-usage.js";
import { printTable } from "./report.js";

/** A connection's share of one turn; nanoseconds are net of as many runs of the empty program. */
export interface BpfTime {
  readonly ns: number;
  readonly sockopsRuns: number;
  /** A run of the connect hook, and of the verdict hook. */
  readonly connectNs: number;
  readonly verdictNs: number;
}

/** enum bpf_prog_type and bpf_attach_type. */
const SOCK_OPS = { type: 13, attachType: 3 } as const;
/** r0 = 1; exit */
const nothing = Uint8Array.from([0xb7, 0, 0, 0, 1, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0]);
const empty = "bench_empty";

/**
 * Runs `turns` turns of `work`, which gives the connections it made, while the kernel counts the time of programs.
 * The counting itself costs two clock readings a run: an empty program beside weft's, on the same cgroup and in the
 * same turn, shows how much. The kernel stops counting when the handle closes, whatever ends this process.
 */
export async function bpfTime(
  pins: string,
  cgroup: string,
  turns: number,
  work: () => Promise<number>,
): Promise<BpfTime[]> {
  const native = loadNative(packageRoot());
  const program = native.loadProgram({ type: SOCK_OPS.type, name: empty, instructions: nothing });
  const link = native.linkCgroup(program, cgroup, SOCK_OPS.attachType);
  const statistics = native.enableStats();
  try {
    const own = () => [
      ...programsUnder(pins),
      ...loadedPrograms().filter(({ id }) => id === program.info.id),
    ];
    const taken: BpfTime[] = [];
    for (let turn = 0; turn < turns; turn++) {
      const before = own();
      const connections = await work();
      const used = own().map((after) => since(before, after));
      const idle = used.find(({ name }) => name === empty);
      if (idle === undefined || idle.runs === 0) throw new Error("the empty program did not run");
      const programs = used.filter(({ id, runs }) => id !== idle.id && runs > 0);
      if (turn === turns - 1) show(programs, idle, connections);
      taken.push(shareOf(programs, idle.ns / idle.runs, connections));
    }
    return taken;
  } finally {
    statistics.close();
    link.close();
    program.close();
  }
}

function since(before: readonly ProgramUsage[], after: ProgramUsage): ProgramUsage {
  const { ns, runs } = before.find(({ id }) => id === after.id) ?? { ns: 0, runs: 0 };
  return { ...after, ns: after.ns - ns, runs: after.runs - runs };
}

function shareOf(programs: readonly ProgramUsage[], idleNs: number, connections: number): BpfTime {
  const sum = (of: readonly ProgramUsage[]) => ({
    runs: of.reduce((all, { runs }) => all + runs, 0),
    ns: of.reduce((all, { ns, runs }) => all + ns - runs * idleNs, 0),
  });
  const typed = (type: string) => sum(programs.filter((program) => program.type === type));
  const connect = typed("cgroup_sock_addr");
  const verdict = typed("sk_lookup");
  return {
    ns: sum(programs).ns / connections,
    sockopsRuns: typed("sock_ops").runs / connections,
    connectNs: connect.ns / connect.runs,
    verdictNs: verdict.ns / verdict.runs,
  };
}

function show(programs: readonly ProgramUsage[], idle: ProgramUsage, connections: number): void {
  const idleNs = idle.ns / idle.runs;
  const line = ({ name, type, ns, runs }: ProgramUsage) => [
    name,
    type,
    (runs / connections).toFixed(2),
    (ns / runs).toFixed(0),
    ((ns - runs * idleNs) / connections).toFixed(0),
  ];
  console.log(`\nBPF time a connection, net of an empty program (${idleNs.toFixed(0)} ns a run):`);
  printTable([["program", "type", "runs", "ns a run", "ns net"], ...programs.map(line)]);
}
