import { readFileSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createLab, type Lab } from "../../lab/lab.js";
import { type LabMesh, meshWithPlane } from "../../lab/mesh.js";
import { isListening, until } from "../../lab/wait.js";

let lab: Lab;
let mesh: LabMesh;
beforeAll(async () => {
  lab = await createLab();
  // Nothing listens there: a daemon that waits for its control plane is a daemon all the same.
  mesh = await meshWithPlane(lab, 1, { accessLog: false });
});
afterAll(() => lab?.remove());

/** Whether the process has a handler of its own for a signal (SigCgt of proc(5)). */
function catches(pid: number, signal: number): boolean {
  const mask = /^SigCgt:\s*([0-9a-f]+)$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
  return (BigInt(`0x${mask ?? "0"}`) & (1n << BigInt(signal - 1))) !== 0n;
}

const SIGHUP = 1;

test("a rotation of logs during the start does not end the daemon, and no signal opens a debugger", async () => {
  const daemon = mesh.launchDaemon();
  await until("the handlers", () => catches(daemon.pid, SIGHUP));
  daemon.kill("SIGHUP");
  daemon.kill("SIGUSR1");
  await until("weftd serving", () => {
    expect(daemon.running, mesh.log("weftd")).toBe(true);
    return isListening(daemon.pid, mesh.ports.admin);
  });
  daemon.kill("SIGUSR1");
  expect((await fetch(`${mesh.adminUrl}/version`)).status).toBe(200);
  expect(mesh.log("weftd")).not.toContain("Debugger");
  expect(await mesh.endDaemon("SIGTERM")).toBe(0);
});

test("a stop that is asked for during the start is heeded after it", async () => {
  const daemon = mesh.launchDaemon();
  await until("the handlers", () => catches(daemon.pid, SIGHUP));
  expect(await mesh.endDaemon("SIGINT")).toBe(0);
});

test("a stop that is asked for twice during the start does not wait for it", async () => {
  const daemon = mesh.launchDaemon();
  await until("the handlers", () => catches(daemon.pid, SIGHUP));
  // A signal that comes while the same one waits is lost, hence two of them.
  daemon.kill("SIGINT");
  daemon.kill("SIGTERM");
  expect(await daemon.exited).toBe(1);
});
