// Owns the demo's course: builds the mesh, shows one property after the other, removes it all.
// Must not know how a property is shown.

import { parseArgs } from "node:util";
import { leftovers, removeLab } from "../../lab/lab.js";
import { run } from "../../lab/process.js";
import { buildDemo, type Demo, demoPrefix } from "./build.js";
import { steps } from "./steps.js";
import { bold, command, heading, holds, ms, note } from "./terminal.js";

const { values } = parseArgs({
  options: {
    /** Leave everything running at the end. */
    keep: { type: "boolean", default: false },
    /** Remove what --keep left. */
    stop: { type: "boolean", default: false },
  },
});

/** What the demo needs beside Node, and the Debian package that has it. */
const tools = {
  ip: "iproute2",
  nginx: "nginx-light",
  curl: "curl",
  dnsmasq: "dnsmasq-base",
  dig: "dnsutils",
};

async function checkMachine(): Promise<string | undefined> {
  if (process.getuid?.() !== 0)
    return "the demo makes network namespaces and loads BPF programs: run it as root";
  for (const [tool, debianPackage] of Object.entries(tools)) {
    const found = await run(["sh", "-c", `command -v ${tool}`]);
    if (found.code !== 0) return `${tool} is missing: apt-get install ${debianPackage}`;
  }
  return undefined;
}

async function main(): Promise<number> {
  const obstacle = await checkMachine();
  if (obstacle !== undefined) {
    console.error(`demo: ${obstacle}`);
    return 1;
  }
  const started = performance.now();
  heading("A mesh on this machine");
  const demo = await buildDemo();
  try {
    for (const step of steps) {
      heading(step.title);
      await step.show(demo);
    }
  } catch (error) {
    console.error(`\ndemo: ${error instanceof Error ? error.message : error}`);
    console.error(`\nweftd's last lines:\n${demo.mesh.log("weftd").split("\n").slice(-15).join("\n")}`);
    demo.lab.remove();
    return 1;
  }
  console.log(bold(`\nAll of it held, in ${ms(performance.now() - started)}.`));
  if (values.keep) keep(demo);
  else await remove(demo);
  return 0;
}

async function remove(demo: Demo): Promise<void> {
  heading("And away");
  await demo.mesh.endDaemon("SIGTERM");
  const uninstalled = await demo.mesh.uninstall();
  if (uninstalled.code !== 0) throw new Error(`weftd uninstall: ${uninstalled.stderr}`);
  demo.lab.remove();
  const left = leftovers(demoPrefix);
  if (left.length > 0) throw new Error(`still there: ${left.join(", ")}`);
  holds("programs, maps, namespaces, cgroup and servers are gone");
}

function keep(demo: Demo): void {
  demo.lab.keep();
  demo.mesh.unref();
  const inPod = `${demo.lab.directory}/in`;
  heading("It keeps running; try");
  for (const line of [
    `${inPod} productpage curl -s http://10.96.0.20:9080/`,
    `${inPod} stranger curl -v http://10.96.0.20:9080/`,
    `${inPod} productpage dig +short @10.96.0.53 reviews.bookinfo.svc.cluster.local`,
    `\${EDITOR:-vi} ${demo.mesh.yamlFile}      # weights, health, policies: pushed on save`,
    `${demo.lab.directory}/weftctl status`,
    `${demo.lab.directory}/weftctl dump service`,
    `tail -f ${demo.mesh.accessLogFile}`,
    `curl -s http://127.0.0.1:${demo.mesh.ports.metrics}/metrics | grep ^kmesh_tcp`,
  ]) {
    command(line);
  }
  note(`\nStop it with: make demo-stop      (everything it made is called ${demoPrefix}*)`);
}

if (values.stop) {
  removeLab(demoPrefix);
  console.log("the demo is stopped and removed");
} else {
  process.exitCode = await main();
}
