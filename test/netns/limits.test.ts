// Owns the proof that a weftd without descriptors, or without memory, says so and recovers, and that the kernel goes on
// enforcing meanwhile.

import { existsSync, mkdirSync, readdirSync, rmdirSync, writeFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { parse, stringify } from "yaml";
import { cgroupRoot } from "../../lab/cgroup.js";
import { netnsPath } from "../../lab/netns.js";
import { check } from "../../lab/process.js";
import { sleep, until } from "../../lab/wait.js";
import { createWorld, moreServices, vip, type World, webPort, worldYaml } from "./world.js";

const deny = (name: string) => ({
  name,
  action: "DENY",
  rules: [{ principals: [`cluster.local/ns/shop/sa/${name}`] }],
});
const web = { host: vip.web.ipv4, port: webPort };

let world: World;
const idle: Socket[] = [];
let limited: string | undefined;
afterEach(() => {
  for (const socket of idle.splice(0)) socket.destroy();
  world?.remove();
  if (limited !== undefined && existsSync(limited)) rmdirSync(limited);
});

/** Whom all policies let in is let in, and who is denied is denied. */
async function isEnforced(): Promise<void> {
  const { client, other } = world.peers;
  expect((await client.call("askMany", { ...web, count: 20 })).errors).toEqual({});
  expect((await other.call("askMany", { ...web, count: 20 })).replies).toEqual({});
}

const open = () => readdirSync(`/proc/${world.mesh.daemon.pid}/fd`).length;
const limitTo = (limit: number) =>
  check(["prlimit", "--pid", String(world.mesh.daemon.pid), `--nofile=${limit}:`]);

/** Connections to weftd that say nothing, until it ends each at once because it can take no more. */
async function useUp(): Promise<void> {
  for (let ended = 0; ended < 5; ) {
    const socket = connect({ host: "127.0.0.1", port: world.mesh.ports.admin });
    socket.on("error", () => undefined).resume();
    idle.push(socket);
    const end = new Promise((resolve) => socket.once("close", () => resolve(true)));
    ended = (await Promise.race([end, sleep(200)])) === true ? ended + 1 : 0;
  }
}

test("without descriptors weftd does what it can, names the limit, and does the rest when there are some", async () => {
  world = await createWorld({ policies: [deny("other")] }, { accessLog: false });
  const { mesh, peers } = world;
  await until("the stranger denied", async () => !(await peers.other.call("ask", web)).ok);
  const held = await peers.client.call("hold", web);
  const answer = () => peers.client.call("say", { id: held, timeoutMs: 5_000 });
  let limit = 0;
  // Connections that nobody uses any more end meanwhile.
  await until("status naming the limit", async () => {
    await limitTo(open() + 2);
    const { stdout } = await mesh.weftctl("status");
    return /^warning: weftd has \d+ of \d+ file descriptors open: raise RLIMIT_NOFILE/m.test(stdout);
  });
  await until("the metric near the limit", async () => {
    limit = open() + 2;
    await limitTo(limit);
    return (await world.freshMetric("weft_limit_used_ratio", { limit: "descriptors" })) > 0.9;
  });
  await useUp();
  await isEnforced();
  // The maps are open: the verdict follows. To look for what is open already takes descriptors.
  mesh.edit(worldYaml({ policies: [deny("other"), deny("client")] }));
  await until("the client denied", async () => !(await peers.client.call("ask", web)).ok);
  await until("the log naming the limit", () => /ERROR.*RLIMIT_NOFILE/.test(mesh.log("weftd")));
  expect(await answer()).toContain("web-");
  await limitTo(limit + 200);
  await until("the open connection closed", async () => (await answer()) === "CLOSED");
  expect((await mesh.weftctl("status")).stdout).not.toContain("RLIMIT_NOFILE");
});

test("256 descriptors are enough for any number of pods: weftd holds none for one, and restarts with them", async () => {
  world = await createWorld({ policies: [deny("other")] }, { accessLog: false });
  const { lab, mesh } = world;
  const restart = async () => {
    await mesh.endDaemon("SIGTERM");
    await mesh.startDaemon(["prlimit", "--nofile=256"]);
  };
  await restart();
  const names = Array.from({ length: 200 }, (_, index) => `${lab.prefix}-many-${index}`);
  const batch = join(lab.directory, "many");
  writeFileSync(batch, names.map((name) => `netns add ${name}\n`).join(""));
  await check(["ip", "-batch", batch]);
  const before = open();
  const pods = names.map((name, index) => `many/${index}=${netnsPath(name)}`);
  expect(await mesh.weftctl("enroll", ...pods)).toMatchObject({ code: 0 });
  expect(await mesh.metric("weft_pods", { state: "unnamed" })).toBe(pods.length);
  await restart();
  await until(
    "every pod",
    async () => (await mesh.metric("weft_pods", { state: "unnamed" })) === pods.length,
  );
  // Connections come and go meanwhile.
  await until("no descriptor for a pod", () => open() < before + 10);
  expect(mesh.log("weftd")).not.toMatch(/EMFILE|RLIMIT_NOFILE/);
  await isEnforced();
});

const withServices = (count: number, ...policies: object[]) => {
  const mesh = parse(worldYaml({ policies })) as { services: object[] };
  return stringify({ ...mesh, services: [...mesh.services, ...moreServices(count)] });
};

test("without descriptors for larger maps those that there are go on, take in what they can, and grow later", async () => {
  world = await createWorld({ policies: [deny("other")] }, { accessLog: false });
  const { mesh, peers } = world;
  await until("the stranger denied", async () => !(await peers.other.call("ask", web)).ok);
  const capacity = () => mesh.metric("weft_bpf_map_capacity", { map: "targets" });
  const failures = () => mesh.metric("weft_bpf_generation_failures_total");
  const before = await capacity();
  const asked = peers.client.call("askFor", { ...web, ms: 4_000 });
  await limitTo(open() + 10);
  // Two elements each: more than nine tenths of the map, and no more than it has.
  mesh.edit(withServices(before / 2 - 20, deny("other")));
  await until("a growth in vain", async () => (await failures()) > 0);
  expect((await mesh.weftctl("status")).stdout).toMatch(
    /^warning: no larger maps could be made, .*raise RLIMIT_NOFILE/m,
  );
  expect(await mesh.isReady()).toBe(true);
  await isEnforced();
  expect((await asked).errors).toEqual({});
  // What is said meanwhile is in force, and what does not fit is all that is missing.
  mesh.edit(withServices(before, deny("other"), deny("client")));
  await until("the client denied", async () => !(await peers.client.call("ask", web)).ok);
  mesh.edit(withServices(before, deny("other")));
  await until("the client let in", async () => (await peers.client.call("ask", web)).ok);
  await isEnforced();
  expect(await mesh.metric("weft_bpf_map_write_failures_total", { map: "targets" })).toBeGreaterThan(0);
  await limitTo(open() + 500);
  await until("the growth", async () => (await capacity()) > before, { timeoutMs: 100_000 });
  await isEnforced();
  expect((await mesh.weftctl("status")).stdout).not.toMatch(/larger maps|is full/);
  expect(await mesh.weftctl("diff")).toMatchObject({ code: 0, stdout: "" });
});

/** A cgroup whose processes may use so much memory, at most. */
function memoryCgroup(mib: number): string {
  const former = "/sys/fs/cgroup/memory";
  const bytes = String(mib * 1024 * 1024);
  if (existsSync(former)) {
    limited = join(former, world.lab.prefix);
    mkdirSync(limited);
    writeFileSync(join(limited, "memory.limit_in_bytes"), bytes);
    return limited;
  }
  // In the lab, with which it goes.
  const own = join(cgroupRoot(), world.lab.prefix);
  for (const parent of [cgroupRoot(), own]) writeFileSync(join(parent, "cgroup.subtree_control"), "+memory");
  mkdirSync(join(own, "limited"));
  writeFileSync(join(own, "limited", "memory.max"), bytes);
  return join(own, "limited");
}

test("weftd that the kernel ends for want of memory says so when it is back; what it left is enforced", async () => {
  const knobs = { policies: [deny("other")] };
  world = await createWorld(knobs, { accessLog: false });
  const { mesh, peers } = world;
  await until("the stranger denied", async () => !(await peers.other.call("ask", web)).ok);
  const cgroup = memoryCgroup(16);
  // What it has already is its former cgroup's.
  const move = () => writeFileSync(join(cgroup, "cgroup.procs"), String(mesh.daemon.pid));
  move();
  mesh.edit(withServices(10_000, ...knobs.policies));
  expect(await mesh.daemon.exited).toBe(-1);
  await isEnforced();
  mesh.edit(worldYaml(knobs));
  await mesh.startDaemon();
  move();
  expect((await mesh.weftctl("status")).stdout).toMatch(
    /^warning: the kernel has ended 1 processes of weftd's cgroup for want of memory, whose limit is 16 MiB: raise it/m,
  );
  expect(await world.freshMetric("weft_limit_used_ratio", { limit: "memory" })).toBeGreaterThan(0);
  await isEnforced();
});
