// Owns `make test-kube-e2e`: Kubernetes' own end-to-end tests of the network, with every pod of theirs governed. Must not
// know what they ask.
//
//   FOCUS=REGEX     which tests: e2e-specs.ts has what is asked for otherwise
//   WITHOUT=1       the same cluster without weft
//   PROCS=N         how many at once, default 2
//
// Fails where a test does not come to what e2e-specs.ts says of it, and where weft governed nothing. What each test came
// to is in out/kube-e2e beside ginkgo's log, and the table has both runs once both were made.

import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { packageRoot } from "../../daemon/base/package-root.js";
import { RunningProcess } from "../../lab/process.js";
import type { Cluster } from "./cluster.js";
import { type Result, readReport, tableOf } from "./e2e-report.js";
import { FAILING_WITHOUT, FOCUS, LEFT_OUT, NOT_TOLD } from "./e2e-specs.js";
import { startMesh } from "./mesh.js";
import { KUBERNETES } from "./programs.js";
import { STATE } from "./state.js";
import { VERSION, Weft } from "./weft.js";

const root = packageRoot();
const out = join(root, "out", "kube-e2e");
const runs = ["with", "without"] as const;
type Run = (typeof runs)[number];

const archives = () =>
  readdirSync(join(root, "build", "kube", "e2e"))
    .filter((file) => file.endsWith(".tar"))
    .map((file) => join("kube", "e2e", file));

/** The tests run kubectl by a path. */
function writeKubectl(): string {
  const path = join(STATE, "kubectl");
  writeFileSync(path, `#!/bin/sh\nexec ${KUBERNETES} kubectl "$@"\n`, { mode: 0o755 });
  return path;
}

/** Runs the tests to their end; gives the path of ginkgo's report. */
async function runTests(cluster: Cluster, which: Run): Promise<string> {
  const log = join(out, `${which}.log`);
  writeFileSync(log, "");
  const argv = [
    ...[join(root, "build", "ginkgo"), `--procs=${process.env.PROCS ?? "2"}`, "--no-color", "--timeout=4h"],
    ...["--poll-progress-after=0", `--json-report=${which}-ginkgo.json`, `--output-dir=${out}`],
    `--focus=${process.env.FOCUS ?? FOCUS}`,
    ...Object.keys(LEFT_OUT).map((name) => `--skip=${name}`),
    ...[join(root, "build", "kube-e2e.test"), "--", "--provider=skeleton", "--num-nodes=2"],
    ...[`--kubeconfig=${cluster.kubeconfig}`, `--kubectl-path=${writeKubectl()}`],
  ];
  process.stdout.write(`ginkgo's log: ${log}\n`);
  const child = new RunningProcess(cluster.n1.command(argv), { env: cluster.env, logFile: log });
  // Its report says more than its exit code.
  await child.exited;
  return join(out, `${which}-ginkgo.json`);
}

/** How many connections weft counted, and in how many namespaces. Only the tests' are labelled. */
async function governed(cluster: Cluster): Promise<{ connections: number; namespaces: number }> {
  const namespaces = new Set<string>();
  let connections = 0;
  for (const { metadata } of await cluster.list("pods", "-n", "weft-system")) {
    const path = `/api/v1/namespaces/weft-system/pods/${metadata.name}:15020/proxy/metrics`;
    const page = await cluster.kubectl("get", "--raw", path);
    for (const [, labels = "", value] of page.matchAll(
      /^istio_tcp_connections_opened_total\{(.*)\} (\d+)$/gm,
    )) {
      connections += Number(value);
      for (const [, name = ""] of labels.matchAll(/_workload_namespace="([^"]+)"/g)) namespaces.add(name);
    }
  }
  return { connections, namespaces: namespaces.size };
}

const resultsOf = (which: Run): Result[] => {
  const path = join(out, `${which}.json`);
  return existsSync(path) ? (JSON.parse(readFileSync(path, "utf8")) as Result[]) : [];
};

/** What is wrong with the results; empty when all is as it should be. */
function complaints(results: readonly Result[], which: Run): string[] {
  const known = which === "with" ? { ...FAILING_WITHOUT, ...NOT_TOLD } : FAILING_WITHOUT;
  const passed = results.filter(({ state }) => state === "passed");
  const stale = passed.filter(({ name }) => name in known);
  const failed = results.filter(({ name, state }) => state === "failed" && !(name in known));
  return [
    ...(passed.length === 0 ? ["no test passed"] : []),
    ...stale.map(({ name }) => `passed, and is said to fail in e2e-specs.ts: ${name}`),
    ...failed.map(
      ({ name, message }) => `failed: ${name}\n    ${message.split("\n").slice(0, 6).join("\n    ")}`,
    ),
  ];
}

const which: Run = process.env.WITHOUT === undefined ? "with" : "without";
mkdirSync(out, { recursive: true });
const cluster = await startMesh(archives());
await cluster.kubectl("apply", "-f", join(import.meta.dirname, "e2e-governed.yaml"));
if (which === "with") await new Weft(cluster).install(VERSION, "dns-proxy=10.96.0.10");

const results = readReport(await runTests(cluster, which));
writeFileSync(join(out, `${which}.json`), `${JSON.stringify(results, null, 1)}\n`);
const other = which === "with" ? "without" : "with";
const titles = [`${which.toUpperCase()} WEFT`, other.toUpperCase()];
process.stdout.write(`${tableOf(results, resultsOf(other), titles)}\n\n`);

const wrong = complaints(results, which);
if (which === "with") {
  const { connections, namespaces } = await governed(cluster);
  process.stdout.write(`weft counted ${connections} connections in ${namespaces} namespaces\n`);
  if (connections === 0) wrong.push("weft governed no connection");
}
const count = (state: Result["state"]) => results.filter((result) => result.state === state).length;
process.stdout.write(
  `${count("passed")} passed, ${count("failed")} failed, ${count("skipped")} skipped themselves\n`,
);
for (const line of wrong) process.stdout.write(`${line}\n`);
process.exit(wrong.length === 0 ? 0 : 1);
