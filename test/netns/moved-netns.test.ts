// Owns the proof that a pod's cookie, inode and hook come from one and the same namespace, whatever its path leads to
// a moment later.

import { afterEach, expect, test } from "vitest";
import { stringify } from "yaml";
import { createLab, type Lab } from "../../lab/lab.js";
import { freePort, meshWithPlane } from "../../lab/mesh.js";
import { startPeer } from "../../lab/peer.js";
import { runQuietly } from "../../lab/process.js";
import { until } from "../../lab/wait.js";
import { withAddon } from "./addon.js";

const port = 8080;
const vip = "10.96.0.10";
const hosts = { client: "10.77.0.11", old: "10.77.0.21", fresh: "10.77.0.22" } as const;
const everybody = { name: "no", namespace: "shop", action: "DENY", workloads: ["web"], rules: [{}] };

const yaml = stringify({
  workloads: [
    { name: "client", namespace: "shop", addresses: [hosts.client] },
    { name: "web", namespace: "shop", addresses: [hosts.fresh] },
  ],
  services: [{ name: "echo", namespace: "shop", vips: [vip], ports: { 80: port }, endpoints: ["client"] }],
  policies: [everybody],
});

let lab: Lab | undefined;
let moved: string | undefined;
afterEach(() => {
  if (moved !== undefined) runQuietly(["umount", moved]);
  lab?.remove();
});

test("a path that is given to another namespace while its pod is enrolled", async () => {
  lab = await createLab();
  const client = await startPeer(lab, await lab.pod("shop/client", { ipv4: hosts.client }));
  const old = await lab.pod("shop/old", { ipv4: hosts.old, enrolled: false });
  const fresh = await lab.pod("shop/fresh", { ipv4: hosts.fresh, enrolled: false });
  const web = await startPeer(lab, fresh);
  await client.call("serveTcp", { host: "::", port, name: "client" });
  await web.call("serveTcp", { host: "::", port, name: "web" });

  const mesh = await meshWithPlane(lab, await freePort());
  mesh.edit(yaml);
  await mesh.startXds();
  moved = old.path;
  // Once its cookie is known, and before its hook is attached.
  const moving = `{ netnsCookie(path) {
    const cookie = real.netnsCookie(path);
    const { execFileSync } = require("node:child_process");
    const { existsSync, statSync, writeFileSync } = require("node:fs");
    const done = ${JSON.stringify(`${lab.directory}/moved`)};
    const isOld = statSync(path).ino === statSync(${JSON.stringify(old.path)}).ino;
    if (isOld && !existsSync(done)) {
      writeFileSync(done, "");
      execFileSync("mount", ["--bind", ${JSON.stringify(fresh.path)}, ${JSON.stringify(old.path)}]);
    }
    return cookie;
  } }`;
  await withAddon(moving, async () => void (await mesh.startDaemon()));
  expect(await mesh.weftctl("enroll", `shop/web=${old.path}`)).toMatchObject({ code: 0 });

  const isRefused = async () => {
    const answer = await client.call("ask", { host: hosts.fresh, port });
    return !answer.ok && answer.code === "ECONNREFUSED";
  };
  await until("the namespace that is there now being guarded", isRefused);
  const isGoverned = async () => (await web.call("ask", { host: vip, port: 80 })).ok;
  await until("what it opens being governed", isGoverned);
  const isSaid = () => mesh.log("weftd").includes("moved to another network namespace");
  await until("the line of the log", isSaid);
});
