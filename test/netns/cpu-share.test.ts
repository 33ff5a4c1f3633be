// Owns the proof that a start beside what governs leaves half of the node's CPUs to its pods, and one that nothing
// governs before does not.

import { readdirSync, readFileSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import { stringify } from "yaml";
import { createLab, type Lab } from "../../lab/lab.js";
import { type LabMesh, program, startMesh } from "../../lab/mesh.js";
import { check } from "../../lab/process.js";
import { isListening, until } from "../../lab/wait.js";

let lab: Lab;
let mesh: LabMesh;
beforeAll(async () => {
  lab = await createLab();
  const web = { name: "web", namespace: "shop", serviceAccount: "web", addresses: ["10.77.0.21"] };
  mesh = await startMesh(lab, { yaml: stringify({ workloads: [web] }) });
});
afterAll(() => lab?.remove());

/** How many CPUs each thread of a process may run on: the numbers that there are. */
function cpusOf(pid: number): number[] {
  const counts = readdirSync(`/proc/${pid}/task`).map((thread) => {
    const status = readFileSync(`/proc/${pid}/task/${thread}/status`, "utf8");
    const ranges = /^Cpus_allowed_list:\s*(\S*)$/m.exec(status)?.[1]?.split(",") ?? [];
    const spans = ranges.map((range) => range.split("-").map(Number));
    return spans.reduce((sum, [first = 0, last = first]) => sum + last - first + 1, 0);
  });
  return [...new Set(counts)];
}

test("half of the CPUs are left until the new generation governs, and only where another does", async () => {
  const [all = 0] = cpusOf(process.pid);
  // The first start, which is over.
  expect(cpusOf(mesh.daemon.pid)).toEqual([all]);
  await mesh.stopXds();
  await mesh.endDaemon("SIGKILL");
  const daemon = mesh.launchDaemon();
  await until("weftd serving", () => isListening(daemon.pid, mesh.ports.admin));
  // It waits for its control plane.
  expect(cpusOf(daemon.pid)).toEqual([Math.ceil(all / 2)]);
  await mesh.startXds();
  await until("weftd ready", () => mesh.isReady());
  expect(cpusOf(daemon.pid)).toEqual([all]);
});

test("a first start takes them all", async () => {
  const [all = 0] = cpusOf(process.pid);
  await mesh.stopXds();
  await mesh.endDaemon("SIGKILL");
  await check([...program("weftd"), "uninstall", "--bpffs", lab.bpffs]);
  const daemon = mesh.launchDaemon();
  await until("weftd serving", () => isListening(daemon.pid, mesh.ports.admin));
  expect(cpusOf(daemon.pid)).toEqual([all]);
});
