// Owns what the demo shows: each step runs real commands in real pods, and throws when its claim does not hold.
// Must not know how the mesh was built.

import { until } from "../../lab/wait.js";
import { reviewsName, vip, webPort } from "./bookinfo.js";
import type { Demo } from "./build.js";
import { bars, command, holds, ms, note, output } from "./terminal.js";

export interface Step {
  readonly title: string;
  show(demo: Demo): Promise<void>;
}

const reviewsUrl = `http://${vip.reviews}:${webPort}/`;
const curl = ["curl", "-sS", "--connect-timeout", "2"] as const;

function claim(holdsTrue: boolean, text: string): void {
  if (!holdsTrue) throw new Error(`this does not hold: ${text}`);
  holds(text);
}

/** Requests to reviews from productpage, one connection each: who answered how often. */
async function ask(demo: Demo, count: number): Promise<{ answers: Map<string, number>; failed: number }> {
  const argv = [...curl, "-w", "%{exitcode}\\n", `${reviewsUrl}?[1-${count}]`];
  const { stdout } = await demo.exec("productpage", argv);
  const lines = stdout.split("\n");
  const answers = new Map<string, number>();
  for (const line of lines) {
    if (line.startsWith("reviews")) answers.set(line, (answers.get(line) ?? 0) + 1);
  }
  return { answers, failed: count - lines.filter((line) => line === "0").length };
}

/** Asks, shows the distribution, and checks each share to within four standard deviations. */
async function showDistribution(demo: Demo, expected: Readonly<Record<string, number>>): Promise<void> {
  const count = 120;
  command(`productpage> curl ${reviewsUrl}      # ${count} times, a connection each`);
  const { answers, failed } = await ask(demo, count);
  bars(answers);
  claim(failed === 0, "no request failed");
  const total = Object.values(expected).reduce((sum, weight) => sum + weight, 0);
  const fits = Object.entries(expected).every(([name, weight]) => {
    const share = weight / total;
    const deviation = Math.sqrt(count * share * (1 - share));
    return Math.abs((answers.get(name) ?? 0) - count * share) <= 4 * deviation;
  });
  const ratio = Object.values(expected).join(" : ");
  claim(
    fits && [...answers.keys()].every((name) => name in expected),
    `the shares are ${ratio}, as configured`,
  );
}

const balancing: Step = {
  title: "Load balancing through a virtual IP that nobody owns",
  async show(demo) {
    note(`${reviewsName} is ${vip.reviews}; three pods stand behind it, and no proxy before it.`);
    await demo.show("productpage", [...curl, reviewsUrl]);
    await showDistribution(demo, { "reviews-v1": 1, "reviews-v2": 1, "reviews-v3": 1 });
  },
};

const weights: Step = {
  title: "Weights, by editing the YAML",
  async show(demo) {
    const time = await demo.push({ weights: [8, 1, 1] });
    holds(`saved with weights 8, 1, 1; in the kernel ${ms(time)} later`);
    await showDistribution(demo, { "reviews-v1": 8, "reviews-v2": 1, "reviews-v3": 1 });
  },
};

const health: Step = {
  title: "An endpoint becomes unhealthy while traffic flows",
  async show(demo) {
    await demo.push({ weights: [1, 1, 1] });
    const during = ask(demo, 600);
    const time = await demo.push({ weights: [1, 1, 1], unhealthy: "reviews-v2" });
    holds(`reviews-v2 marked unhealthy; out of the kernel's slots ${ms(time)} later`);
    claim((await during).failed === 0, "600 requests during the change: none failed");
    await showDistribution(demo, { "reviews-v1": 1, "reviews-v3": 1 });
    await demo.push({ weights: [1, 1, 1] });
  },
};

/** The stranger asks and must be refused; returns curl's milliseconds. */
async function expectDenied(demo: Demo): Promise<number> {
  const argv = [...curl, "-w", "refused after %{time_total} s\\n", reviewsUrl];
  const result = await demo.show("stranger", argv);
  if (result.code !== 7) throw new Error(`the stranger was not refused: curl exit code ${result.code}`);
  return Number(/after ([\d.]+) s/.exec(result.stdout)?.[1]) * 1000;
}

const denial: Step = {
  title: "A denial: refused at once, and the log says which policy",
  async show(demo) {
    note("The policy bookinfo/no-strangers denies the service account of the pod stranger.");
    const before = demo.mesh.accessLog().length;
    const time = await expectDenied(demo);
    claim(time < 100, `connection refused within ${ms(time)}: no timeout, no request seen by nginx`);
    const line = await until("the denial in the access log", () =>
      demo.mesh
        .accessLog()
        .slice(before)
        .find((entry) => entry.includes("src.workload=stranger") && entry.includes("policy=")),
    );
    command(`tail -1 access.log`);
    output(line, 4, 1000);
    claim(line.includes("bookinfo/no-strangers"), "the line names the policy");
  },
};

const ipv6: Step = {
  title: "An IPv6 service",
  async show(demo) {
    const result = await demo.show("productpage", [...curl, "-g", `http://[${vip.ratings}]:${webPort}/`]);
    claim(result.stdout === "ratings-v1\n", `[${vip.ratings}] led to ratings-v1`);
  },
};

const dns: Step = {
  title: "A UDP service: DNS",
  async show(demo) {
    const argv = ["dig", `@${vip.dns}`, "+short", "+time=1", "+tries=2", reviewsName];
    const result = await demo.show("productpage", argv);
    claim(
      result.stdout.trim() === vip.reviews,
      "dig, which drops answers from a wrong source, took this one",
    );
  },
};

const metrics: Step = {
  title: "Metrics, counted in the kernel",
  async show(demo) {
    command(
      `curl http://127.0.0.1:${demo.mesh.ports.metrics}/metrics | grep kmesh_tcp_connections_opened_total`,
    );
    const text = await demo.mesh.metricsText();
    const lines = text.split("\n").filter((line) => line.startsWith("kmesh_tcp_connections_opened_total{"));
    output(lines.map(shortened).join("\n"), 4, 250);
    const labels = { reporter: "source", destination_service: reviewsName };
    const before = await demo.mesh.metric("kmesh_tcp_connections_opened_total", labels);
    await ask(demo, 50);
    const after = await demo.mesh.metric("kmesh_tcp_connections_opened_total", labels);
    claim(after - before === 50, "50 more connections to reviews were counted as exactly 50");
  },
};

/** A series with those of its labels that tell it from the others here. */
function shortened(line: string): string {
  const wanted = ["reporter", "source_workload", "destination_service", "destination_workload"];
  const [, name, labels = "", value] = /^(\w+)\{(.*)\} (\S+)$/.exec(line) ?? [];
  const kept = labels.split(",").filter((label) => wanted.includes(label.split("=")[0] ?? ""));
  return `${name}{${kept.join(",")}, …} ${value}`;
}

const inspection: Step = {
  title: "What the operator sees",
  async show(demo) {
    await demo.weftctl("status");
    const services = await demo.weftctl("dump", "service");
    claim(services.includes(vip.reviews), "the services are listed with their virtual addresses");
    const frontends = await demo.weftctl("dump", "bpf", "frontends");
    claim(frontends.includes(vip.reviews), "the same, read back from the kernel this moment");
  },
};

const death: Step = {
  title: "kill -9 of the daemon: the kernel goes on",
  async show(demo) {
    command(`kill -9 ${demo.mesh.daemon.pid}      # weftd`);
    await demo.mesh.endDaemon("SIGKILL");
    await showDistribution(demo, { "reviews-v1": 1, "reviews-v2": 1, "reviews-v3": 1 });
    const time = await expectDenied(demo);
    claim(time < 100, "the stranger is denied as before");
    const during = ask(demo, 600);
    const ready = await demo.mesh.startDaemon();
    claim(
      (await during).failed === 0,
      `weftd restarted in ${ms(ready)}; 600 requests meanwhile, none failed`,
    );
  },
};

/** In the order shown. */
export const steps: readonly Step[] = [
  balancing,
  weights,
  health,
  denial,
  ipv6,
  dns,
  metrics,
  inspection,
  death,
];
