import { mkdirSync, rmdirSync } from "node:fs";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { createLab, type Lab } from "../../lab/lab.js";
import { freePort, meshWithPlane, startMesh } from "../../lab/mesh.js";
import { until } from "../../lab/wait.js";

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
