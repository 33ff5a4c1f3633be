// Owns the demo's construction: pods, servers, daemons, and the commands that its steps run in them.
// Must not know what the steps show.

import { chmodSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createLab, type Lab, type Pod } from "../../lab/lab.js";
import { type LabMesh, program, startMesh } from "../../lab/mesh.js";
import type { RunResult } from "../../lab/process.js";
import { bookinfoYaml, type Knobs, pods, reviewsName, vip, webPort } from "./bookinfo.js";
import { startDns, startWeb } from "./servers.js";
import { command, holds, ms, output } from "./terminal.js";

/** Everything the demo makes carries this name. */
export const demoPrefix = "weft-demo";

export class Demo {
  constructor(
    readonly lab: Lab,
    readonly mesh: LabMesh,
  ) {}

  pod(name: string): Pod {
    for (const pod of this.lab.pods.values()) if (pod.name.endsWith(`/${name}`)) return pod;
    throw new Error(`the demo has no pod ${name}`);
  }

  /** Runs a command in a pod. */
  exec(pod: string, argv: readonly string[]): Promise<RunResult> {
    return this.lab.exec(this.pod(pod), argv);
  }

  /** Runs a command in a pod and shows it with its output. */
  async show(pod: string, argv: readonly string[]): Promise<RunResult> {
    command(`${pod}> ${argv.map(quoted).join(" ")}`);
    const result = await this.exec(pod, argv);
    output(result.stdout + result.stderr);
    return result;
  }

  /** Runs weftctl and shows it; throws when it fails. */
  async weftctl(...args: readonly string[]): Promise<string> {
    command(`weftctl ${args.join(" ")}`);
    const result = await this.mesh.weftctl(...args);
    output(result.stdout, 16);
    if (result.code !== 0) throw new Error(`weftctl ${args.join(" ")}: ${result.stderr}`);
    return result.stdout;
  }

  /** Pushes another state of the mesh; returns the milliseconds until the kernel's maps hold it. */
  async push(knobs: Knobs): Promise<number> {
    const before = await this.#frontends();
    const started = performance.now();
    this.mesh.edit(bookinfoYaml(knobs));
    while ((await this.#frontends()) === before) {
      if (performance.now() - started > 10_000) throw new Error("the edit had no effect within 10 s");
    }
    return performance.now() - started;
  }

  /** Every change of endpoints is a new run of slots, and so another value in this map. */
  async #frontends(): Promise<string> {
    return JSON.stringify(await this.mesh.admin("/debug/config_dump/bpf/workload?map=frontends"));
  }
}

/** Builds it all, saying what it does. */
export async function buildDemo(): Promise<Demo> {
  const lab = await createLab({ prefix: demoPrefix });
  await timed(`${pods.length} pods, each a network namespace wired to one bridge`, async () => {
    for (const { namespace, name, ipv4, ipv6 } of pods) await lab.pod(`${namespace}/${name}`, { ipv4, ipv6 });
  });
  await timed("nginx and dnsmasq in those that serve", async () => {
    for (const { namespace, name, runs } of pods) {
      const pod = lab.pods.get(`${namespace}/${name}`);
      if (pod === undefined) throw new Error(`pod ${name} was not made`);
      if (runs === "web") await startWeb(lab, pod, webPort);
      if (runs === "dns") await startDns(lab, pod, new Map([[reviewsName, vip.reviews]]));
    }
  });
  const mesh = await timed("weft-xds serving mesh.yaml, weftd attached to the pods", () =>
    startMesh(lab, { yaml: bookinfoYaml({ weights: [1, 1, 1] }) }),
  );
  writeTools(lab, mesh);
  return new Demo(lab, mesh);
}

async function timed<T>(what: string, work: () => Promise<T>): Promise<T> {
  const started = performance.now();
  const result = await work();
  holds(`${what} (${ms(performance.now() - started)})`);
  return result;
}

/** Two small scripts for whoever keeps the demo: a command in a pod, and weftctl at the right address. */
function writeTools(lab: Lab, mesh: LabMesh): void {
  const enter = `netns=$(ls /run/netns | grep -- "^${demoPrefix}-.*-$pod\\$") || { echo "no pod $pod" >&2; exit 1; }`;
  writeScript(join(lab.directory, "in"), [
    '[ $# -ge 2 ] || { echo "usage: in POD COMMAND..." >&2; exit 2; }',
    "pod=$1; shift",
    enter,
    `echo $$ > ${lab.cgroups.mesh}/cgroup.procs`,
    'exec nsenter --net=/run/netns/$netns -- "$@"',
  ]);
  const weftctl = program("weftctl")
    .map((part) => `'${part}'`)
    .join(" ");
  writeScript(join(lab.directory, "weftctl"), [`exec ${weftctl} --admin ${mesh.adminUrl} "$@"`]);
}

function writeScript(file: string, lines: readonly string[]): void {
  writeFileSync(file, `#!/bin/sh\n${lines.join("\n")}\n`);
  chmodSync(file, 0o755);
}

function quoted(word: string): string {
  return /^[\w@%+=:,./[\]-]+$/.test(word) ? word : `'${word}'`;
}
