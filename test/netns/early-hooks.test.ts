// Owns the proof of the early hooks on real interfaces: what tc and XDP refuse before the guard, and what a pod's
// namespace forwards, which the guard never sees.

import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { stringify } from "yaml";
import { packageRoot } from "../../daemon/base/package-root.js";
import { createLab, type Lab, type Pod } from "../../lab/lab.js";
import { type LabMesh, startMesh } from "../../lab/mesh.js";
import { netnsPath, sysctl } from "../../lab/netns.js";
import { type Peer, startPeer } from "../../lab/peer.js";
import { check, run } from "../../lab/process.js";
import { slowness, until } from "../../lab/wait.js";
import { AttachType, loadNative } from "../../native/index.js";

const port = 8080;
/** Of pod `web`, which leads to the container inside it. */
const forwarded = 9090;
const hosts = { client: ["10.77.0.11", "fd77::11"], web: ["10.77.0.21", "fd77::21"] } as const;
const second = "10.77.9.21";
const inner = {
  ipv4: "192.168.99.2",
  ipv6: "fd99::2",
  gateway4: "192.168.99.1",
  gateway6: "fd99::1",
} as const;
const REFUSED = "ECONNREFUSED";
const SILENCE = "TIMEOUT";

const deny = { name: "no", namespace: "shop", action: "DENY", rules: [{}], workloads: ["web"] };
const workloads = (["client", "web"] as const).map((name) => ({
  ...{ name, namespace: "shop", serviceAccount: name, addresses: hosts[name] },
}));
const denying = stringify({ workloads, policies: [deny] });
const admitting = stringify({ workloads, policies: [] });

let lab: Lab;
let mesh: LabMesh;
let client: Peer;
let container: Peer;
const flags: string[] = [];

/** How long to wait for an answer that has to come, and for one that must not. */
const patience = (wanted: string) => (wanted === SILENCE ? 600 : 10_000);

async function ask(host: string, at = port, peer = client, timeoutMs = 10_000): Promise<string> {
  const answer = await peer.call("ask", { host, port: at, timeoutMs });
  return answer.ok ? answer.reply : answer.code;
}

/** That the client gets `answer` at the pod's own port and `behind` at the forwarded one, in both families. */
async function expectEverywhere(answer: string, behind = answer): Promise<void> {
  const asked = ([port, wanted]: readonly [number, string]) =>
    hosts.web.map((host) => ask(host, port, client, patience(wanted)));
  const answers = await Promise.all(
    (
      [
        [port, answer],
        [forwarded, behind],
      ] as const
    ).flatMap(asked),
  );
  expect(answers).toEqual([answer, answer, behind, behind]);
}

async function push(yaml: string, answer: string): Promise<void> {
  mesh.edit(yaml);
  await until(
    `${answer} from web`,
    async () => (await ask(hosts.web[0], port, client, patience(answer))) === answer,
  );
}

/** Starts weftd anew with these flags, and waits until these hooks are attached, and no others. */
async function restart(given: readonly string[], hooks: readonly string[]): Promise<void> {
  await mesh.endDaemon("SIGKILL");
  flags.splice(0, flags.length, ...given);
  await mesh.startDaemon();
  await until(`hooks ${hooks.join()}`, async () => (await earlyHooks()).join() === hooks.join());
}

interface Status {
  readonly hooks: readonly { readonly hook: string; readonly target: string; readonly attached: boolean }[];
  readonly warnings: readonly string[];
}
const status = async () => (await mesh.admin("/status")) as Status;

/** Kind and interface of those that are attached. */
async function earlyHooks(): Promise<string[]> {
  const { hooks } = await status();
  return hooks
    .filter(({ hook, attached }) => attached && /^(tc$|xdp )/.test(hook))
    .map(({ hook, target }) => `${hook}: ${target.split(" of ")[0]} ${/web|client|node/.exec(target)?.[0]}`)
    .sort();
}

const tcHooks = ["tc: eth0 client", "tc: eth0 web", "tc: in0 web"];
const xdpHooks = (mode: string) => tcHooks.map((hook) => hook.replace("tc", `xdp ${mode}`));

/** A container inside pod `web`, which has a port of the pod's forwarded to it, and goes out by the pod. */
async function buildContainer(web: Pod): Promise<Peer> {
  const netns = `${lab.prefix}-inner`;
  const ip = (where: string, lines: readonly string[]) =>
    check(["ip", "-n", where, "-batch", "-"], { input: `${lines.join("\n")}\n` });
  await check(["ip", "netns", "add", netns]);
  await ip(web.netns, [
    `link add in0 type veth peer name eth0 netns ${netns}`,
    `addr add ${inner.gateway4}/24 dev in0`,
    `addr add ${inner.gateway6}/64 dev in0 nodad`,
    "link set in0 up",
  ]);
  await ip(netns, [
    "link set lo up",
    `addr add ${inner.ipv4}/24 dev eth0`,
    `addr add ${inner.ipv6}/64 dev eth0 nodad`,
    "link set eth0 up",
    `route add default via ${inner.gateway4}`,
    `route add ::/0 via ${inner.gateway6}`,
  ]);
  await sysctl(web.netns, { "net.ipv4.ip_forward": 1, "net.ipv6.conf.all.forwarding": 1 });
  const nat = (family: string, to: string) => `table ${family} nat {
    chain in { type nat hook prerouting priority dstnat;
      iif eth0 tcp dport ${forwarded} dnat to ${to}
    }
    chain out { type nat hook postrouting priority srcnat;
      oif eth0 masquerade
    }
  }`;
  const rules = `${nat("ip", `${inner.ipv4}:${port}`)}\n${nat("ip6", `[${inner.ipv6}]:${port}`)}`;
  await check(["nsenter", `--net=${web.path}`, "--", "nft", "-f", "-"], { input: rules });
  const pod = {
    name: "shop/inner",
    netns,
    path: netnsPath(netns),
    enrolled: false,
    ipv4: undefined,
    ipv6: undefined,
  };
  return await startPeer(lab, pod);
}

beforeAll(async () => {
  lab = await createLab();
  const asking = await lab.pod("shop/client", { ipv4: hosts.client[0], ipv6: hosts.client[1] });
  const serving = await lab.pod("shop/web", {
    ...{ ipv4: hosts.web[0], ipv6: hosts.web[1], more: [`${second}/16`, "fe80::21/64"] },
  });
  await check(["ip", "-n", asking.netns, "addr", "add", "fe80::11/64", "dev", "eth0", "nodad"]);
  const [peer, web, within] = await Promise.all([
    startPeer(lab, asking),
    startPeer(lab, serving),
    buildContainer(serving),
  ]);
  client = peer;
  container = within;
  await client.call("serveTcp", { host: "::", port, name: "client" });
  await web.call("serveTcp", { host: "::", port, name: "web" });
  await container.call("serveTcp", { host: "::", port, name: "container" });
  mesh = await startMesh(lab, { yaml: admitting, flags });
}, 60_000);
afterAll(() => lab?.remove());

test("without an early hook what a pod forwards is not judged, and a warning says so", async () => {
  await expectEverywhere("web", "container");
  await push(denying, REFUSED);
  await expectEverywhere(REFUSED, "container");
  const { warnings } = await status();
  expect(warnings.filter((warning) => warning.includes("--authz-hook tc"))).toEqual([
    expect.stringContaining("shop/web"),
  ]);
});

test("another program on sk_lookup, which may override the guard, is told of", async () => {
  const native = loadNative(packageRoot());
  const { path, name } = client.pod;
  const found = async () =>
    (await status()).warnings.filter((line) => line.includes("another sk_lookup program"));
  expect(await found()).toEqual([]);
  // enum bpf_prog_type; struct bpf_insn: r0 = SK_PASS; exit.
  const instructions = Uint8Array.from([0xb7, 0, 0, 0, 1, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0]);
  const program = native.loadProgram({
    type: 30,
    attachType: AttachType.skLookup,
    name: "other",
    instructions,
  });
  const link = native.linkNetns(program, path, AttachType.skLookup);
  try {
    await mesh.weftctl("enroll", `${name}=${path}`);
    expect(await found()).toEqual([expect.stringMatching(/^shop\/client: /)]);
    expect(await mesh.metric("weft_blind_spots", { kind: "other_sk_lookup" })).toBe(1);
  } finally {
    link.close();
    program.close();
  }
});

test("tc refuses at once what is for the pod, forwarded or not, at each of its addresses", async () => {
  await restart(["--authz-hook", "tc"], tcHooks);
  await expectEverywhere(REFUSED);
  expect(await Promise.all([ask(second), ask(second, forwarded), ask("fe80::21%eth0")])).toEqual([
    ...[REFUSED, REFUSED, REFUSED],
  ]);
  expect((await client.call("ask", { host: hosts.web[0], port: forwarded })).ms).toBeLessThan(900 * slowness);
  expect((await status()).warnings.filter((warning) => warning.includes("forward"))).toEqual([]);
  const counted = () => mesh.metric("weft_policy_early_denials_total", { policy: "shop/no" });
  await until("the denials counted", async () => (await counted()) >= 6);
  await until("a line", () =>
    mesh.accessLog().some((line) => / event=denied, .*policy=shop\/no, hook=tc$/.test(line)),
  );
});

test("what goes out through the pod is not judged as coming in", async () => {
  expect(await ask(hosts.client[0], port, container)).toBe("client");
  expect(await ask(hosts.client[1], port, container)).toBe("client");
});

test("whom the policies admit goes through, with any amount of data", async () => {
  await push(admitting, "web");
  await expectEverywhere("web", "container");
  const send = `const s=require("net").connect(${port},"${hosts.web[0]}");
    s.write(Buffer.alloc(16e6,65));s.write("\\n");s.once("data",()=>process.exit(0));`;
  expect((await lab.exec(client.pod, [process.execPath, "-e", send])).code).toBe(0);
  await push(denying, REFUSED);
});

test("the hook outlives the daemon, and a new one puts its program behind the same links", async () => {
  const pins = () =>
    readdirSync(join(lab.bpffs, "weft", "links")).filter((name) => name.startsWith("early-tc-"));
  const before = pins();
  expect(before).toHaveLength(3);
  await mesh.endDaemon("SIGKILL");
  await expectEverywhere(REFUSED);
  const during = client.call("askFor", { host: hosts.web[0], port: forwarded, ms: 1_500, timeoutMs: 600 });
  await mesh.startDaemon();
  expect(Object.keys((await during).replies)).toEqual([]);
  expect(pins()).toEqual(before);
});

test("an interface that comes later gets the hook, and one that goes takes it along", async () => {
  const { netns, path, name } = client.pod;
  const look = () => mesh.weftctl("enroll", `${name}=${path}`);
  await check(["ip", "-n", netns, "link", "add", "late0", "type", "bridge"]);
  expect((await look()).code).toBe(0);
  expect(await earlyHooks()).toContain("tc: late0 client");
  await check(["ip", "-n", netns, "link", "del", "late0"]);
  expect((await look()).code).toBe(0);
  expect(await earlyHooks()).toEqual(tcHooks);
});

test("taken back, it is gone", async () => {
  await restart(["--xdp-deny", "reset"], []);
  expect((await status()).warnings).toContainEqual(expect.stringMatching(/^xdp-deny is not used/));
  await expectEverywhere(REFUSED, "container");
});

test.each([
  ["native", "drop", SILENCE],
  ["generic", "reset", REFUSED],
] as const)("XDP, %s, with --xdp-deny %s", async (mode, answer, wanted) => {
  await restart(["--authz-hook", "xdp", "--xdp-deny", answer], xdpHooks(mode));
  await expectEverywhere(wanted);
  await push(admitting, "web");
  await expectEverywhere("web", "container");
  await push(denying, wanted);
  await until("a line", () => mesh.accessLog().some((line) => line.includes("hook=xdp")));
});

test("XDP on an interface of the node finds the pod by the destination", async () => {
  const onNode = ["--host-netns", netnsPath(lab.nodeNetns), "--xdp-interface", "pod0"];
  await restart(["--authz-hook", "xdp", ...onNode], ["xdp native: pod0 node"]);
  await expectEverywhere(SILENCE);
  expect(await ask(hosts.client[0], port, container)).toBe("client");
  await push(admitting, "web");
  await expectEverywhere("web", "container");
  await restart([], []);
});

test("uninstall leaves nothing on any interface", async () => {
  await mesh.endDaemon("SIGTERM");
  expect((await mesh.uninstall()).code).toBe(0);
  expect(existsSync(join(lab.bpffs, "weft"))).toBe(false);
  const shown = await run(["ip", "-n", lab.nodeNetns, "-d", "link", "show", "pod0"]);
  expect([shown.code, /xdp/.test(shown.stdout)]).toEqual([0, false]);
});
