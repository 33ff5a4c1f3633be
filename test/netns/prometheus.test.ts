// Owns the proof that Prometheus reads what weftd says: metrics, alerting rules, and every query of the dashboards,
// ours and those by which Istio's dashboards and Kiali ask for TCP.

import { cpSync, existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { packageRoot } from "../../daemon/base/package-root.js";
import { freePort } from "../../lab/mesh.js";
import { check, run } from "../../lab/process.js";
import { until } from "../../lab/wait.js";
import { createWorld, vip, type World, webPort } from "./world.js";

const bin = (name: "prometheus" | "promtool") => {
  const file = join(packageRoot(), "build/prometheus/usr/bin", name);
  if (!existsSync(file)) throw new Error(`${file} is missing: run make prometheus`);
  return file;
};
const deploy = (path: string) => join(packageRoot(), "deploy", path);

const deny = {
  name: "deny-other",
  action: "DENY",
  rules: [{ principals: ["cluster.local/ns/shop/sa/other"] }],
};

/** A resolver that is not there. */
const RESOLVER = "127.79.0.53";

let world: World;
let url: string;
beforeAll(async () => {
  // With every family that there is; nobody takes what is exported.
  const detailed = ["--workload-metrics", "--connection-metrics"];
  const idle = ["--otlp-endpoint", "http://127.0.0.1:1", "--dns-proxy", RESOLVER];
  world = await createWorld({}, { flags: [...detailed, ...idle] });
  const { lab, mesh } = world;
  await world.push({ policies: [deny] }, "the denial", async () => {
    return !(await world.peers.other.call("ask", { host: vip.web.ipv4, port: webPort })).ok;
  });
  await talk();
  await world.peers.client.call("hold", { host: vip.web.ipv4, port: webPort });
  const target = `127.0.0.1:${mesh.ports.metrics}`;
  cpSync(deploy("prometheus/rules.yaml"), join(lab.directory, "rules.yaml"));
  const config = readFileSync(deploy("prometheus/prometheus.yaml"), "utf8")
    .replace("127.0.0.1:15020", target)
    .replace("scrape_interval: 15s", "scrape_interval: 1s");
  expect(config).toContain(target);
  const file = join(lab.directory, "prometheus.yaml");
  writeFileSync(file, config);
  await check([bin("promtool"), "check", "config", file]);
  const port = await freePort();
  url = `http://127.0.0.1:${port}/api/v1`;
  const flags = [`--config.file=${file}`, `--storage.tsdb.path=${join(lab.directory, "tsdb")}`];
  lab.spawnDaemon([bin("prometheus"), ...flags, `--web.listen-address=127.0.0.1:${port}`], {
    logFile: join(lab.directory, "prometheus.log"),
  });
  await until("a scrape", async () => (await query('up{job="weftd"} == 1')).length === 1);
});
afterAll(() => world?.remove());

/** Connections that succeed, that are refused here, and that have nowhere to go. */
async function talk(): Promise<void> {
  await world.peers.client.call("askMany", { host: vip.web.ipv4, port: webPort, count: 5 });
  await world.peers.outside.call("askMany", { host: "10.77.0.21", port: 8080, count: 2 });
  await world.peers.client.call("askMany", { host: vip.empty, port: webPort, count: 2 });
  await world.peers.other.call("askMany", { host: vip.web.ipv4, port: webPort, count: 2 });
  const question = ["dig", `@${RESOLVER}`, "+tries=1", "+time=1", "web.shop.svc.cluster.local"];
  await world.lab.exec(world.peers.client.pod, question);
}

/** Samples of a query now; throws where Prometheus does not take it. */
async function query(expression: string): Promise<{ value: [number, string] }[]> {
  const answer = await fetch(`${url}/query?query=${encodeURIComponent(expression)}`);
  const { status, error, data } = (await answer.json()) as {
    status: string;
    error?: string;
    data: { result: { value: [number, string] }[] };
  };
  if (status !== "success") throw new Error(`${expression}: ${error}`);
  return data.result;
}

/** Waits until each of these has data: rates need two scrapes. */
async function expectData(expressions: readonly string[]): Promise<void> {
  await until(
    "data of every query",
    async () => {
      await talk();
      const empty: string[] = [];
      for (const expression of expressions)
        if ((await query(expression)).length === 0) empty.push(expression);
      if (empty.length > 0) throw new Error(`no data for ${empty.join("\n")}`);
      return true;
    },
    { everyMs: 1000, timeoutMs: 60_000 },
  );
}

test("promtool finds nothing wrong with the metrics and the rules, and each alert fires when it should", async () => {
  const metrics = await run([bin("promtool"), "check", "metrics"], { input: await world.mesh.metricsText() });
  expect([metrics.code, metrics.stderr]).toEqual([0, ""]);
  await check([bin("promtool"), "check", "rules", deploy("prometheus/rules.yaml")]);
  const tested = await run([bin("promtool"), "test", "rules", deploy("prometheus/rules.test.yaml")]);
  expect([tested.code, tested.stdout + tested.stderr]).toEqual([0, expect.stringContaining("SUCCESS")]);
});

test("every metric that a rule names is there", async () => {
  const rules = readFileSync(deploy("prometheus/rules.yaml"), "utf8");
  const names = new Set(rules.match(/\bweft_\w+/g));
  expect(names.size).toBeGreaterThan(10);
  const text = await world.mesh.metricsText();
  for (const name of names) expect(text, name).toContain(`\n# TYPE ${name} `);
});

test("every query of the dashboards has data", async () => {
  const files = readdirSync(deploy("grafana"));
  expect(files.length).toBeGreaterThan(0);
  await expectData(
    files.flatMap((file) => {
      const { panels } = JSON.parse(readFileSync(deploy(`grafana/${file}`), "utf8")) as {
        panels: { targets: { expr: string }[] }[];
      };
      return panels.flatMap(({ targets }) => targets.map(({ expr }) => filled(expr)));
    }),
  );
});

/** As Grafana would fill its variables. */
function filled(expression: string): string {
  return expression.replaceAll("$__rate_interval", "10s").replaceAll(/\$(instance|namespace)/g, ".*");
}

const kialiBy =
  "source_cluster,source_workload_namespace,source_workload,source_canonical_service,source_canonical_revision," +
  "destination_cluster,destination_service_namespace,destination_service,destination_service_name," +
  "destination_workload_namespace,destination_workload,destination_canonical_service,destination_canonical_revision," +
  "response_flags";
const istio = (name: string, where: string, by: string) =>
  `sum(rate(istio_tcp_${name}_total{${where}}[10s])) by (${by})`;

test("the queries for TCP of Istio's dashboards have data", async () => {
  const names = ["sent_bytes", "received_bytes", "connections_opened", "connections_closed"];
  const destination = 'destination_workload_namespace="shop", destination_workload=~"web.*"';
  await expectData(
    names.flatMap((name) => [
      istio(
        name,
        'reporter=~"source|waypoint"',
        "destination_workload, destination_workload_namespace, destination_service",
      ),
      istio(
        name,
        'reporter=~"source", destination_service=~"web.shop.svc.cluster.local"',
        "source_workload, source_workload_namespace",
      ),
      istio(
        name,
        `connection_security_policy!="mutual_tls", reporter="destination", ${destination}`,
        "source_workload, source_workload_namespace",
      ),
      istio(
        name,
        'reporter="source", source_workload_namespace=~"shop", source_workload=~"client"',
        "destination_service",
      ),
    ]),
  );
});

test("the queries of Kiali's graph for TCP have data, and every label it needs", async () => {
  const queries = [
    istio(
      "sent_bytes",
      'reporter="destination",source_workload="unknown",destination_workload_namespace="shop"',
      kialiBy,
    ),
    istio(
      "sent_bytes",
      'reporter="source",source_workload_namespace!="other",source_workload!="unknown",destination_service_namespace="shop"',
      kialiBy,
    ),
    istio("sent_bytes", 'reporter="source",source_workload_namespace="shop"', kialiBy),
  ];
  await expectData(queries);
  const [, , inside = ""] = queries;
  const samples = (await query(inside)) as unknown as { metric: Record<string, string> }[];
  // A label that is empty or missing makes Kiali skip the whole series.
  for (const { metric } of samples) expect(Object.values(metric)).toHaveLength(kialiBy.split(",").length);
});
