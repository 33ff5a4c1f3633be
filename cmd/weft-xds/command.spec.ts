// Owns the proof of weft-xds's command line around TLS: what is served, and what is refused with which exit code.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { RunningProcess, run } from "../../lab/process.js";
import { until } from "../../lab/wait.js";
import { Authority } from "../../test/helpers/certificates.js";
import { RunningClient } from "../../test/helpers/xds-client.js";

let directory: string;
let mesh: string;
let token: string;

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "weft-xds-command-"));
  [mesh, token] = [join(directory, "mesh.yaml"), join(directory, "token")];
  writeFileSync(mesh, "workloads: [{name: a, addresses: [10.0.0.1]}]\n");
  writeFileSync(token, "s3cret\n");
});

afterAll(() => rmSync(directory, { recursive: true }));

const command = (...args: readonly string[]) => [
  process.execPath,
  ...["--import", "tsx", "cmd/weft-xds.ts", "--file", mesh, "--listen", "127.0.0.1:0", ...args],
];

it("serves TLS to who shows the token", async () => {
  const authority = new Authority(directory, "root");
  const { certificate, key } = authority.issue();
  const xds = new RunningProcess(command("--tls-cert", certificate, "--tls-key", key, "--token", token));
  try {
    const port = await until("weft-xds", () => /on 127\.0\.0\.1:(\d+)/.exec(xds.stdout)?.[1]);
    const tls = { rootCertFile: authority.root, serverName: "localhost", tokenFile: token };
    const running = new RunningClient({ address: `localhost:${port}`, tls });
    await running.synced();
    await running.stop();
    writeFileSync(join(directory, "guess"), "guess");
    const stranger = new RunningClient({
      address: `localhost:${port}`,
      tls: { ...tls, tokenFile: join(directory, "guess") },
    });
    expect(await stranger.failure()).toMatch(/refused the token/);
    await stranger.stop();
    await until("the log", () => /is not let in: the token is not the one expected/.test(xds.stdout));
  } finally {
    expect(await xds.stop()).toBe(0);
  }
});

it.each([
  [["--tls-cert", "/x.pem"], "TLS needs both --tls-cert and --tls-key"],
  [["--tls-cert", "/x.pem", "--tls-key", "/x.key"], "cannot serve TLS with /x.pem and /x.key: ENOENT"],
  [["--token", "/x"], "a token is asked for over TLS only: name --tls-cert and --tls-key"],
])("refuses %j", async (args, expected) => {
  const { code, stderr } = await run(command(...args));
  expect([code, stderr]).toEqual([2, expect.stringContaining(`weft-xds: ${expected}`)]);
});
