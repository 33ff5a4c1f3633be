import { mkdirSync, readdirSync, rmdirSync } from "node:fs";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { packageRoot } from "../../daemon/base/package-root.js";
import { createLab, type Lab, type Pod } from "../../lab/lab.js";
import { freePort, type LabMesh, meshWithPlane, program, startMesh } from "../../lab/mesh.js";
import { netnsPath, removeNetns } from "../../lab/netns.js";
import { startPeer } from "../../lab/peer.js";
import { run } from "../../lab/process.js";
import { until } from "../../lab/wait.js";
import { AttachType, loadNative } from "../../native/index.js";

let lab: Lab | undefined;
afterEach(() => lab?.remove());

test("a namespace path that is too long is one line at start, and a refusal later", async () => {
  lab = await createLab();
  const { path } = await lab.pod("shop/web", { ipv4: "10.77.0.11", enrolled: false });
  const long = path.replace("/run/netns/", `/run/netns/${"./".repeat(150)}`);
  const mesh = await startMesh(lab, { yaml: "workloads: []\n", flags: ["--pod", `shop/web=${long}`] });
  const lines = mesh.log("weftd").split("\n");
  expect(lines.filter((line) => line.includes("shop/web"))).toHaveLength(1);
  expect(lines.filter((line) => line.includes("POD_TEXT_TOO_LONG"))).toHaveLength(1);
  const headers = { "content-type": "application/json" };
  const body = JSON.stringify({ namespace: "shop", name: "web", netns: long });
  const answer = await fetch(`${mesh.adminUrl}/pods`, { method: "POST", headers, body });
  expect([answer.status, await answer.json()]).toMatchObject([409, { error: "POD_TEXT_TOO_LONG" }]);
});

test("each enrolment, its end and the reason is a line of the log", async () => {
  lab = await createLab();
  const web = await lab.pod("shop/web", { ipv4: "10.77.0.11", enrolled: false });
  const db = await lab.pod("shop/db", { ipv4: "10.77.0.12", enrolled: false });
  const mesh = await startMesh(lab, { yaml: "workloads: []\n" });
  const lines = () =>
    mesh
      .log("weftd")
      .split("\n")
      .filter((line) => line.includes(" pod "));
  await mesh.weftctl("enroll", `shop/web=${web.path}`);
  await mesh.weftctl("enroll", `shop/web=${db.path}`);
  await mesh.weftctl("enroll", `shop/db=${db.path}`);
  await mesh.weftctl("unenroll", "shop/db");
  expect(lines()).toEqual([
    expect.stringMatching(/pod enrolled .*shop\/web/),
    expect.stringMatching(/pod unenrolled: moved to another network namespace .*shop\/web/),
    expect.stringMatching(/pod enrolled .*shop\/web/),
    expect.stringMatching(/pod unenrolled: its network namespace is shop\/db now .*shop\/web/),
    expect.stringMatching(/pod enrolled .*shop\/db/),
    expect.stringMatching(/pod unenrolled: asked for .*shop\/db/),
  ]);
});

test("what cannot be put in force ends weftd with one line and exit code 1", async () => {
  lab = await createLab();
  const cgroup = join(lab.cgroups.mesh, "short-lived");
  mkdirSync(cgroup);
  const mesh = await meshWithPlane(lab, await freePort(), { flags: ["--cgroup", cgroup] });
  mesh.edit("workloads: []\n");
  const daemon = mesh.launchDaemon();
  await until("weftd serving", () => mesh.log("weftd").includes("weftd serves"));
  rmdirSync(cgroup);
  await mesh.startXds();
  expect(await daemon.exited).toBe(1);
  const failures = mesh
    .log("weftd")
    .split("\n")
    .filter((line) => line.includes("BPF_ATTACH_FAILED"));
  expect(failures, mesh.log("weftd")).toEqual([expect.stringMatching(/^weftd: cannot attach .*short-lived/)]);
});

const CLIENT = "10.77.0.11";
const LATE = "10.77.0.12";
const PORT = 8080;

/** Everything is denied, to everybody. */
const DENY_ALL = `
workloads:
  - {name: client, namespace: shop, addresses: [${CLIENT}]}
  - {name: late, namespace: shop, addresses: [${LATE}]}
policies:
  - {name: none, namespace: shop, action: DENY, rules: [{}]}
`;
const OPEN = DENY_ALL.slice(0, DENY_ALL.indexOf("policies:"));

/** A pod `shop/late` that answers on PORT. */
async function startLate(inLab: Lab): Promise<Pod> {
  const late = await inLab.pod("shop/late", { ipv4: LATE, enrolled: false });
  const peer = await startPeer(inLab, late);
  await peer.call("serveTcp", { host: "0.0.0.0", port: PORT, name: "late" });
  return late;
}

async function startClient(inLab: Lab) {
  const client = await startPeer(inLab, await inLab.pod("shop/client", { ipv4: CLIENT }));
  return () => client.call("ask", { host: LATE, port: PORT });
}

/** How many pods are in a state. */
const podsIn = (mesh: LabMesh, state: string) => mesh.metric("weft_pods", { state });

test("a namespace that comes after weftd is enrolled within a second, and pending until then", async () => {
  lab = await createLab();
  const ask = await startClient(lab);
  const path = netnsPath(`${lab.prefix}-shop-late`);
  const mesh = await startMesh(lab, { yaml: DENY_ALL, flags: ["--pod", `shop/late=${path}`] });
  expect(await podsIn(mesh, "pending")).toBe(1);
  expect((await mesh.weftctl("status")).stdout).toContain("shop/late is pending");
  await startLate(lab);
  await until("the pod enrolled", async () => (await podsIn(mesh, "pending")) === 0, { timeoutMs: 10_000 });
  expect(await ask()).toMatchObject({ ok: false, code: "ECONNREFUSED" });
});

test("of pods that come and go while no weftd runs, the next one enrolls the first and forgets the others", async () => {
  const inLab = await createLab();
  lab = inLab;
  const ask = await startClient(inLab);
  const path = netnsPath(`${inLab.prefix}-shop-late`);
  const mesh = await startMesh(inLab, { yaml: DENY_ALL, flags: ["--pod", `shop/late=${path}`] });
  const gone = await inLab.pod("shop/gone", { ipv4: "10.77.0.77", enrolled: false });
  expect(await mesh.weftctl("enroll", `shop/gone=${gone.path}`)).toMatchObject({ code: 0 });
  const guards = () =>
    readdirSync(join(inLab.bpffs, "weft", "links")).filter((name) => name.startsWith("guard-"));
  const before = guards();
  expect(before).toHaveLength(2);
  await mesh.endDaemon("SIGKILL");
  removeNetns([gone.netns]);
  await startLate(inLab);
  // Nothing governs it, as docs/install.md says.
  expect(await ask()).toMatchObject({ ok: true });
  await mesh.startDaemon();
  expect(await ask()).toMatchObject({ ok: false, code: "ECONNREFUSED" });
  expect(guards()).toHaveLength(2);
  expect(guards()).not.toEqual(before);
  const { stdout } = await mesh.weftctl("status");
  expect(stdout).toContain("shop/late");
  expect(stdout).not.toContain("shop/gone");
});

test("a namespace made anew under the same path is enrolled, also while something keeps the old one", async () => {
  lab = await createLab();
  const ask = await startClient(lab);
  const old = await startLate(lab);
  const mesh = await startMesh(lab, { yaml: DENY_ALL, flags: ["--pod", `shop/late=${old.path}`] });
  expect(await ask()).toMatchObject({ ok: false, code: "ECONNREFUSED" });
  // The peer still runs in it, and must not answer any more.
  await lab.exec(old, ["ip", "link", "del", "eth0"]);
  removeNetns([old.netns]);
  await startLate(lab);
  // It knows the old namespace's hardware address.
  for (const pod of lab.pods.values()) await lab.exec(pod, ["ip", "neigh", "flush", "all"]);
  const isRefused = async () => {
    const answer = await ask();
    return !answer.ok && answer.code === "ECONNREFUSED";
  };
  const isMoved = () => mesh.log("weftd").includes("moved to another network namespace");
  await until("the pod moved", isMoved, { timeoutMs: 10_000 });
  await until("the new namespace guarded", isRefused);
});

test("what is enrolled before the first sync is denied until it is known what applies", async () => {
  lab = await createLab();
  const ask = await startClient(lab);
  const late = await startLate(lab);
  const mesh = await startMesh(lab, { yaml: OPEN });
  expect(await ask()).toMatchObject({ ok: true });
  await mesh.stopXds();
  await mesh.endDaemon("SIGKILL");
  mesh.launchDaemon();
  await until("weftd serving", async () => (await mesh.weftctl("status")).stdout !== "");
  expect(await mesh.weftctl("enroll", `shop/late=${late.path}`)).toMatchObject({ code: 0 });
  expect(await ask()).toMatchObject({ ok: false, code: "ECONNREFUSED" });
  await mesh.startXds();
  await until("the pod known", async () => (await ask()).ok === true, { timeoutMs: 20_000 });
});

test("a hook that refuses fails the call, costs readiness, leaves nothing, and is tried again", async () => {
  lab = await createLab();
  const ask = await startClient(lab);
  const late = await startLate(lab);
  const mesh = await startMesh(lab, { yaml: DENY_ALL });
  const native = loadNative(packageRoot());
  const judge = native.openPinnedProgram(join(lab.bpffs, "weft", "generation-1", "weft_guard"));
  // The kernel takes 64 in a namespace.
  const others = Array.from({ length: 64 }, () => native.linkNetns(judge, late.path, AttachType.skLookup));
  try {
    const refused = await mesh.weftctl("enroll", `shop/late=${late.path}`);
    expect([refused.code === 0, refused.stderr]).toEqual([
      false,
      expect.stringContaining("BPF_ATTACH_FAILED"),
    ]);
    expect(await podsIn(mesh, "failed")).toBe(1);
    expect((await fetch(`http://127.0.0.1:${mesh.ports.ready}/healthz/ready`)).status).toBe(503);
  } finally {
    for (const link of others) link.close();
    judge.close();
  }
  expect(await ask()).toMatchObject({ ok: true });
  await until("the pod enrolled", async () => (await podsIn(mesh, "failed")) === 0, { timeoutMs: 15_000 });
  expect(await ask()).toMatchObject({ ok: false, code: "ECONNREFUSED" });
  expect((await fetch(`http://127.0.0.1:${mesh.ports.ready}/healthz/ready`)).status).toBe(200);
});

test("the namespace that weftd runs in is refused, and its inbound connections go on", async () => {
  lab = await createLab();
  const node = netnsPath(lab.nodeNetns);
  const mesh = await meshWithPlane(lab, await freePort());
  const inNode = ["nsenter", `--net=${node}`, "--"];
  lab.spawnDaemon([...inNode, ...mesh.daemonCommand()], { logFile: mesh.logFile("weftd") });
  await until("weftd serving", () => mesh.log("weftd").includes("weftd serves"));
  const weftctl = [...inNode, ...program("weftctl"), "--admin", mesh.adminUrl];
  const enrolled = await run([...weftctl, "enroll", `kube-system/agent=${node}`]);
  expect([enrolled.code === 0, enrolled.stderr]).toEqual([
    false,
    expect.stringContaining("POD_NETNS_OF_HOST"),
  ]);
  expect(await run([...weftctl, "version"])).toMatchObject({ code: 0 });
});

test("a pod that the control plane does not know is a warning, and weftd is ready", async () => {
  lab = await createLab();
  await lab.pod("shop/stranger", { ipv4: CLIENT });
  const mesh = await startMesh(lab, { yaml: "workloads: []\n" });
  expect(await podsIn(mesh, "unnamed")).toBe(1);
  expect((await mesh.weftctl("status")).stdout).toContain("does not know pod shop/stranger");
});

test("more pods than the first map of names holds are enrolled", async () => {
  lab = await createLab();
  const { path } = await lab.pod("shop/web", { ipv4: CLIENT, enrolled: false });
  const mesh = await startMesh(lab, { yaml: "workloads: []\n" });
  const rows = await mesh.admin("/debug/config_dump/bpf/workload?map=pod_info");
  expect(rows).toMatchObject({ maps: { pod_info: { capacity: 1024 } } });
  const native = loadNative(packageRoot());
  const [name] = readdirSync(join(lab.bpffs, "weft", "state")).filter((file) => file.startsWith("pod_info-"));
  const map = native.openPinnedMap(join(lab.bpffs, "weft", "state", name ?? ""));
  const { keySize, valueSize } = map.info;
  for (let index = 1; index <= 1024; index++) {
    const key = Buffer.alloc(keySize);
    key.writeBigUInt64LE(2n ** 40n + BigInt(index));
    map.update(key, Buffer.alloc(valueSize, "a/b"));
  }
  expect(await mesh.weftctl("enroll", `shop/web=${path}`)).toMatchObject({ code: 0 });
  map.close();
  expect(await mesh.admin("/debug/config_dump/bpf/workload?map=pod_info")).toMatchObject({
    maps: { pod_info: { capacity: 2048 } },
  });
});
