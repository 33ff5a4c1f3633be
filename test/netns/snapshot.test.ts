import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { stringify } from "yaml";
import { createLab, type Lab } from "../../lab/lab.js";
import { type LabMesh, program, startMesh } from "../../lab/mesh.js";
import { type Peer, startPeer } from "../../lab/peer.js";
import { check } from "../../lab/process.js";
import { sleep, until } from "../../lab/wait.js";

const hosts = { client: "10.77.0.11", other: "10.77.0.12", web: "10.77.0.21" } as const;
const vip = "10.99.0.1";
const port = 8080;

const yaml = (policies: readonly object[] = []) =>
  stringify({
    workloads: Object.entries(hosts).map(([name, address]) => ({
      ...{ name, namespace: "shop", serviceAccount: name, addresses: [address] },
    })),
    services: [{ name: "web", namespace: "shop", vips: [vip], ports: { [port]: port }, endpoints: ["web"] }],
    policies,
  });
const notOther = {
  ...{ name: "not-other", namespace: "shop", action: "DENY" },
  rules: [{ principals: ["cluster.local/ns/shop/sa/other"] }],
};

let lab: Lab;
let mesh: LabMesh;
let state: string;
const peers: Record<"client" | "other", Peer> = {} as Record<"client" | "other", Peer>;

beforeEach(async () => {
  lab = await createLab();
  state = join(lab.directory, "state");
  for (const name of ["client", "other"] as const)
    peers[name] = await startPeer(lab, await lab.pod(`shop/${name}`, { ipv4: hosts[name] }));
  // Enrolled by hand, so that it can come while the control plane is away.
  const web = await startPeer(lab, await lab.pod("shop/web", { ipv4: hosts.web, enrolled: false }));
  await web.call("serveTcp", { host: "0.0.0.0", port, name: "web" });
  mesh = await startMesh(lab, {
    yaml: yaml([notOther]),
    flags: ["--state-dir", state, "--sync-timeout", "500ms"],
  });
});
afterEach(() => lab?.remove());

const ask = async (name: "client" | "other", host: string = vip) => {
  const answer = await peers[name].call("ask", { host, port });
  return answer.ok ? answer.reply : answer.code;
};
const pathOf = (pod: string) => lab.pods.get(pod)?.path ?? "";
const file = () => join(state, "snapshot");
/** weftd, with nothing of it left in the kernel, starts without a control plane. */
async function startAlone(): Promise<void> {
  await mesh.stopXds();
  await mesh.endDaemon("SIGKILL");
  await check([...program("weftd"), "uninstall", "--bpffs", lab.bpffs]);
}

test("a start without the control plane enforces what it said last, says so, and enrolls pods under it", async () => {
  await startAlone();
  await mesh.startDaemon();
  await mesh.weftctl("enroll", `shop/web=${pathOf("shop/web")}`);
  // Its service, its endpoint, its policy: none of them from anywhere else.
  await until("the pod governed", async () => (await ask("client")) === "web");
  expect(await ask("other")).toBe("ECONNREFUSED");
  const { stdout } = await mesh.weftctl("status");
  expect(stdout).toMatch(/Snapshot .*state\/snapshot: governs/);
  expect(stdout).toMatch(/warning: no control plane .* the snapshot of what it said until 20\S+ governs/);
  expect(await mesh.metric("weft_xds_snapshot_governs", {})).toBe(1);
  const contact = (await mesh.metric("weft_xds_last_contact_timestamp_seconds", {})) ?? 0;
  expect(Math.abs(Date.now() / 1000 - contact)).toBeLessThan(120);

  // Its word counts again as soon as it is there.
  mesh.edit(yaml([]));
  await mesh.startXds();
  await until("its word", async () => (await ask("other")) === "web");
  expect(await mesh.metric("weft_xds_snapshot_governs", {})).toBe(0);
});

/** Three denials without daemon and control plane. Resolves with the lines that the access log had before. */
async function denyAlone(): Promise<number> {
  await mesh.weftctl("enroll", `shop/web=${pathOf("shop/web")}`);
  await until("the denial", async () => (await ask("other")) === "ECONNREFUSED");
  await mesh.endDaemon("SIGKILL");
  await mesh.stopXds();
  const before = mesh.accessLog().length;
  for (let i = 0; i < 3; i++) expect(await ask("other")).toBe("ECONNREFUSED");
  return before;
}

/** The denials since then are in the access log, with their names. */
async function expectNamed(before: number): Promise<void> {
  const denials = () =>
    mesh
      .accessLog()
      .slice(before)
      .filter((line) => line.includes("event=denied"));
  await until("the denials in the access log", () => denials().length >= 3);
  const named = /src\.workload=other.*dst\.workload=web.*policy=shop\/not-other/;
  expect(denials().filter((line) => !named.test(line))).toEqual([]);
}

test("what was denied while no daemon ran is logged with names by one that starts without the control plane", async () => {
  const before = await denyAlone();
  await mesh.startDaemon();
  await expectNamed(before);
});

test("without a snapshot such records wait for the control plane, however long it is away", async () => {
  const before = await denyAlone();
  rmSync(file());
  mesh.launchDaemon();
  // Longer than --sync-timeout.
  await until("the warning", () => mesh.log("weftd").includes("no complete configuration"));
  await sleep(1_500);
  expect(mesh.accessLog().length).toBe(before);
  await mesh.startXds();
  await expectNamed(before);
});

test("a damaged snapshot is set aside and never trusted: what is not known is denied", async () => {
  await mesh.weftctl("enroll", `shop/web=${pathOf("shop/web")}`);
  await until("the pod governed", async () => (await ask("client")) === "web");
  await startAlone();
  const bytes = readFileSync(file());
  bytes[bytes.length - 3] = (bytes[bytes.length - 3] ?? 0) ^ 1;
  writeFileSync(file(), bytes);
  mesh.launchDaemon();
  await until("the warning", () =>
    /snapshot \S+ is damaged at byte \d+: it is set aside/.test(mesh.log("weftd")),
  );
  await until("the admin port", async () => (await fetch(`${mesh.adminUrl}/status`)).ok);
  await mesh.weftctl("enroll", `shop/web=${pathOf("shop/web")}`);
  expect(await ask("client", hosts.web)).toBe("ECONNREFUSED");
  await until("the other warning", () => mesh.log("weftd").includes("no complete configuration"));
  expect(readFileSync(`${file()}.aside`)).toEqual(bytes);
  await mesh.startXds();
  await until("the pod governed", async () => (await ask("client")) === "web");
});

test("a full disk keeps nothing from being enforced, and no old snapshot stays", async () => {
  await mesh.endDaemon("SIGTERM");
  await check(["mount", "-t", "tmpfs", "-o", "size=16k", "weft-lab", state]);
  try {
    await mesh.startDaemon();
    await until("a snapshot", () => readFileSync(file()).length > 500);
    const many = Array.from({ length: 200 }, (_, i) => ({
      ...structuredClone(notOther),
      name: `not-other-${i}`,
    }));
    mesh.edit(yaml(many));
    await until("the policies", async () => (await mesh.weftctl("status")).stdout.includes("200 policies"));
    expect(() => readFileSync(file())).toThrow(/ENOENT/);
    expect((await mesh.weftctl("status")).stdout).toMatch(/warning: no snapshot is kept \(ENOSPC/);
  } finally {
    await mesh.endDaemon("SIGTERM");
    await check(["umount", state]);
  }
});
