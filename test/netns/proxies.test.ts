// Owns the proof that real proxies are waypoints: Envoy and HAProxy, as they come, read where a connection was going,
// split it and deny parts of it, for each protocol that they speak.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { stringify } from "yaml";
import { packageRoot } from "../../daemon/base/package-root.js";
import { startEnvoy } from "../../lab/envoy.js";
import { createLab, type Lab, type Pod } from "../../lab/lab.js";
import { startMesh } from "../../lab/mesh.js";
import { type Peer, startPeer } from "../../lab/peer.js";
import type { RunningProcess } from "../../lab/process.js";
import { until } from "../../lab/wait.js";

const addresses = {
  client: ["10.77.0.11", "fd77::11"],
  v1: ["10.77.0.21", "fd77::21"],
  v2: ["10.77.0.22", "fd77::22"],
  gate: ["10.77.0.31", "fd77::31"],
} as const;
const names = ["client", "v1", "v2", "gate"] as const;
const client = addresses.client[0];

/** Ports of the waypoint's pod. */
const ENVOY = { http: 15008, tcp: 15018 };
const HAPROXY = { http: 15028, tcp: 15038 };
/** Behind each of them: HTTP on port 80, gRPC on 81, what speaks first on 82. */
const services = {
  "envoy-http": { vips: ["10.96.4.1", "fd96::4:1"], gate: ENVOY.http },
  "envoy-tcp": { vips: ["10.96.4.2"], gate: ENVOY.tcp },
  "haproxy-http": { vips: ["10.96.4.3"], gate: HAPROXY.http },
  "haproxy-tcp": { vips: ["10.96.4.4"], gate: HAPROXY.tcp },
};
/** No waypoint is before it. */
const canary = "10.96.4.9";

let lab: Lab;
let envoy: RunningProcess;
let haproxy: RunningProcess;
let peer: Peer;
const program = join(packageRoot(), "test", "netns", "web.ts");
const web = (...args: string[]) => [process.execPath, "--import", "tsx", program, ...args];

function yaml(): string {
  const service = (name: string, vips: readonly string[], endpoint: string, fields: object = {}) => ({
    ...{ name, vips, namespace: "shop", ports: { 80: 8080, 81: 8081, 82: 8082 }, endpoints: [endpoint] },
    ...fields,
  });
  return stringify({
    workloads: names.map((name) => ({ name, namespace: "shop", addresses: addresses[name] })),
    services: [
      ...Object.entries(services).map(([name, { vips, gate }]) =>
        service(name, vips, "v1", { waypoint: { address: addresses.gate[0], port: gate } }),
      ),
      service("canary", [canary], "v2"),
    ],
    policies: [],
  });
}

/** HAProxy's address 0.0.0.0 is where the connection was going. */
const haproxyConf = `
defaults
  timeout connect 5s
  timeout client 30s
  timeout server 30s
  log stdout format raw local0
  log-format "%[dst]:%[dst_port] from %[src]"
frontend http
  bind :${HAPROXY.http} accept-proxy
  mode http
  http-request deny if { path_beg /admin }
  http-request set-header x-destination %[dst]:%[dst_port]
  http-request set-header x-source %[src]
  use_backend v2 if { req.hdr(x-version) v2 }
  default_backend v1
backend v1
  mode http
  server there 0.0.0.0 proto h2
backend v2
  mode http
  server canary ${canary}:80 proto h2
listen tcp
  bind :${HAPROXY.tcp} accept-proxy
  mode tcp
  server there 0.0.0.0
`;

beforeAll(async () => {
  lab = await createLab();
  const pods: Partial<Record<(typeof names)[number], Pod>> = {};
  for (const name of names)
    pods[name] = await lab.pod(`shop/${name}`, { ipv4: addresses[name][0], ipv6: addresses[name][1] });
  const pod = (name: (typeof names)[number]) => pods[name] as Pod;
  await startMesh(lab, { yaml: yaml() });
  const file = join(lab.directory, "haproxy.cfg");
  writeFileSync(file, haproxyConf);
  const http = { v2: { host: canary, port: 80 }, denied: "/admin" };
  [peer, envoy, haproxy] = await Promise.all([
    startPeer(lab, pod("client")),
    startEnvoy(lab, pod("gate"), [
      { port: ENVOY.http, proxied: true, http },
      { port: ENVOY.tcp, proxied: true, logs: true },
    ]),
    lab.spawn(pod("gate"), ["haproxy", "-db", "-f", file], { port: HAPROXY.tcp }),
    lab.spawn(pod("v1"), web("serve", "v1"), { port: 8081 }),
    lab.spawn(pod("v2"), web("serve", "v2"), { port: 8081 }),
  ]);
});
afterAll(() => lab?.remove());

/** Body, status and version of HTTP, as curl says. */
async function get(url: string, ...flags: string[]): Promise<string> {
  const argv = ["curl", "-sS", "--max-time", "30", "-w", " | %{http_code} %{http_version}", ...flags, url];
  const { stdout, stderr } = await lab.exec(peer.pod, argv);
  return stdout + stderr;
}

const forms = [
  { form: "HTTP/1.1", version: "1.1", flags: [] },
  { form: "HTTP/2", version: "2", flags: ["--http2-prior-knowledge"] },
] as const;

describe("Envoy as a waypoint", () => {
  const vip = services["envoy-http"].vips[0] as string;

  test.each(forms)("is told where $form goes, splits it by header, denies a path", async ({
    version,
    flags,
  }) => {
    const told = `for ${vip}:80 from ${client}`;
    expect(await get(`http://${vip}/`, ...flags)).toBe(`v1 ${told} | 200 ${version}`);
    expect(await get(`http://${vip}/`, "-H", "x-version: v2", ...flags)).toBe(`v2 ${told} | 200 ${version}`);
    expect(await get(`http://${vip}/admin`, ...flags)).toBe(`RBAC: access denied | 403 ${version}`);
  });

  test("is told of IPv6, from IPv4 where the waypoint has that alone", async () => {
    const told = `for [fd96::4:1]:80 from ::ffff:${client}`;
    expect(await get("http://[fd96::4:1]/")).toBe(`v1 ${told} | 200 1.1`);
  });

  test("carries gRPC in streams", async () => {
    const call = async (...args: string[]) => {
      const { stdout, stderr } = await lab.exec(peer.pod, web("call", `${vip}:81`, ...args));
      expect(stderr).toBe("");
      return JSON.parse(stdout) as unknown;
    };
    expect(await call()).toEqual(["v1", "question", `for ${vip}:81`]);
  });

  test("carries plain TCP, also where the server speaks first", async () => {
    const [host] = services["envoy-tcp"].vips as [string];
    expect((await peer.call("hear", { host, port: 82, timeoutMs: 30_000 })).text).toBe("v1 is here");
    const line = `${host}:82 from ${client} to ${host}:82`;
    await until("Envoy telling of it", () => envoy.stdout.split("\n").includes(line));
  });
});

describe("HAProxy as a waypoint", () => {
  test("is told where HTTP goes, splits it by header, denies a path", async () => {
    const [vip] = services["haproxy-http"].vips as [string];
    const told = `for ${vip}:80 from ${client}`;
    expect(await get(`http://${vip}/`)).toBe(`v1 ${told} | 200 1.1`);
    expect(await get(`http://${vip}/`, "-H", "x-version: v2")).toBe(`v2 ${told} | 200 1.1`);
    expect(await get(`http://${vip}/admin`)).toContain("| 403 1.1");
  });

  test("carries plain TCP, also where the server speaks first", async () => {
    const [host] = services["haproxy-tcp"].vips as [string];
    expect((await peer.call("hear", { host, port: 82, timeoutMs: 30_000 })).text).toBe("v1 is here");
    await until("HAProxy telling of it", () => haproxy.stdout.includes(`${host}:82 from ${client}\n`));
  });
});
