// Owns the proof that weftd itself follows a control plane over TLS, through new keys and tokens, and says how it is.

import { copyFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type ControlPlane, startControlPlane } from "../../cmd/weft-xds/control-plane.js";
import { createLab, type Lab } from "../../lab/lab.js";
import { type LabMesh, meshWithPlane } from "../../lab/mesh.js";
import { until } from "../../lab/wait.js";
import { Authority, type KeyPair } from "../helpers/certificates.js";

let lab: Lab;
let plane: ControlPlane | undefined;

beforeAll(async () => {
  lab = await createLab();
});

afterAll(async () => {
  await plane?.close();
  lab?.remove();
});

async function serve(file: string, token: string, tls: KeyPair, port = 0): Promise<number> {
  plane = await startControlPlane({ listen: `127.0.0.1:${port}`, source: { file }, tls, token });
  return Number(plane.address.split(":").at(-1));
}

/** The line of `weftctl status` about the control plane, once it says this. */
async function statusLine(mesh: LabMesh, pattern: RegExp): Promise<string> {
  return until(`a status with ${pattern}`, async () => {
    const { stdout } = await mesh.weftctl("status");
    return stdout.split("\n").find((line) => line.startsWith("Control plane ") && pattern.test(line));
  });
}

test("weftd follows new roots, certificates and tokens without a restart, and names what is wrong meanwhile", async () => {
  const path = (name: string) => join(lab.directory, name);
  const [file, root, token] = [path("tls-mesh.yaml"), path("root-cert.pem"), path("istio-token")];
  const first = new Authority(lab.directory, "first");
  const second = new Authority(lab.directory, "second");
  writeFileSync(file, "workloads: [{name: a, addresses: [10.77.1.1]}]\n");
  writeFileSync(token, "token-1");
  copyFileSync(first.root, root);
  const port = await serve(file, token, first.issue());

  const flags = [
    "--xds-tls",
    "--xds-server-name",
    "localhost",
    "--xds-root-cert",
    root,
    "--xds-token-file",
    token,
  ];
  const mesh = await meshWithPlane(lab, port, { accessLog: false, flags });
  await mesh.startDaemon();
  expect(await statusLine(mesh, /connected for/)).toMatch(
    /^Control plane 127\.0\.0\.1:\d+ \(TLS as localhost, root certificate until \d{4}-\d\d-\d\d\): connected for /,
  );
  expect(await mesh.admin("/status")).toMatchObject({
    xds: { transport: "tls", serverName: "localhost", lastError: null },
    resources: { workloads: 1 },
  });

  await plane?.close();
  writeFileSync(file, "workloads: [{name: a, addresses: [10.77.1.1]}, {name: b, addresses: [10.77.1.2]}]\n");
  await serve(file, token, second.issue(), port);
  expect(await statusLine(mesh, /XDS_TLS_FAILED/)).toMatch(
    /: waiting for .*its certificate is not signed by /,
  );
  expect(await mesh.metric("weft_xds_connected")).toBe(0);

  copyFileSync(second.root, root);
  writeFileSync(token, "token-2");
  await statusLine(mesh, /connected for/);
  await until("the change made meanwhile", async () => (await mesh.metric("weft_xds_connected")) === 1);
  expect(await mesh.admin("/status")).toMatchObject({
    ready: true,
    xds: { state: "connected", lastError: null },
    resources: { workloads: 2 },
  });
  expect(await mesh.endDaemon("SIGTERM")).toBe(0);
});
