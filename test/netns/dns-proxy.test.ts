// Owns the proof that names of the mesh resolve for governed pods, and that the cluster's DNS is asked as ever when weftd
// is not there, however it ended. The resolvers' addresses are of loopback, so that two real dnsmasq can have them: one
// where weftd runs, which it asks, and one in the pod's namespace, which the pod reaches when nobody proxies.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parse, stringify } from "yaml";
import { check, type RunningProcess } from "../../lab/process.js";
import { until } from "../../lab/wait.js";
import { openSockets } from "./sockets.js";
import { createWorld, dnsPort, targetPort, vip, type World, worldYaml } from "./world.js";

/** Of loopback, and of this process: nobody else serves there. */
const RESOLVER = `127.78.${(process.pid >> 8) & 255}.${(process.pid & 127) + 1}`;
/** Of IPv6 there is but one: who runs this test at the same time has to wait. */
const RESOLVER6 = "::1";
const RESOLVERS = `${RESOLVER},${RESOLVER6}`;
const NAME = "api.elsewhere.test";

let world: World;
let directory: string;
const servers: RunningProcess[] = [];

/** dnsmasq's answer tells which of the two was asked. */
const VIA = { proxy: "192.0.2.1", direct: "192.0.2.2" };

function dnsmasq(via: string): string[] {
  const many = Array.from({ length: 60 }, (_, n) => `--host-record=many.weft.test,192.0.2.${n + 1}`);
  return [
    ...["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--user=root", "--pid-file="],
    ...[
      "--no-resolv",
      "--no-hosts",
      "--no-round-robin",
      "--local=/test/",
      "--local-ttl=7",
      "--bind-interfaces",
    ],
    ...[`--listen-address=${RESOLVERS}`, `--host-record=via.weft.test,${via}`, ...many],
    ...["--host-record=db.weft.test,192.0.2.9,2001:db8::9", "--cname=www.weft.test,db.weft.test"],
    ...["--mx-host=weft.test,db.weft.test,10", "--txt-record=weft.test,some text"],
    // Too long for a datagram without EDNS.
    `--txt-record=long.weft.test,${["a", "b", "c"].map((letter) => letter.repeat(250)).join(",")}`,
  ];
}

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "weft-dns-"));
  process.env.WEFT_DNS_PROXY = RESOLVERS;
  world = await createWorld();
  const { lab, peers } = world;
  const logFile = join(directory, "dnsmasq.log");
  const taken = ["ss", "-Hlnu", "src", `[${RESOLVER6}]:53`];
  await until("port 53 of ::1", async () => (await check(taken)) === "");
  servers.push(lab.spawnDaemon(dnsmasq(VIA.proxy), { logFile }));
  const listening = { port: 53, protocol: "udp", arm: "plain" } as const;
  servers.push(await lab.spawn(peers.client.pod, dnsmasq(VIA.direct), listening));
  world.mesh.edit(meshWith([]));
  await proxied();
}, 60_000);
afterAll(() => {
  delete process.env.WEFT_DNS_PROXY;
  world?.remove();
  rmSync(directory, { recursive: true, force: true });
});

/** The world's mesh, and a service that no DNS knows. */
function meshWith(policies: readonly object[]): string {
  const mesh = parse(worldYaml({ policies })) as { services: object[] };
  mesh.services.push({
    ...{ name: "api", namespace: "shop", hostname: NAME, vips: ["240.240.7.7", "2001:2::77"] },
    ...{ ports: { 80: 8080 }, endpoints: ["web-a"] },
  });
  return stringify(mesh);
}

/** What dig prints in the pod, in an order of its own. */
async function dig(...args: string[]): Promise<string> {
  const at = args.some((arg) => arg.startsWith("@")) ? [] : [`@${RESOLVER}`];
  const argv = ["dig", ...at, "+tries=1", "+time=3", "+nostats", "+nocmd", ...args];
  const { stdout } = await world.lab.exec(world.peers.client.pod, argv);
  return stdout;
}

const short = async (...args: string[]) => (await dig("+short", ...args)).trim().split("\n").sort().join(" ");

/** In each way. */
const WAYS = [RESOLVER, RESOLVER6].flatMap((resolver) => [[`@${resolver}`], [`@${resolver}`, "+tcp"]]);

const asked = async (via: string, ...args: string[]) => (await short("via.weft.test", ...args)) === via;
const allAsked = async (via: string) => {
  for (const way of WAYS) if (!(await asked(via, ...way))) return false;
  return true;
};
const proxied = () =>
  until(
    "questions that go to the proxy, and the name",
    async () => (await allAsked(VIA.proxy)) && (await short(NAME)) === "240.240.7.7",
  );

/** What does not change from one question to the next. */
const comparable = (text: string) =>
  text
    .replace(/id: \d+/, "")
    .split("\n")
    .sort();

const OTHERS = [
  ["db.weft.test", "A"],
  ["db.weft.test", "AAAA"],
  ["www.weft.test", "A"],
  ["weft.test", "MX"],
  ["weft.test", "TXT"],
  ["many.weft.test", "A"],
  ["long.weft.test", "TXT"],
  ["long.weft.test", "TXT", "+noedns"],
  ["long.weft.test", "TXT", "+noedns", "+ignore"],
  ["nothing.weft.test", "A"],
  ["elsewhere.example", "A"],
] as const;

describe.each(WAYS.map((way) => ({ way })))("over $way", ({ way }) => {
  test("a name that the mesh knows and the resolver does not has the mesh's addresses, of both families", async () => {
    expect(await short(NAME, ...way)).toBe("240.240.7.7");
    expect(await short(NAME, "AAAA", ...way)).toBe("2001:2::77");
    const whole = await dig(NAME, ...way);
    expect(whole).toMatch(/status: NOERROR/);
    expect(whole).toMatch(/^api\.elsewhere\.test\.\s+30\s+IN\s+A\s+240\.240\.7\.7$/m);
    // Of another type it has nothing, and exists.
    expect(await dig(NAME, "MX", ...way)).toMatch(/status: NOERROR.*\n.*ANSWER: 0/);
  });
});

test.each([RESOLVER, RESOLVER6])("the answer comes from whom was asked: %s", async (resolver) => {
  const argv = ["dig", `@${resolver}`, "+tries=1", "+noall", "+stats", NAME];
  const { stdout, stderr } = await world.lab.exec(world.peers.client.pod, argv);
  expect(stdout).toContain(`SERVER: ${resolver}#53`);
  expect(stdout + stderr).not.toContain("unexpected source");
});

/** Asks for `via.weft.test` by a socket of IPv6; prints the answer's last four bytes, its source, and the peer. */
const ASK_BY_IPV6 = `
  const [to, connected] = process.argv.slice(1);
  const question = Buffer.from("abcd01000001000000000000" + "03766961047765667404746573740000010001", "hex");
  const socket = require("dgram").createSocket("udp6");
  socket.on("message", (answer, from) => {
    const peer = connected ? socket.remoteAddress() : { address: "none" };
    console.log([answer.subarray(-4).join("."), from.address, from.port, peer.address].join(" "));
    socket.close();
  });
  if (connected) socket.connect(53, to, () => socket.send(question));
  else socket.send(question, 53, to);
  setTimeout(() => process.exit(1), 3000).unref();
`;

test.each([
  ["a resolver of IPv6", RESOLVER6],
  ["one of IPv4", `::ffff:${RESOLVER}`],
])("sockets of IPv6 ask %s, connected or not, and are shown whom they asked", async (_, resolver) => {
  const ask = async (...args: string[]) => {
    const argv = [process.execPath, "-e", ASK_BY_IPV6, resolver, ...args];
    return (await world.lab.exec(world.peers.client.pod, argv)).stdout.trim();
  };
  expect(await ask()).toBe(`${VIA.proxy} ${resolver} 53 none`);
  expect(await ask("connected")).toBe(`${VIA.proxy} ${resolver} 53 ${resolver}`);
});

test("a socket that was connected to the proxy hears at once that it has gone, and is shown the resolver until then", async () => {
  const sockets = await openSockets(world.lab, world.peers.client.pod);
  const socket = await sockets.open("udp 4");
  await socket.must("connect", `${RESOLVER} 53`);
  expect(await socket.tell("peer")).toBe(`${RESOLVER} 53`);
  await world.mesh.endDaemon("SIGKILL");
  await socket.must("send");
  await until("the refusal", async () => (await socket.tell("send")) === "ECONNREFUSED");
  await socket.must("connect", `${RESOLVER} 53`);
  await socket.must("send");
  await socket.must("close");
  await world.mesh.startDaemon();
  await proxied();
});

test("killed, weftd leaves the cluster's DNS as it is, at once; every other name reads the same with it and without", async () => {
  const before: string[][] = [];
  for (const question of OTHERS) before.push(comparable(await dig(...question)));
  await world.mesh.endDaemon("SIGKILL");
  // With one try each: nothing is lost, and nothing is waited for.
  expect(await allAsked(VIA.direct)).toBe(true);
  expect(await dig(NAME)).toMatch(/status: NXDOMAIN/);
  expect(await dig(`@${RESOLVER6}`, NAME)).toMatch(/status: NXDOMAIN/);
  expect(before.flat().join("\n")).toMatch(/flags: qr aa tc rd ra; QUERY: 1, ANSWER: 0/);
  for (const [index, question] of OTHERS.entries())
    expect(comparable(await dig(...question)), question.join(" ")).toEqual(before[index]);
  await world.mesh.startDaemon();
  await proxied();
});

test("stopped in order, or without the option, it is the same", async () => {
  await world.mesh.endDaemon("SIGTERM");
  expect(await allAsked(VIA.direct)).toBe(true);
  delete process.env.WEFT_DNS_PROXY;
  await world.mesh.startDaemon();
  expect(await allAsked(VIA.direct)).toBe(true);
  await world.mesh.endDaemon("SIGTERM");
  process.env.WEFT_DNS_PROXY = RESOLVERS;
  await world.mesh.startDaemon();
  await proxied();
});

test("a pod that is governed no more asks the resolver itself", async () => {
  await world.mesh.weftctl("unenroll", "shop/client");
  await until("no proxy", () => allAsked(VIA.direct));
  await world.mesh.weftctl("enroll", `shop/client=${world.peers.client.pod.path}`);
  await proxied();
});

test("what becomes of the questions is counted by who had the answer, and the pods that ask by the proxy are", async () => {
  const counted = async () => {
    const of = (answer: string) => world.mesh.metric("weft_dns_requests_total", { answer });
    const [mesh, resolver, refused] = await Promise.all(["mesh", "resolver", "refused"].map(of));
    const timed = await world.mesh.metric("weft_dns_answer_seconds_count");
    return { mesh, resolver, refused, timed };
  };
  const before = await counted();
  for (const way of WAYS) await short(NAME, ...way);
  await short("db.weft.test");
  await dig("nothing.weft.test");
  const { mesh = 0, resolver = 0, refused = 0, timed } = before;
  expect(await counted()).toEqual({
    ...{ mesh: mesh + WAYS.length, resolver: resolver + 1, refused: refused + 1 },
    timed: timed + WAYS.length + 2,
  });
  const enrolled = await world.mesh.metric("weft_pods", { state: "named" });
  for (const at of [RESOLVER, RESOLVER6])
    expect(await world.mesh.metric("weft_dns_pods", { resolver: at, state: "proxied" })).toBe(enrolled);
});

test("policies that let nobody in do not keep a pod from its resolver", async () => {
  world.mesh.edit(meshWith([{ name: "nobody", action: "ALLOW", rules: [] }]));
  await until("the policy", async () => {
    const answer = await world.peers.outside.call("ask", { host: "10.77.0.21", port: targetPort });
    return !answer.ok && answer.code === "ECONNREFUSED";
  });
  expect(await allAsked(VIA.proxy)).toBe(true);
  expect(await short(NAME, "+tcp")).toBe("240.240.7.7");
  world.mesh.edit(meshWith([]));
});

test("a resolver that is a service of the mesh is reached at its endpoints when weftd is killed", async () => {
  await world.mesh.endDaemon("SIGTERM");
  process.env.WEFT_DNS_PROXY = vip.dns.ipv4;
  await world.mesh.startDaemon();
  const ask = async (connected: boolean) => {
    const [answer] = await world.peers.client.call("askUdp", {
      host: vip.dns.ipv4,
      port: dnsPort,
      connected,
    });
    return answer?.reply;
  };
  // Where weftd runs nobody has that address: a question that reaches the proxy has no answer.
  await until("the proxy", async () => (await ask(true)) === "TIMEOUT" && (await ask(false)) === "TIMEOUT");
  await world.mesh.endDaemon("SIGKILL");
  expect([await ask(true), await ask(false)]).toEqual([
    ...[expect.stringMatching(/^web-/), expect.stringMatching(/^web-/)],
  ]);
});
