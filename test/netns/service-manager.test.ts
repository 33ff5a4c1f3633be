import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { createLab, type Lab } from "../../lab/lab.js";
import { startMesh } from "../../lab/mesh.js";
import { sleep, slowness, until } from "../../lab/wait.js";

let lab: Lab;
afterEach(() => lab?.remove());

/** Prints every datagram that comes to a UNIX socket, a blank line after each. */
const receiver = `use Socket; socket(S, AF_UNIX, SOCK_DGRAM, 0) or die; bind(S, sockaddr_un($ARGV[0])) or die;
  $| = 1; print "listening\\n\\n"; while (recv(S, $_, 4096, 0), defined) { print "$_\\n\\n" }`;

test("a service manager hears that weftd serves, is alive, is stuck, and stops", async () => {
  lab = await createLab();
  const socket = join(lab.directory, "notify");
  const manager = lab.spawnDaemon(["perl", "-e", receiver, socket]);
  await until("the socket", () => manager.stdout.includes("listening"));
  const heard = (text: string) => manager.stdout.split("\n\n").filter((message) => message.includes(text));
  const environment = { NOTIFY_SOCKET: socket, WATCHDOG_USEC: String(400_000 * slowness) };
  Object.assign(process.env, environment);
  const mesh = await startMesh(lab, { yaml: "workloads: []\n" }).finally(() => {
    for (const name of Object.keys(environment)) delete process.env[name];
  });
  expect(heard("READY=1")).toHaveLength(1);
  await until("a sign of life that says ready", () => heard("WATCHDOG=1\nSTATUS=ready").length >= 2);

  mesh.daemon.kill("SIGSTOP");
  await sleep(200);
  const before = heard("WATCHDOG=1").length;
  await sleep(800 * slowness);
  expect(heard("WATCHDOG=1").length).toBe(before);
  mesh.daemon.kill("SIGCONT");
  await until("a sign of life", () => heard("WATCHDOG=1").length > before);

  expect(await mesh.endDaemon("SIGTERM")).toBe(0);
  await until("the end", () => heard("STOPPING=1").length === 1);
});
