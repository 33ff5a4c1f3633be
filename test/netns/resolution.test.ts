// Owns the proof of service resolution, semantic by semantic, through real sockets: what each client is led to in one
// mesh that has a case of everything. docs/routing.md lists them.

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { stringify } from "yaml";
import { createLab, type Lab } from "../../lab/lab.js";
import { type LabMesh, startMesh } from "../../lab/mesh.js";
import { sysctl } from "../../lab/netns.js";
import { type Peer, startPeer } from "../../lab/peer.js";
import { openSockets, type Sockets, type TestSocket } from "./sockets.js";

const addresses = {
  "shop/client": ["10.77.0.11", "fd77::11"],
  "other/client": ["10.77.0.12", "fd77::12"],
  "far/client": ["10.77.0.13", "fd77::13"],
  "shop/a": ["10.77.0.21", "fd77::21"],
  "shop/b": ["10.77.0.22", "fd77::22"],
  "shop/c": ["10.77.0.23", "fd77::23"],
  /** These serve, but the mesh knows no pod there. */
  "shop/outside": ["10.77.0.91", "fd77::91"],
  "shop/stranger": ["10.77.0.92", "fd77::92"],
} as const;
type PodName = keyof typeof addresses;
const servers = ["shop/a", "shop/b", "shop/c", "shop/outside", "shop/stranger"] as const;
const OUTSIDE = ["shop/outside", "shop/stranger"];
const PORT = 8080;
const LISTED = 6379;

const here = { network: "net", node: "node", locality: { region: "r1", zone: "z1", subzone: "s1" } };
const away = { network: "net", node: "elsewhere", locality: { region: "r2", zone: "z2", subzone: "s2" } };
const waypoint = { address: "10.77.0.99", port: 15008 };

const workload = (name: string, fields: object = {}) => ({ name, namespace: "shop", ...fields });
const entryAt = (name: string, address: string) =>
  workload(name, {
    uid: `Kubernetes/networking.istio.io/ServiceEntry/shop/${name}/${address}`,
    addresses: [address],
    tunnelProtocol: "NONE",
  });

const workloads = [
  workload("client", { addresses: addresses["shop/client"], ...here }),
  { name: "client", namespace: "other", addresses: addresses["other/client"], ...here },
  { name: "client", namespace: "far", addresses: addresses["far/client"], ...here },
  workload("a", { addresses: addresses["shop/a"], ...here }),
  workload("b", { addresses: addresses["shop/b"], ...away }),
  workload("c", { addresses: addresses["shop/c"], ...away }),
  workload("b-only-ipv4", { uid: "x/b4", addresses: [addresses["shop/b"][0]], networkMode: "HOST_NETWORK" }),
  workload("a-weightless", {
    uid: "x/a0",
    addresses: addresses["shop/a"],
    capacity: 0,
    networkMode: "HOST_NETWORK",
  }),
  workload("b-unhealthy", {
    uid: "x/b-",
    addresses: addresses["shop/b"],
    status: "UNHEALTHY",
    networkMode: "HOST_NETWORK",
  }),
  workload("b-cluster", {
    uid: "two/b",
    addresses: addresses["shop/b"],
    clusterId: "two",
    networkMode: "HOST_NETWORK",
    ...here,
  }),
  workload("guided", { addresses: ["10.78.0.5"], waypoint }),
  workload("beyond", { addresses: ["10.79.0.5"], network: "elsewhere" }),
  entryAt("leads-on", "10.96.2.20"),
  entryAt("leads-twice", "10.96.2.21"),
  entryAt("at-itself", addresses["shop/outside"][0]),
];

const service = (
  name: string,
  vips: readonly string[],
  endpoints: readonly unknown[],
  fields: object = {},
) => ({
  name,
  namespace: "shop",
  vips,
  ports: { 80: PORT },
  endpoints,
  ...fields,
});
const balanced = (mode: string, routingPreference: readonly string[] = []) => ({
  loadBalancing: { mode, routingPreference },
});
const SCOPES = ["REGION", "ZONE", "SUBZONE", "NODE", "CLUSTER"] as const;

const services = [
  service("mine", ["10.96.2.1"], ["shop/a"], { visibility: "NAMESPACE" }),
  service("theirs", ["10.96.2.1"], ["shop/b"], { namespace: "other", canonical: false }),
  service("best", ["10.96.2.1"], ["shop/c"], { namespace: "third" }),
  service("private", ["10.96.2.2"], ["shop/a"], { visibility: "NAMESPACE" }),
  service("wide", ["10.97.0.0/16"], ["shop/a"]),
  service("narrow", ["10.97.1.0/24"], ["shop/b"], { namespace: "third" }),
  service("exact", ["10.97.1.9"], ["shop/c"], { namespace: "third" }),
  service("legacy", ["10.77.0.0/24"], ["shop/c"], { ports: { [LISTED]: PORT } }),
  service("let-be", ["10.78.0.0/16"], [], balanced("PASSTHROUGH")),
  service("four", ["10.96.2.3", "fd96::2:3"], ["shop/a"], { ipFamilies: "IPV4_ONLY" }),
  service("six", ["10.96.2.4", "fd96::2:4"], ["shop/a"], { ipFamilies: "IPV6_ONLY" }),
  service("only-ipv4", ["fd96::2:5"], ["shop/b-only-ipv4"], { ports: { 80: PORT, 53: 5353 } }),
  service("beyond", ["10.96.2.14"], ["shop/beyond"]),
  service("inner", ["10.96.2.20"], ["shop/a"], { ports: { 80: PORT, 53: 5353 } }),
  service("outer", ["10.96.2.21"], ["shop/leads-on"], { ports: { 80: 80, 81: 81 } }),
  service("outermost", ["10.96.2.22"], ["shop/leads-twice"], { ports: { 80: 80 } }),
  service("at-itself", [addresses["shop/outside"][0]], ["shop/at-itself"]),
  service("host-network", ["10.96.2.6"], ["shop/b-only-ipv4"]),
  service(
    "named",
    ["10.96.2.7"],
    [
      { workload: "shop/a", ports: { 80: PORT } },
      { workload: "shop/b", ports: { 81: PORT } },
    ],
    {
      ports: { 80: 0 },
    },
  ),
  service("weights", ["10.96.2.8"], ["shop/a-weightless", "shop/b"]),
  service("weightless", ["10.96.2.9"], ["shop/a-weightless"]),
  service("unhealthy", ["10.96.2.10"], ["shop/b-unhealthy"], {
    loadBalancing: { healthPolicy: "ALLOW_ALL" },
  }),
  service("strict", ["10.96.2.11"], ["shop/a", "shop/b"], balanced("STRICT", ["NODE"])),
  service("strict-away", ["10.96.2.12"], ["shop/b"], balanced("STRICT", ["NODE"])),
  ...SCOPES.map((scope, index) =>
    service(`near-${scope.toLowerCase()}`, [`10.96.3.${index}`], ["shop/a", "shop/b-cluster", "shop/b"], {
      ...balanced("FAILOVER", [scope]),
      endpoints: ["shop/a", scope === "CLUSTER" ? "shop/b-cluster" : "shop/b"],
    }),
  ),
  service(
    "failover",
    ["10.96.2.13"],
    ["shop/b-unhealthy", "shop/c"],
    balanced("FAILOVER", ["REGION", "ZONE"]),
  ),
];

let lab: Lab;
let mesh: LabMesh;
let peers: Record<PodName, Peer>;
let sockets: Sockets;

beforeAll(async () => {
  lab = await createLab();
  for (const [name, [ipv4, ipv6]] of Object.entries(addresses))
    await lab.pod(name, { ipv4, ipv6, enrolled: !OUTSIDE.includes(name) });
  const started = await Promise.all([...lab.pods.values()].map((pod) => startPeer(lab, pod)));
  peers = Object.fromEntries(started.map((peer) => [peer.pod.name, peer])) as Record<PodName, Peer>;
  for (const name of servers) {
    for (const port of [PORT, LISTED]) await peers[name].call("serveTcp", { host: "::", port, name });
    await peers[name].call("serveUdp", { host: "::", port: 5353, name });
  }
  mesh = await startMesh(lab, { yaml: stringify({ workloads, services, policies: [] }) });
  sockets = await openSockets(lab, peers["shop/client"].pod);
});
afterAll(() => lab?.remove());

/** Who answers, or the error. */
async function who(from: PodName, host: string, port = 80): Promise<string> {
  const answer = await peers[from].call("ask", { host, port });
  return answer.ok ? answer.reply : answer.code;
}

/** All who answer, asked often enough that none of two is missed: once in 10^9. */
async function all(host: string, port = 80): Promise<string[]> {
  const tally = await peers["shop/client"].call("askMany", { host, port, count: 30 });
  return [...Object.keys(tally.replies), ...Object.keys(tally.errors)].sort();
}

async function reason(name: string): Promise<number> {
  const { maps } = (await mesh.admin("/debug/config_dump/bpf/workload?map=reasons")) as {
    maps: Record<string, { entries: { key: { reasonName: string }; value: { count: number } }[] }>;
  };
  return maps.reasons?.entries.find(({ key }) => key.reasonName === name)?.value.count ?? 0;
}

/** Refused at once, and counted by this reason. */
async function expectRefused(why: string, ask: () => Promise<string>): Promise<void> {
  const before = await reason(why);
  expect([await ask(), (await reason(why)) - before]).toEqual(["ECONNREFUSED", 1]);
}

describe("several services on one address", () => {
  test("a client sees its own namespace's first, also one that is not canonical", async () => {
    expect(await who("shop/client", "10.96.2.1")).toBe("shop/a");
    expect(await who("other/client", "10.96.2.1")).toBe("shop/b");
  });

  test("who has none of its own sees the canonical one", async () => {
    expect(await who("far/client", "10.96.2.1")).toBe("shop/c");
  });

  test("one visible to its namespace is unknown to others: they are left alone", async () => {
    expect(await who("shop/client", "10.96.2.2")).toBe("shop/a");
    const before = await reason("passthrough");
    expect(await who("other/client", "10.96.2.2")).toBe("EHOSTUNREACH");
    expect(await reason("passthrough")).toBe(before + 1);
  });
});

describe("blocks", () => {
  test("the narrowest block decides, and an address goes before it", async () => {
    expect(await who("far/client", "10.97.2.1")).toBe("shop/a");
    expect(await who("far/client", "10.97.1.1")).toBe("shop/b");
    expect(await who("far/client", "10.97.1.9")).toBe("shop/c");
  });

  test("a wider block of the client's own namespace goes before a narrower one elsewhere", async () => {
    expect(await who("shop/client", "10.97.1.1")).toBe("shop/a");
    expect(await who("shop/client", "10.97.1.9")).toBe("shop/c");
  });

  test("a block does not take over pods that are known, nor ports that it does not list", async () => {
    expect(await who("shop/client", "10.77.0.22", LISTED)).toBe("shop/b");
    expect(await who("shop/client", "10.77.0.22", PORT)).toBe("shop/b");
    expect(await who("shop/client", "10.77.0.92", PORT)).toBe("shop/stranger");
    expect(await who("shop/client", "10.77.0.92", LISTED)).toBe("shop/c");
  });

  test("a block in mode PASSTHROUGH opens no way around a pod's waypoint", async () => {
    await expectRefused("no_waypoint", () => who("shop/client", "10.78.0.5", PORT));
  });
});

describe("families", () => {
  test("IPV4_ONLY leads to addresses of IPv4, from IPv6 too", async () => {
    expect(await who("shop/client", "10.96.2.3")).toBe("shop/a");
    const answer = await peers["shop/client"].call("ask", { host: "fd96::2:3", port: 80 });
    expect(answer).toMatchObject({ ok: true, reply: "shop/a", remote: "fd96::2:3:80" });
    expect(answer.ok && answer.local.startsWith("::ffff:10.77.0.11:")).toBe(true);
  });

  test("IPV6_ONLY leads to addresses of IPv6, and refuses IPv4", async () => {
    expect(await who("shop/client", "fd96::2:4")).toBe("shop/a");
    await expectRefused("no_address", () => who("shop/client", "10.96.2.4"));
  });

  test("an address of IPv6 leads to endpoints of IPv4 where there are no others", async () => {
    expect(await who("shop/client", "fd96::2:5")).toBe("shop/b");
    const udp = await sockets.open("udp 6");
    await udp.must("connect", "fd96::2:5 53");
    expect(await udp.tell("peer")).toBe("fd96::2:5 53");
    expect(await udp.ask()).toBe("shop/b fd96::2:5 53");
  });

  test("a socket of IPv6 alone, or bound to it, is refused there, as is a datagram without a connection", async () => {
    const only = await sockets.open("tcp 6 only");
    await expectRefused("no_address", () => only.tell("connect", "fd96::2:5 80"));
    const bound = await sockets.open("tcp 6");
    await bound.must("bind", "0 fd77::11");
    await expectRefused("no_address", () => bound.tell("connect", "fd96::2:5 80"));
    const udp = await sockets.open("udp 6");
    await expectRefused("no_address", () => udp.tell("sendto", "fd96::2:5 53"));
  });
});

describe("endpoints that are a service's address", () => {
  test("lead on to the endpoints of that service, on the ports that it lists", async () => {
    expect(await who("shop/client", "10.96.2.21")).toBe("shop/a");
    await expectRefused("chained_nowhere", () => who("shop/client", "10.96.2.21", 81));
  });

  test("lead on once: a service behind two others is refused", async () => {
    await expectRefused("chained_nowhere", () => who("shop/client", "10.96.2.22"));
  });

  test("a service at its own endpoint's address leads there", async () => {
    expect(await who("shop/client", addresses["shop/outside"][0])).toBe("shop/outside");
  });
});

describe("endpoints", () => {
  test("a pod reaches its own service, and itself", async () => {
    expect(await who("shop/a", "10.96.2.20")).toBe("shop/a");
    expect(await who("shop/a", addresses["shop/a"][0], PORT)).toBe("shop/a");
  });

  test("one on the host's network is an endpoint, and does not have its address", async () => {
    expect(await who("shop/client", "10.96.2.6")).toBe("shop/b");
    const { maps } = (await mesh.admin("/debug/config_dump/bpf/workload?map=addresses")) as {
      maps: { addresses: { entries: { key: { address: string }; value: { workloadName: string } }[] } };
    };
    const owner = maps.addresses.entries.find(({ key }) => key.address === "10.77.0.22");
    expect(owner?.value.workloadName).toBe("shop/b");
  });

  test("a named port is served by those that map it", async () => {
    expect(await all("10.96.2.7")).toEqual(["shop/a"]);
  });

  test("weight 0 gets nothing, and refuses when there is no other", async () => {
    expect(await all("10.96.2.8")).toEqual(["shop/b"]);
    await expectRefused("no_healthy_endpoint", () => who("shop/client", "10.96.2.9"));
  });

  test("ALLOW_ALL takes unhealthy ones", async () => {
    expect(await all("10.96.2.10")).toEqual(["shop/b"]);
  });
});

test("a service of another network's endpoints, and a workload there, are refused", async () => {
  await expectRefused("remote_network", () => who("shop/client", "10.96.2.14"));
  await expectRefused("remote_network", () => who("shop/client", "10.79.0.5", PORT));
});

describe("locality", () => {
  test("STRICT keeps those that share every scope, and refuses without one", async () => {
    expect(await all("10.96.2.11")).toEqual(["shop/a"]);
    await expectRefused("no_local_endpoint", () => who("shop/client", "10.96.2.12"));
  });

  test.each(
    SCOPES.map((scope, index) => [scope, `10.96.3.${index}`]),
  )("FAILOVER by %s keeps the nearer one", async (_, vip) => {
    expect(await all(vip)).toEqual(["shop/a"]);
  });

  test("FAILOVER goes far when nothing near is healthy", async () => {
    expect(await all("10.96.2.13")).toEqual(["shop/c"]);
  });
});

describe("sockets as applications use them", () => {
  /** Asks over a connection; the answer, and whom the socket takes for its peer. */
  async function answerOf(socket: TestSocket): Promise<string[]> {
    const [name] = (await socket.ask()).split(" ");
    return [name ?? "", await socket.tell("peer")];
  }
  const answered = ["shop/a", "10.96.2.20 80"];

  test("bound before connecting, and transparent", async () => {
    for (const option of [undefined, "transparent"]) {
      const socket = await sockets.open("tcp 4");
      if (option !== undefined) await socket.must(option);
      await socket.must("bind", "0 10.77.0.11");
      await socket.must("connect", "10.96.2.20 80");
      expect(await answerOf(socket)).toEqual(answered);
    }
  });

  test("TCP fast open, asked for when sending and when connecting", async () => {
    // Without a cookie of the server: the first SYN bears data.
    await sysctl(peers["shop/client"].pod.netns, { "net.ipv4.tcp_fastopen": 5 });
    const sending = await sockets.open("tcp 4");
    await sending.must("fast", "10.96.2.20 80");
    expect((await sending.tell("recv", 2_000)).split(" ")[0]).toBe("shop/a");
    expect(await sending.tell("peer")).toBe("10.96.2.20 80");
    const connecting = await sockets.open("tcp 4");
    await connecting.must("eager");
    await connecting.must("connect", "10.96.2.20 80");
    expect(await answerOf(connecting)).toEqual(answered);
  });

  test.each(["", "polled"])("io_uring connects and sends as others do %s", async (how) => {
    const tcp = await sockets.open("tcp 4");
    // Fails where the sysctl kernel.io_uring_disabled, or a filter, forbids it: then nothing is proved.
    await tcp.must("ring", `10.96.2.20 80 ${how}`);
    expect(await answerOf(tcp)).toEqual(answered);
    const refused = await sockets.open("tcp 4");
    expect(await refused.tell("ring", `10.96.2.20 81 ${how}`)).toBe("ECONNREFUSED");
    const udp = await sockets.open("udp 4");
    await udp.must("ringto", `10.96.2.20 53 ${how}`);
    expect(await udp.tell("recv", 2_000)).toBe("shop/a 10.96.2.20 53");
  });

  test("sendmmsg, and IP_PKTINFO: each datagram is answered as the virtual address", async () => {
    const many = await sockets.open("udp 4");
    await many.must("many", "10.96.2.20 53");
    for (let i = 0; i < 2; i++) expect(await many.tell("recv", 2_000)).toBe("shop/a 10.96.2.20 53");
    const one = await sockets.open("udp 4");
    await one.must("from", "10.96.2.20 53 10.77.0.11");
    expect(await one.tell("recv", 2_000)).toBe("shop/a 10.96.2.20 53");
  });

  test("one that is used from another namespace belongs to the one that it was made in", async () => {
    const own = await openSockets(lab, peers["shop/client"].pod);
    const [tcp, udp] = [await own.open("tcp 4"), await own.open("udp 4")];
    expect(await own.tell(`leave 0 ${peers["shop/outside"].pod.path}`)).toBe("ok");
    await tcp.must("connect", "10.96.2.20 80");
    expect(await answerOf(tcp)).toEqual(answered);
    expect(await udp.ask("10.96.2.20 53")).toBe("shop/a 10.96.2.20 53");
    // Made outside the mesh, where the address leads nowhere.
    const stranger = await own.open("tcp 4");
    expect(await stranger.tell("connect", "10.96.2.20 80")).toBe("EHOSTUNREACH");
    await own.kill();
  });
});
