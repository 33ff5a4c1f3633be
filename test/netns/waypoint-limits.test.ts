// Owns the proof that a connection to a waypoint is told or cut off, and never bare, where something else than the
// application is unusual: io_uring, a kernel that lets bytes pass, a full map, weft going away.

import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { stringify } from "yaml";
import { packageRoot } from "../../daemon/base/package-root.js";
import {
  CALL,
  EXIT,
  encode,
  immediate64,
  JEQ_K,
  LDX_DW,
  MOV_K,
  ST_H,
} from "../../daemon/bpf/instructions.js";
import { maps, Reason } from "../../daemon/bpf/maps.gen.js";
import { Pins } from "../../daemon/bpf/pins.js";
import { makeMaps } from "../../daemon/bpf/state.js";
import { createLab, type Lab } from "../../lab/lab.js";
import { type LabMesh, startMesh } from "../../lab/mesh.js";
import { type Peer, startPeer } from "../../lab/peer.js";
import { check } from "../../lab/process.js";
import { until } from "../../lab/wait.js";
import { AttachType, type BpfMap, loadNative } from "../../native/index.js";
import { openSockets, type Sockets, type TestSocket } from "./sockets.js";

const addresses = { client: "10.77.0.11", server: "10.77.0.21", gate: "10.77.0.31" } as const;
type PodName = keyof typeof addresses;
const names = Object.keys(addresses) as PodName[];
const vip = "10.96.5.1";
const told = `${vip} 80 from ${addresses.client}`;

const native = loadNative(packageRoot());
let lab: Lab;
let mesh: LabMesh;
let peers: Record<PodName, Peer>;
let sockets: Sockets;

beforeAll(async () => {
  lab = await createLab();
  for (const name of names) await lab.pod(`shop/${name}`, { ipv4: addresses[name] });
  const started = await Promise.all([...lab.pods.values()].map((pod) => startPeer(lab, pod)));
  peers = Object.fromEntries(started.map((peer) => [peer.pod.name.slice(5), peer])) as Record<PodName, Peer>;
  await peers.gate.call("serveWaypoint", { host: "::", port: 15008 });
  const workloads = names.map((name) => ({ name, namespace: "shop", addresses: [addresses[name]] }));
  const web = {
    ...{ name: "web", namespace: "shop", vips: [vip], ports: { 80: 8080 }, endpoints: ["server"] },
    waypoint: { address: addresses.gate },
  };
  mesh = await startMesh(lab, { yaml: stringify({ workloads, services: [web], policies: [] }) });
  sockets = await openSockets(lab, peers.client.pod);
});
afterAll(() => lab?.remove());
// Whatever the test did.
afterEach(async () => expect(await peers.gate.call("heardBare", undefined)).toBe(0));

function withMap<T>(name: "pending" | "reasons", use: (map: BpfMap) => T): T {
  const map = native.openPinnedMap(new Pins(lab.bpffs).state(name));
  try {
    return use(map);
  } finally {
    map.close();
  }
}

/** As the kernel counts: also while weftd is away. */
function counted(reason: keyof typeof Reason): number {
  const value = withMap("reasons", (map) => map.lookup(maps.reasons.key.encode(Reason[reason])));
  return value === undefined ? 0 : Number(maps.reasons.value.decode(value).count);
}

async function connected(): Promise<TestSocket> {
  const socket = await sockets.open("tcp 4");
  await socket.must("connect", `${vip} 80`);
  return socket;
}

describe("io_uring", () => {
  test.each(["", "polled"])("connects and sends as others do %s", async (how) => {
    const socket = await sockets.open("tcp 4");
    // Fails where the sysctl kernel.io_uring_disabled, or a filter, forbids it: then nothing is proved.
    await socket.must("ring", `${vip} 80 ${how}`);
    // The kernel sends without copying on no socket that is, or was, in a map.
    expect(await socket.tell("ringzc", `${vip} 80 ${how}`)).toBe("EOPNOTSUPP");
    await socket.must("ringto", `${vip} 80 ${how}`);
    expect(await socket.tell("recv", 10_000)).toContain(told);
    expect(await socket.tell("ringzc", `${vip} 80 ${how}`)).toBe("EOPNOTSUPP");
    await socket.must("ringto", `${vip} 80 ${how}`);
    expect(await socket.tell("recv", 10_000)).toContain(told);
  });
});

/** What a kernel does that has no memory for the header: the program is not asked, and the bytes go on. */
const pass = [{ code: MOV_K, to: 0, immediate: 1 }, { code: EXIT }];

/** The same, after it was asked once and TCP took nothing of what it had made: HEADER_OFFERED. */
const passOffered = [
  { code: LDX_DW, to: 2, from: 1, offset: 72 }, // sk of struct sk_msg_md
  { code: JEQ_K, to: 2, offset: 7, immediate: 0 },
  ...immediate64(1, 0, 0),
  { code: MOV_K, to: 3, immediate: 0 },
  { code: MOV_K, to: 4, immediate: 0 },
  { code: CALL, immediate: 107 }, // bpf_sk_storage_get
  { code: JEQ_K, to: 0, offset: 1, immediate: 0 },
  { code: ST_H, to: 0, offset: 18, immediate: 4 }, // state of struct original
  ...pass,
];

describe("bytes that the kernel lets pass without the header", () => {
  test.each([
    ["", pass, []],
    [", also those after a header that TCP did not take", passOffered, ["originals"]],
  ] as const)("are cut off before a segment leaves%s", async (_, instructions, storages) => {
    const used = storages.map((name) => native.openPinnedMap(new Pins(lab.bpffs).state(name)));
    const program = native.loadProgram({
      ...{ type: 16, attachType: AttachType.skMsgVerdict, name: "pass" },
      instructions: encode(instructions),
      maps: used.map((map) => ({ instruction: 2, map })),
    });
    withMap("pending", (map) => native.attachToMap(program, map, AttachType.skMsgVerdict));
    for (const each of [program, ...used]) each.close();
    const cut = counted("WAYPOINT_CUT");
    const socket = await connected();
    await socket.tell("send");
    expect(counted("WAYPOINT_CUT")).toBe(cut + 1);
    expect(await socket.tell("recv", 500)).not.toContain(vip);
    // A new generation has its own there.
    await mesh.endDaemon("SIGTERM");
    await mesh.startDaemon();
    expect(await (await connected()).ask()).toContain(told);
  });
});

describe("weft going away", () => {
  test("gives those that wait silently their header before it goes", async () => {
    await mesh.endDaemon("SIGKILL");
    const silent: number[] = [];
    for (let i = 0; i < 50; i++) silent.push(await peers.client.call("hold", { host: vip, port: 80 }));
    expect(await mesh.uninstall()).toMatchObject({ code: 0, stderr: "" });
    for (const id of silent)
      expect(await peers.client.call("say", { id, timeoutMs: 10_000 })).toContain(told);
  });
});

describe("weft going away before a waypoint answers", () => {
  const nft = (...words: string[]) => check(["ip", "netns", "exec", peers.gate.pod.netns, "nft", ...words]);

  test("ends those that no waypoint has answered", async () => {
    await mesh.startDaemon();
    await nft("add table inet deaf");
    await nft("add chain inet deaf in { type filter hook input priority 0; }");
    await nft("add rule inet deaf in tcp dport 15008 drop");
    const led = counted("TO_WAYPOINT");
    const late = peers.client.call("ask", { host: vip, port: 80, timeoutMs: 20_000 });
    await until("a SYN under way", () => counted("TO_WAYPOINT") > led);
    await mesh.endDaemon("SIGTERM");
    const uninstalled = await mesh.uninstall();
    expect(uninstalled, uninstalled.stderr).toMatchObject({ code: 0, stderr: "" });
    expect(uninstalled.stdout).toContain("1 connections were ended that no waypoint had answered");
    // TCP would have asked again, and the waypoint answered now.
    await nft("delete table inet deaf");
    expect(await late).toMatchObject({ ok: false, code: "ECONNABORTED" });
  });
});

describe("when the map of silent connections is full", () => {
  test("the next one is cut off, and counted; and served when there is room again", async () => {
    makeSmall(2);
    await mesh.startDaemon();
    // So that nobody is kicked.
    await mesh.endDaemon("SIGKILL");
    const silent = [await connected(), await connected()] as const;
    const cut = await connected();
    expect(counted("WAYPOINT_FULL")).toBe(1);
    await cut.tell("send");
    expect(await cut.tell("recv", 500)).not.toContain(vip);
    expect(await silent[0].ask()).toContain(told);
    expect(await (await connected()).ask()).toContain(told);
    expect(await silent[1].ask()).toContain(told);
    expect(counted("WAYPOINT_FULL")).toBe(1);
  });

  /** Makes the map with so few places, where a daemon that starts anew finds it. */
  function makeSmall(places: number): void {
    const pins = new Pins(lab.bpffs);
    pins.prepare();
    const made = makeMaps(native, join(packageRoot(), "build", "bpf"), {}, ["pending"], () => places);
    if (!made.ok) throw made.error;
    made.value.pending.pin(pins.state("pending"));
    made.value.pending.close();
  }
});
