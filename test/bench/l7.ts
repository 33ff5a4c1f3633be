// Owns the bench of waypoints: whether requests through an Envoy that weft leads to are served as by the same Envoy
// when its client dials it. Must not know how weft does it.
//
// One Envoy with one worker, an nginx behind it, and two clients: one of the mesh asks a service behind the waypoint,
// one without weft asks Envoy by its address. In turns, over 1 to 128 connections that stay:
//   requests-N      requests a second, as fast as answers come
//   p50-N, p99-N    latency at half of what the direct client gets, which is the same rate for both

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { stringify } from "yaml";
import { packageRoot } from "../../daemon/base/package-root.js";
import { startEnvoy } from "../../lab/envoy.js";
import { type Arm, createLab, type Lab, type Pod } from "../../lab/lab.js";
import { startMesh } from "../../lab/mesh.js";
import { type Measurement, report } from "./report.js";
import { median } from "./statistics.js";

export interface L7Options {
  /** Pairs of turns a row. */
  readonly alternations: number;
  /** Length of one turn. */
  readonly seconds: number;
}

const program = join(packageRoot(), "build", "requests");
const CONNECTIONS = [1, 8, 32, 128] as const;
/** Of the rate that the direct client gets, for latencies. */
const LOAD = 0.5;
const SERVER_PORT = 8080;
const PROXIED_PORT = 15008;
const DIRECT_PORT = 15009;
const addresses = { client: "10.77.0.11", direct: "10.77.0.12", gate: "10.77.0.21", server: "10.77.0.22" };
const vip = "10.96.1.1";

const nginxConf = (directory: string) => `
daemon off; worker_processes 1; pid ${directory}/nginx.pid; error_log ${directory}/nginx.log;
events {}
http {
  access_log off; keepalive_requests 1000000000;
  ${["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((each) => `${each}_temp_path ${directory}/${each};`).join(" ")}
  server { listen ${SERVER_PORT}; location / { return 200 "${"x".repeat(64)}"; } }
}`;

function yaml(): string {
  const workload = (name: keyof typeof addresses) => ({
    name,
    namespace: "default",
    addresses: [addresses[name]],
  });
  const web = {
    ...{ name: "web", namespace: "default", vips: [vip], ports: { 80: SERVER_PORT }, endpoints: ["server"] },
    waypoint: { address: addresses.gate, port: PROXIED_PORT },
  };
  const workloads = (["client", "gate", "server"] as const).map(workload);
  return stringify({ workloads, services: [web], policies: [] });
}

/** One way to the same Envoy. */
interface Way {
  readonly client: Pod;
  readonly arm: Arm;
  readonly address: string;
  readonly port: number;
}

interface Ways {
  readonly led: Way;
  readonly direct: Way;
}

/** What build/requests prints. */
interface RequestsResult {
  readonly rate: number;
  readonly latencyUs: { readonly p50: number; readonly p99: number };
}

/** Measures, prints, and writes out/bench/l7.json. Returns true when every budget is kept. */
export async function l7(options: L7Options): Promise<boolean> {
  const lab = await createLab();
  try {
    const ways = await build(lab);
    const rows: Measurement[] = [];
    for (const connections of CONNECTIONS) rows.push(...(await rowsOf(lab, ways, connections, options)));
    console.log();
    return report("l7", rows);
  } finally {
    lab.remove();
  }
}

async function build(lab: Lab): Promise<Ways> {
  const pod = (name: keyof typeof addresses) =>
    lab.pod(`default/${name}`, { ipv4: addresses[name], enrolled: name !== "direct" });
  const [client, direct, gate, server] = [
    await pod("client"),
    await pod("direct"),
    await pod("gate"),
    await pod("server"),
  ];
  const file = join(lab.directory, "nginx.conf");
  writeFileSync(file, nginxConf(lab.directory));
  await startMesh(lab, { yaml: yaml() });
  const nginx = ["nginx", "-c", file, "-e", join(lab.directory, "nginx.log")];
  await lab.spawn(server, nginx, { port: SERVER_PORT });
  const http = { others: { host: addresses.server, port: SERVER_PORT }, upstream: "h1" } as const;
  await startEnvoy(lab, gate, [
    { port: PROXIED_PORT, proxied: true, http },
    { port: DIRECT_PORT, proxied: false, http },
  ]);
  return {
    led: { client, arm: "mesh", address: vip, port: 80 },
    direct: { client: direct, arm: "plain", address: addresses.gate, port: DIRECT_PORT },
  };
}

async function rowsOf(lab: Lab, ways: Ways, connections: number, options: L7Options): Promise<Measurement[]> {
  const free = await alternate(lab, ways, options, [], connections);
  const rate = LOAD * median(free.direct.map((each) => each.rate));
  const timed = await alternate(lab, ways, options, ["--rate", rate.toFixed(0)], connections);
  const latency = (name: "p50" | "p99"): Measurement => ({
    name: `${name}-${connections}`,
    unit: "us",
    values: timed.led.map(({ latencyUs }) => latencyUs[name]),
    references: timed.direct.map(({ latencyUs }) => latencyUs[name]),
    budget: name === "p99" ? { of: "ratio", atMost: 1.05 } : null,
  });
  return [
    {
      name: `requests-${connections}`,
      unit: "1/s",
      values: free.led.map((each) => each.rate),
      references: free.direct.map((each) => each.rate),
      budget: { of: "ratio", atLeast: 0.97 },
    },
    latency("p50"),
    latency("p99"),
  ];
}

async function alternate(
  lab: Lab,
  { led, direct }: Ways,
  { alternations, seconds }: L7Options,
  flags: readonly string[],
  connections: number,
): Promise<Record<keyof Ways, RequestsResult[]>> {
  const taken: Record<keyof Ways, RequestsResult[]> = { led: [], direct: [] };
  for (let i = 0; i < alternations; i++) {
    for (const way of i % 2 === 0 ? [led, direct] : [direct, led]) {
      const all = ["--workers", `${connections}`, "--seconds", `${seconds}`, ...flags];
      taken[way === led ? "led" : "direct"].push(await request(lab, way, all));
    }
    const turns = [`${connections} connections`, ...flags].join(" ");
    process.stderr.write(`${turns}: ${i + 1} of ${alternations}\r`);
  }
  return taken;
}

async function request(lab: Lab, way: Way, flags: readonly string[]): Promise<RequestsResult> {
  const argv = [program, "--address", way.address, "--port", `${way.port}`, ...flags];
  const result = await lab.exec(way.client, argv, { arm: way.arm });
  if (result.code !== 0) throw new Error(`${argv.join(" ")}: ${result.stdout}${result.stderr}`);
  return JSON.parse(result.stdout) as RequestsResult;
}
