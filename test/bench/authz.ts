// Owns the bench of authorization: what a verdict costs as rules grow, what compiling them costs, and how the hooks
// compare. Must not know how any of it is done.
//
// A verdict is measured as the kernel runs it (BPF_PROG_TEST_RUN) on maps that the compiler filled, net of a program
// that does nothing. The client is the one whom only the last rule admits, by principal and port, so that nothing
// can be decided early. Rules stand in policies of ten.

import { join } from "node:path";
import { performance } from "node:perf_hooks";
import { packageRoot } from "../../daemon/base/package-root.js";
import { match, policy, TestMesh, text, workload } from "../../daemon/compile/authz/test-mesh.js";
import type { EntryOperation } from "../../daemon/compile/operation.js";
import { toKeyBytes } from "../../daemon/model/address.js";
import type { Policy } from "../../daemon/model/policy.js";
import type { Workload } from "../../daemon/model/workload.js";
import { type BpfObject, type BpfProgram, loadNative } from "../../native/index.js";
import { VerdictCase } from "../bpf/cases.gen.js";
import { earlyHooks } from "./early.js";
import { type Measurement, report } from "./report.js";

const RULES = [1, 10, 100, 1000, 10_000];
const RULES_A_POLICY = 10;
const POLICIES = 10_000;
/** Runs of a program in one call into the kernel. */
const REPEAT = 100_000;
/** Turns of the hooks, of which each takes half a minute. */
const HOOK_TURNS = 3;
const CLIENT = "10.0.0.1";
const SERVER = "10.0.0.2";
const PORT = 80;
const server = workload("shop", "server", [SERVER]);
/** struct bpf_insn: r0 = XDP_PASS; exit */
const NOTHING = Uint8Array.from([0xb7, 0, 0, 0, 2, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0]);
const XDP = 6;

/** Measures, prints, and writes out/bench/authz.json. Returns true when every budget is kept. */
export async function authz({ turns }: { readonly turns: number }): Promise<boolean> {
  const verdicts = RULES.map((rules) => new Judge(rules));
  try {
    const taken = verdicts.map((): number[] => []);
    // Turn by turn through all sizes, so that whatever else the machine does meets them alike.
    for (let turn = 0; turn < turns; turn++)
      for (const [index, judge] of verdicts.entries()) taken[index]?.push(judge.nanoseconds());
    const rows = RULES.map((rules, index): Measurement => {
      const values = taken[index] ?? [];
      const budget = { of: "value", atMost: 150 } as const;
      return { name: `verdict-ns-${rules}`, unit: "ns", values, references: null, budget };
    });
    const growth: Measurement = {
      name: "verdict-1000-to-1",
      unit: "ns",
      values: taken[RULES.indexOf(1000)] ?? [],
      references: taken[0] ?? [],
      budget: { of: "ratio", atMost: 1.3 },
    };
    return report("authz", [
      ...rows,
      growth,
      ...compiling(turns),
      ...(await earlyHooks(Math.min(turns, HOOK_TURNS))),
    ]);
  } finally {
    for (const judge of verdicts) judge.close();
  }
}

/** Policies that allow `count` principals, each on a port of its own, so that no two of them are one term. */
function policies(count: number, fields: Partial<Policy> = {}): Policy[] {
  const rule = (n: number) => {
    const own = n === count - 1;
    const account = own ? "client" : `account-${n}`;
    return [
      [
        match({
          principals: [text(`cluster.local/ns/shop/sa/${account}`)],
          destinationPorts: [own ? PORT : 1024 + n],
        }),
      ],
    ];
  };
  return Array.from({ length: Math.ceil(count / RULES_A_POLICY) }, (_, index) => {
    const numbers = Array.from({ length: RULES_A_POLICY }, (_, at) => index * RULES_A_POLICY + at);
    return policy(`p-${index}`, numbers.filter((n) => n < count).map(rule), fields);
  });
}

/** The kernel's program on maps for one number of rules. */
class Judge {
  readonly #object: BpfObject;
  readonly #program: BpfProgram;
  readonly #nothing: BpfProgram;
  readonly #data: Uint8Array;

  constructor(rules: number) {
    const native = loadNative(packageRoot());
    const mesh = new TestMesh();
    const operations: EntryOperation[] = [];
    mesh.onOperation = (operation) => operations.push(operation);
    const client = workload("shop", "client", [CLIENT]);
    mesh.update({ workloads: [client, server], policies: policies(rules), policiesSynced: true }, [server]);
    this.#object = native.openObject(join(packageRoot(), "build", "bpf", "tests", "authz.o"));
    for (const map of ["authz_chunks", "authz_identity", "authz_port", "authz_terms"])
      this.#object.setMaxEntries(map, 65_536);
    this.#object.load();
    for (const name of new Set(operations.map(({ map }) => map))) {
      const map = this.#object.map(name);
      for (const operation of operations)
        if (operation.kind === "put" && operation.map === name) map.update(operation.key, operation.value);
      map.close();
    }
    this.#program = this.#object.program("test_authorize");
    this.#nothing = native.loadProgram({ type: XDP, name: "bench_empty", instructions: NOTHING });
    this.#data = VerdictCase.encode({
      ...{ pod: mesh.cookieOf(server.uid), sourcePort: 40_000, port: PORT },
      ...{ sourceAddress: toKeyBytes(CLIENT), destinationAddress: toKeyBytes(SERVER) },
      ...{ allowed: 0, reason: 0, policy: 0, source: 0, destination: 0, identity: 0, tag: 0 },
    });
    const admitted = VerdictCase.decode(this.#program.testRun({ data: this.#data }).data).allowed;
    if (admitted !== 1) throw new Error(`the client is not admitted by the last of ${rules} rules`);
  }

  nanoseconds(): number {
    const run = (program: BpfProgram) => program.testRun({ data: this.#data, repeat: REPEAT }).durationNs;
    return run(this.#program) - run(this.#nothing);
  }

  close(): void {
    this.#nothing.close();
    this.#program.close();
    this.#object.close();
  }
}

/** A mesh of 10,000 policies, ten a namespace, with pods of this node in a hundred of the namespaces. */
function compiling(turns: number): Measurement[] {
  const compiled: number[] = [];
  const changed: number[] = [];
  const bytes: number[] = [];
  for (let turn = 0; turn < turns; turn++) {
    const mesh = new TestMesh();
    let written = 0;
    mesh.onOperation = (operation) => {
      if (operation.kind === "put" && operation.map.startsWith("authz"))
        written += operation.key.length + operation.value.length;
    };
    const update = { workloads: peers(), policies: ofNamespaces(), policiesSynced: true };
    compiled.push(timed(() => mesh.update(update, update.workloads)));
    bytes.push(written / POLICIES);
    const [other] = policies(7, { name: "p-0", namespace: "ns-0", scope: "NAMESPACE" });
    if (other === undefined) throw new Error("no policy to change");
    changed.push(timed(() => mesh.update({ policies: [other], policiesSynced: true })));
  }
  const row = (name: string, unit: string, values: readonly number[], atMost?: number): Measurement => {
    const budget = atMost === undefined ? null : ({ of: "value", atMost } as const);
    return { name, unit, values, references: null, budget };
  };
  return [
    row("compile-ms", "ms", compiled, 1000),
    row("change-ms", "ms", changed, 5),
    row("bytes-per-policy", "B", bytes),
  ];
}

function peers(): Workload[] {
  return Array.from({ length: 100 }, (_, n) => workload(`ns-${n}`, "server", [`10.1.0.${n}`]));
}

function ofNamespaces(): Policy[] {
  return Array.from({ length: POLICIES / RULES_A_POLICY }, (_, n) =>
    policies(RULES_A_POLICY * RULES_A_POLICY, { namespace: `ns-${n}`, scope: "NAMESPACE" }),
  ).flat();
}

function timed(work: () => unknown): number {
  const started = performance.now();
  work();
  return performance.now() - started;
}
