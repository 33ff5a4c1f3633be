// Owns the proof that what is behind a waypoint goes through it, and is told to it before the first byte, whatever the
// application does with its socket: by a waypoint that tells what it was told and checks what follows.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { stringify } from "yaml";
import { createLab, type Lab } from "../../lab/lab.js";
import { type LabMesh, startMesh } from "../../lab/mesh.js";
import { sysctl } from "../../lab/netns.js";
import { type Peer, startPeer } from "../../lab/peer.js";
import { check } from "../../lab/process.js";
import { sleep, slowness, until } from "../../lab/wait.js";
import { openSockets, type Sockets } from "./sockets.js";

const addresses = {
  client: ["10.77.0.11", "fd77::11"],
  server: ["10.77.0.21", "fd77::21"],
  guided: ["10.77.0.22", "fd77::22"],
  gate: ["10.77.0.31", "fd77::31"],
} as const;
type PodName = keyof typeof addresses;
const names = Object.keys(addresses) as PodName[];

const PORT = 8080;
const GATE_PORT = 15008;
const FIRST_PORT = 15018;
const KMESH_PORT = 15019;
const NGINX_PORT = 15028;
const web = { ipv4: "10.96.3.1", ipv6: "fd96::3:1" };
const mail = "10.96.3.2";
const http = { ipv4: "10.96.3.3", ipv6: "fd96::3:3" };
const gateService = "shop/gate.shop.svc.cluster.local";

function yaml({ gateStatus = "HEALTHY" } = {}): string {
  const workload = (name: PodName, fields: object = {}) => ({
    name,
    namespace: "shop",
    addresses: addresses[name],
    ...fields,
  });
  const service = (name: string, vips: string[], endpoints: string[], fields: object = {}) => ({
    name,
    namespace: "shop",
    vips,
    ports: { 80: PORT, 53: 5353 },
    endpoints,
    ...fields,
  });
  return stringify({
    workloads: [
      workload("client"),
      workload("server"),
      workload("guided", { waypoint: { service: gateService } }),
      workload("gate", { status: gateStatus }),
    ],
    services: [
      service("web", [web.ipv4, web.ipv6], ["server"], { waypoint: { service: gateService } }),
      service("mail", [mail], ["server"], { waypoint: { address: addresses.gate[0], port: FIRST_PORT } }),
      service("http", [http.ipv4, http.ipv6], ["server"], {
        waypoint: { service: gateService, port: NGINX_PORT },
      }),
      service("gate", ["10.96.3.9"], ["gate"]),
    ],
    policies: [],
  });
}

let lab: Lab;
let mesh: LabMesh;
let peers: Record<PodName, Peer>;
let sockets: Sockets;
const flags: string[] = [];

/** Fewer where the processor is emulated. */
const MANY = Math.ceil(5_000 / slowness);

beforeAll(async () => {
  lab = await createLab();
  for (const name of names)
    await lab.pod(`shop/${name}`, { ipv4: addresses[name][0], ipv6: addresses[name][1] });
  const started = await Promise.all([...lab.pods.values()].map((pod) => startPeer(lab, pod)));
  peers = Object.fromEntries(started.map((peer) => [peer.pod.name.slice(5), peer])) as Record<PodName, Peer>;
  for (const name of ["server", "guided"] as const)
    await peers[name].call("serveTcp", { host: "::", port: PORT, name });
  await peers.server.call("serveUdp", { host: "::", port: 5353, name: "server" });
  for (const port of [GATE_PORT, KMESH_PORT]) await peers.gate.call("serveWaypoint", { host: "::", port });
  await peers.gate.call("serveWaypoint", { host: "::", port: FIRST_PORT, speaksFirst: true });
  mesh = await startMesh(lab, { yaml: yaml(), flags });
  sockets = await openSockets(lab, peers.client.pod);
});
afterAll(() => lab?.remove());
// Whatever the test did.
afterEach(async () => expect(await peers.gate.call("heardBare", undefined)).toBe(0));

/** What the waypoint was told, without the source's port. */
async function told(host: string, port = 80, from: PodName = "client"): Promise<string> {
  const answer = await peers[from].call("ask", { host, port });
  return answer.ok ? answer.reply.replace(/(from \S+) \d+$/, "$1") : answer.code;
}

async function reason(name: string): Promise<number> {
  const { maps } = (await mesh.admin("/debug/config_dump/bpf/workload?map=reasons")) as {
    maps: Record<string, { entries: { key: { reasonName: string }; value: { count: number } }[] }>;
  };
  return Number(maps.reasons?.entries.find(({ key }) => key.reasonName === name)?.value.count ?? 0);
}

describe("a connection to what is behind a waypoint", () => {
  test("is told to it: IPv4, IPv6, and IPv4 through a socket of IPv6", async () => {
    expect(await told(web.ipv4)).toBe(`${web.ipv4} 80 from ${addresses.client[0]}`);
    expect(await told(web.ipv6)).toBe("fd96:0:0:0:0:0:3:1 80 from fd77:0:0:0:0:0:0:11");
    expect(await told(`::ffff:${web.ipv4}`)).toBe(`${web.ipv4} 80 from ${addresses.client[0]}`);
  });

  test("shows its socket what was dialled, and comes from where it says", async () => {
    const answer = await peers.client.call("ask", { host: web.ipv4, port: 80 });
    expect(answer).toMatchObject({ ok: true, remote: `${web.ipv4}:80` });
    if (answer.ok) expect(answer.local).toBe(answer.reply.replace(/^.* from (\S+) (\d+)$/, "$1:$2"));
  });

  test("to a workload's own address is told too, and its service is reached past that waypoint", async () => {
    expect(await told(addresses.guided[0], 9999)).toBe(
      `${addresses.guided[0]} 9999 from ${addresses.client[0]}`,
    );
  });

  test("of the waypoint itself goes to the endpoints", async () => {
    expect(await told(web.ipv4, 80, "gate")).toBe("server");
    expect(await told(addresses.guided[0], PORT, "gate")).toBe("guided");
  });

  test("as a datagram passes it by", async () => {
    const [answer] = await peers.client.call("askUdp", { host: web.ipv4, port: 53, connected: false });
    expect(answer?.reply).toBe("server");
  });

  test("is named by its service, and by the waypoint as destination", async () => {
    await told(web.ipv4);
    const line = await until("a line of the access log", () =>
      mesh.accessLog().findLast((each) => /src.workload=client.*dst.service=web.shop.*OUTBOUND/.test(each)),
    );
    expect(line).toContain(`dst.addr=${addresses.gate[0]}:${GATE_PORT}`);
    expect(line).toContain("dst.workload=gate");
  });

  test("is one of many whose bytes are all there, behind one header each", async () => {
    const [cut, full] = [await reason("waypoint_cut"), await reason("waypoint_full")];
    const tally = await peers.client.call("askMany", { host: web.ipv4, port: 80, count: MANY });
    const texts = Object.keys(tally.replies).map((text) => text.replace(/(from \S+) \d+$/, "$1"));
    expect([...new Set(texts)]).toEqual([`${web.ipv4} 80 from ${addresses.client[0]}`]);
    expect(tally.errors).toEqual({});
    expect([await reason("waypoint_cut"), await reason("waypoint_full")]).toEqual([cut, full]);
  });
});

describe("a server that speaks first", () => {
  test("is heard: a silent connection is given its header", async () => {
    const kicked = await reason("waypoint_kicked");
    const heard = await Promise.all(
      Array.from({ length: 20 }, () => peers.client.call("hear", { host: mail, port: 80 })),
    );
    for (const { text } of heard) expect(text).toMatch(`${mail} 80 from ${addresses.client[0]}`);
    expect(await reason("waypoint_kicked")).toBe(kicked + 20);
    expect(Math.max(...heard.map(({ ms }) => ms))).toBeLessThan(1_000 * slowness);
  });
});

describe("what could send bytes past the header", () => {
  const answerOf = async (kind: string, before: readonly string[] = []) => {
    const socket = await sockets.open(kind);
    for (const command of before) await socket.must(command);
    const connected = await socket.tell("connect", `${web.ipv4} 80`);
    return { socket, connected };
  };

  test("MPTCP is refused", async () => {
    const refused = await reason("waypoint_socket");
    expect((await answerOf("mptcp 4")).connected).toBe("ECONNREFUSED");
    expect(await reason("waypoint_socket")).toBe(refused + 1);
  });

  test("fast open: the application is told to connect first, and data is never in the SYN", async () => {
    await sysctl(peers.client.pod.netns, { "net.ipv4.tcp_fastopen": 5 });
    const sending = await sockets.open("tcp 4");
    expect(await sending.tell("fast", `${web.ipv4} 80`)).toBe("EOPNOTSUPP");
    expect(await reason("waypoint_fast")).toBe(1);
    await sending.must("connect", `${web.ipv4} 80`);
    await sending.must("send");
    expect(await sending.tell("recv", 2_000)).toContain(`${web.ipv4} 80 from`);
    const cut = await reason("waypoint_cut");
    const { socket, connected } = await answerOf("tcp 4", ["eager"]);
    expect(connected).toBe("ok");
    expect(["ok", "ETIMEDOUT", "ENETUNREACH", "EHOSTUNREACH"]).toContain(await socket.tell("send"));
    expect(await socket.tell("recv", 500)).not.toContain("BARE");
    expect(await reason("waypoint_cut")).toBe(cut + 1);
    await sysctl(peers.client.pod.netns, { "net.ipv4.tcp_fastopen": 1 });
  });

  test("a send while it connects is cut off before a byte leaves", async () => {
    const own = await openSockets(lab, peers.client.pod);
    const nft = (...words: string[]) => check(["ip", "netns", "exec", peers.gate.pod.netns, "nft", ...words]);
    await nft("add", "table", "inet", "late");
    await nft("add", "chain", "inet", "late", "in", "{ type filter hook input priority 0 ; }");
    await nft("add", "rule", "inet", "late", "in", "tcp", "flags", "syn", "drop");
    const cut = await reason("waypoint_cut");
    const socket = await own.open("tcp 4");
    await socket.tell("begin", `${web.ipv4} 80`);
    await socket.must("waits");
    const sent = socket.tell("send");
    await sleep(100);
    await nft("delete", "table", "inet", "late");
    await until("the connection being cut off", async () => (await reason("waypoint_cut")) === cut + 1);
    // It may be told that its bytes were taken; they stay where they are.
    await sent;
    expect(await socket.tell("recv", 500)).not.toContain("10.96");
    await own.kill();
  });

  test("the first bytes of a socket with SO_ZEROCOPY are refused", async () => {
    const { socket, connected } = await answerOf("tcp 4", ["zerocopy"]);
    expect(connected).toBe("ok");
    expect(await socket.tell("send")).toBe("EACCES");
    expect(await reason("waypoint_zerocopy")).toBe(1);
  });
});

/** Answers with what it was told. */
const nginxConf = (directory: string) => `
daemon off; worker_processes 1; pid ${directory}/nginx.pid; error_log ${directory}/nginx.log;
events {}
http {
  access_log off;
  ${["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((each) => `${each}_temp_path ${directory}/${each};`).join(" ")}
  server {
    listen [::]:${NGINX_PORT} proxy_protocol ipv6only=off;
    location / {
      return 200 "$proxy_protocol_server_addr $proxy_protocol_server_port from $proxy_protocol_addr";
    }
  }
}`;

describe("a waypoint", () => {
  test("that is a stock nginx is told, over IPv4 and IPv6", async () => {
    const file = join(lab.directory, "nginx.conf");
    writeFileSync(file, nginxConf(lab.directory));
    const nginx = ["nginx", "-c", file, "-e", join(lab.directory, "nginx.log")];
    await lab.spawn(peers.gate.pod, nginx, { port: NGINX_PORT });
    const get = async (url: string) => (await lab.exec(peers.client.pod, ["curl", "-s", url])).stdout;
    expect(await get(`http://${http.ipv4}/`)).toBe(`${http.ipv4} 80 from ${addresses.client[0]}`);
    expect(await get(`http://[${http.ipv6}]/`)).toBe(`${http.ipv6} 80 from ${addresses.client[1]}`);
  });

  test("without endpoints refuses, and is served again when one is back", async () => {
    mesh.edit(yaml({ gateStatus: "UNHEALTHY" }));
    await until("the waypoint being away", async () => (await told(web.ipv4)) === "ECONNREFUSED");
    expect(await told(addresses.guided[0], PORT)).toBe("ECONNREFUSED");
    expect(await reason("no_waypoint")).toBeGreaterThan(0);
    // What it opens does not loop, fit or not.
    expect(await told(web.ipv4, 80, "gate")).toBe("server");
    mesh.edit(yaml());
    await until("the waypoint being back", async () => (await told(web.ipv4)).startsWith(web.ipv4));
  });

  test("is told also by connections that the daemon's death finds waiting, and by those that its restart does", async () => {
    await mesh.endDaemon("SIGKILL");
    const id = await peers.client.call("hold", { host: web.ipv4, port: 80 });
    const other = await peers.client.call("hold", { host: web.ipv4, port: 80 });
    const silent = peers.client.call("hear", { host: mail, port: 80, timeoutMs: 30_000 });
    expect(await peers.client.call("say", { id })).toContain(`${web.ipv4} 80 from`);
    await mesh.startDaemon();
    expect((await silent).text).toContain(`${mail} 80 from`);
    expect(await peers.client.call("say", { id: other })).toContain(`${web.ipv4} 80 from`);
  });

  test("that speaks Kmesh's protocol is told so, on Kmesh's port", async () => {
    await mesh.endDaemon("SIGTERM");
    flags.push("--waypoint-protocol", "kmesh");
    await mesh.startDaemon();
    expect(await told(web.ipv4)).toBe(`${web.ipv4} 80`);
    expect(await told(web.ipv6)).toBe("fd96:0:0:0:0:0:3:1 80");
  });
});
