// Owns the proof of TLS, tokens and keys' rotation, and that each failure is one line that names its cause:
// real servers on loopback, real certificates.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer as createHttpServer } from "node:http";
import { createServer as createHttpsServer } from "node:https";
import { type AddressInfo, createServer, type Server as NetServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type Metadata, Server, ServerCredentials, status } from "@grpc/grpc-js";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import {
  type ControlPlane,
  type ControlPlaneOptions,
  startControlPlane,
} from "../../cmd/weft-xds/control-plane.js";
import { until } from "../../lab/wait.js";
import { AggregatedDiscoveryServiceService } from "../../proto/gen/discovery.js";
import { Authority, type KeyPair } from "../../test/helpers/certificates.js";
import { RunningClient } from "../../test/helpers/xds-client.js";
import { openStream, type TlsOptions } from "./transport.js";

let directory: string;
let mesh: string;
let token: string;
let authority: Authority;
let other: Authority;
let server: KeyPair;
let log: string[];
const open: (() => unknown)[] = [];

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "weft-tls-"));
  mesh = join(directory, "mesh.yaml");
  token = join(directory, "token");
  writeFileSync(mesh, "workloads: [{name: a, addresses: [10.0.0.1]}]\n");
  authority = new Authority(directory, "root");
  other = new Authority(directory, "other");
  server = authority.issue();
});

afterAll(() => rmSync(directory, { recursive: true }));

beforeEach(() => {
  writeFileSync(token, "first-token\n");
  log = [];
});

afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close();
});

async function serve(options: Partial<ControlPlaneOptions> = {}): Promise<ControlPlane> {
  const plane = await startControlPlane({
    listen: "127.0.0.1:0",
    source: { file: mesh },
    tls: server,
    token,
    log: (line) => void log.push(line),
    ...options,
  });
  open.push(() => plane.close());
  return plane;
}

function tlsOptions(options: Partial<TlsOptions> = {}): TlsOptions {
  return { rootCertFile: authority.root, serverName: "localhost", tokenFile: token, ...options };
}

/** A client over TLS to a port of localhost, or of `host`. */
function connect(port: number, options: Partial<TlsOptions> = {}, host = "localhost"): RunningClient {
  return start({ address: `${host}:${port}`, tls: tlsOptions(options) });
}

function start(options: ConstructorParameters<typeof RunningClient>[0]): RunningClient {
  const running = new RunningClient(options);
  open.push(() => running.stop());
  return running;
}

const portOf = ({ address }: ControlPlane) => Number(address.split(":").at(-1));

async function listening(listener: NetServer): Promise<number> {
  await new Promise<void>((resolve) => listener.listen(0, "127.0.0.1", resolve));
  open.push(() => void listener.close());
  return (listener.address() as AddressInfo).port;
}

/** A gRPC server that ends every stream with this status. */
async function refusing(code: status, details: string, seen: Metadata[] = []): Promise<number> {
  const grpc = new Server();
  grpc.addService(AggregatedDiscoveryServiceService, {
    deltaAggregatedResources(call: { metadata: Metadata; emit(event: string, error: object): void }) {
      seen.push(call.metadata);
      call.emit("error", { code, details });
    },
  });
  open.push(() => grpc.forceShutdown());
  const pair = { cert_chain: readFileSync(server.certificate), private_key: readFileSync(server.key) };
  const credentials = ServerCredentials.createSsl(null, [pair], false);
  return new Promise((resolve, reject) => {
    grpc.bindAsync("127.0.0.1:0", credentials, (error, port) => (error ? reject(error) : resolve(port)));
  });
}

describe("TLS", () => {
  it("carries the stream to a server of the right name, and shows token and cluster", async () => {
    const running = connect(portOf(await serve()));
    await running.synced();
    expect(running.client.state()).toMatchObject({
      transport: "tls",
      serverName: "localhost",
      connected: true,
      lastError: null,
    });
    const days = ((running.client.state().rootExpires ?? 0) - Date.now()) / 86_400_000;
    expect(days).toBeGreaterThan(0.9);
    expect(days).toBeLessThan(1.1);

    const seen: Metadata[] = [];
    const refused = connect(await refusing(status.UNAVAILABLE, "later", seen));
    await refused.failure(/later/);
    expect(seen[0]?.get("clusterid")).toEqual(["Kubernetes"]);
    expect(seen[0]?.get("authorization")).toEqual(["Bearer first-token"]);
  });

  it("takes a server by its address, and by a name that is not in the address", async () => {
    const warnings: unknown[] = [];
    const warned = (warning: unknown) => void warnings.push(warning);
    process.on("warning", warned);
    const port = portOf(await serve());
    await connect(port, { serverName: "127.0.0.1" }, "127.0.0.1").synced();
    await connect(port, {}, "127.0.0.1").synced();
    process.off("warning", warned);
    expect(warnings).toEqual([]);
  });

  it("takes a file of several roots", async () => {
    const both = join(directory, "both.pem");
    writeFileSync(both, `${readFileSync(other.root, "utf8")}\n${readFileSync(authority.root, "utf8")}`);
    await connect(portOf(await serve()), { rootCertFile: both }).synced();
  });

  it("sends no token in plain text", async () => {
    const plane = await serve({ tls: undefined, token: undefined });
    const running = start({ address: plane.address });
    await running.synced();
    expect(running.client.state()).toMatchObject({
      transport: "plaintext",
      serverName: null,
      rootExpires: null,
    });
    await expect(serve({ tls: undefined })).rejects.toMatchObject({ code: "CONFIG_INVALID" });
  });

  it("follows a new root, a new server certificate and a new token without a restart", async () => {
    const root = join(directory, "current-root.pem");
    writeFileSync(root, readFileSync(authority.root));
    const first = await serve();
    const running = connect(portOf(first), { rootCertFile: root });
    await running.synced();
    await first.close();

    writeFileSync(token, "second-token\n");
    await serve({ listen: first.address, tls: other.issue() });
    expect(await running.failure(/not signed/)).toMatch(/current-root\.pem.*\[XDS_TLS_FAILED\]$/);
    expect(running.client.state().connected).toBe(false);
    writeFileSync(root, readFileSync(other.root));
    await running.connected(2);
    expect(running.client.state()).toMatchObject({ connected: true, lastError: null });
    expect(log.filter((line) => line.includes("not let in"))).toEqual([]);
  });

  it("reads the token again for every stream", async () => {
    const plane = await serve();
    const stale = join(directory, "stale");
    writeFileSync(stale, "old-token");
    const running = connect(portOf(plane), { tokenFile: stale });
    expect(await running.failure()).toMatch(/it refused the token .*stale/);
    writeFileSync(stale, "first-token");
    await running.synced();
    expect(running.client.state().lastError).toBeNull();
  });
});

describe("a failure is one line that names its cause", () => {
  /** The line that is told, in status and as the one warning in the log. */
  async function lineOf(running: RunningClient): Promise<string> {
    const line = await running.failure();
    expect(running.log.filter((text) => text.startsWith("warn: "))).toEqual([`warn: ${line}`]);
    expect(line).not.toMatch(/\n|Resolution note|Last error|\d{4}-\d\d-\d\dT[^ ]*\)/);
    await running.stop();
    return line;
  }

  const line = (port: number, options: Partial<TlsOptions> = {}, host?: string) =>
    lineOf(connect(port, options, host));

  it("wrong authority", async () => {
    const port = portOf(await serve());
    expect(await line(port, { rootCertFile: other.root })).toBe(
      `no stream to localhost:${port}: its certificate is not signed by ${other.root}: is that the root of this mesh? (unable to verify the first certificate) [XDS_TLS_FAILED]`,
    );
  });

  it("wrong server name, of names and of addresses", async () => {
    const port = portOf(await serve());
    expect(await line(port, { serverName: "istiod.istio-system.svc" })).toBe(
      `no stream to localhost:${port}: its certificate is for DNS:localhost, IP Address:127.0.0.1, not for istiod.istio-system.svc: name one of them with --xds-server-name [XDS_TLS_FAILED]`,
    );
    const named = portOf(await serve({ tls: authority.issue({ names: "DNS:istiod.istio-system.svc" }) }));
    expect(await line(named, { serverName: "127.0.0.1" }, "127.0.0.1")).toMatch(
      /its certificate is (for .*, )?not for 127\.0\.0\.1: name (one of them|another) with --xds-server-name.*\[XDS_TLS_FAILED\]$/,
    );
  });

  it("expired certificate of the server", async () => {
    const port = portOf(await serve({ tls: authority.issue({ days: -1 }) }));
    expect(await line(port)).toBe(
      `no stream to localhost:${port}: its certificate has expired: renew it there, or check this node's clock [XDS_TLS_FAILED]`,
    );
  });

  it("expired root", async () => {
    const old = new Authority(directory, "old", { days: -1 });
    const port = portOf(await serve({ tls: old.issue() }));
    expect(await line(port, { rootCertFile: old.root })).toMatch(
      /: the root certificate .*old\.pem expired at \d{4}-\d\d-\d\dT.* \[XDS_TLS_FAILED\]$/,
    );
  });

  it.each([
    ["missing", undefined, /the root certificate .* cannot be read \(ENOENT: /],
    ["a directory", "/", /the root certificate \/ cannot be read \(EISDIR: /],
    ["empty", "", /holds no certificate: expected PEM/],
    [
      "something else",
      "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
      /holds a certificate that/,
    ],
  ])("root certificate file: %s", async (_, content, expected) => {
    const file = content === "/" ? "/" : join(directory, "bad-root.pem");
    rmSync(join(directory, "bad-root.pem"), { force: true });
    if (content !== undefined && content !== "/") writeFileSync(file, content);
    const told = await line(1, { rootCertFile: file });
    expect(told).toMatch(expected);
    expect(told).toMatch(/mount istio-ca-root-cert, or name it with --xds-root-cert \[XDS_TLS_FAILED\]$/);
  });

  it.each([
    ["missing", undefined, /the token .*bad-token cannot be read \(ENOENT: /],
    ["empty", "\n", /the token .*bad-token is empty/],
    ["something else", "a\nb", /bad-token holds no token/],
  ])("token file: %s", async (_, content, expected) => {
    const file = join(directory, "bad-token");
    rmSync(file, { force: true });
    if (content !== undefined) writeFileSync(file, content);
    const told = await line(1, { tokenFile: file });
    expect(told).toMatch(expected);
    expect(told).toMatch(
      /for the audience istio-ca, or name it with --xds-token-file \[XDS_TOKEN_REFUSED\]$/,
    );
  });

  it("refused token, and expired token", async () => {
    const port = portOf(await serve());
    const wrong = join(directory, "wrong");
    writeFileSync(wrong, "wrong-token");
    expect(await line(port, { tokenFile: wrong })).toBe(
      `no stream to localhost:${port}: it refused the token ${wrong}: is the audience istio-ca, and does it know the cluster that --cluster-id names? (the token is not the one expected) [XDS_TOKEN_REFUSED]`,
    );
    const claims = Buffer.from(JSON.stringify({ exp: 1_000_000_000 })).toString("base64url");
    writeFileSync(wrong, `eyJhbGciOiJub25lIn0.${claims}.x`);
    expect(await line(port, { tokenFile: wrong })).toContain(
      `the token ${wrong} expired at 2001-09-09T01:46:40.000Z`,
    );
  });

  it.each([
    [
      status.PERMISSION_DENIED,
      "authorization failed: no identities ([spiffe://cluster.local/ns/x/sa/y]) matched istio-system/",
      /does not let this node in: the token must be one of --pod-namespace.* \[XDS_TOKEN_REFUSED\]$/,
    ],
    [
      status.UNKNOWN,
      "ztunnel requires PILOT_ENABLE_AMBIENT=true",
      /istiod runs without ambient: set PILOT_ENABLE_AMBIENT=true in it .* \[XDS_REFUSED\]$/,
    ],
    [
      status.INVALID_ARGUMENT,
      "no valid IP address in the service node id or metadata",
      /how this node introduces itself: .*--pod-address \(no valid IP.* \[XDS_REFUSED\]$/,
    ],
    [
      status.UNAVAILABLE,
      "server warmup not complete; try again",
      /: server warmup not complete; try again \[/,
    ],
    [
      status.RESOURCE_EXHAUSTED,
      "request rate limit exceeded",
      /it answered RESOURCE_EXHAUSTED: request rate/,
    ],
  ])("the server's answer %i", async (code, details, expected) => {
    expect(await line(await refusing(code, details))).toMatch(expected);
  });

  it("a token asked for in plain text", async () => {
    const grpc = new Server();
    grpc.addService(AggregatedDiscoveryServiceService, {
      deltaAggregatedResources(call: { emit(event: string, error: object): void }) {
        call.emit("error", { code: status.UNAUTHENTICATED, details: "who are you" });
      },
    });
    open.push(() => grpc.forceShutdown());
    const port = await new Promise<number>((resolve) => {
      grpc.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (_, bound) => resolve(bound));
    });
    expect(await lineOf(start({ address: `127.0.0.1:${port}` }))).toMatch(
      /it wants a token, which is sent over TLS only: use its TLS port \(who are you\) \[XDS_TOKEN_REFUSED\]$/,
    );
  });

  it("plain text to a TLS port", async () => {
    const plane = await serve();
    expect(await lineOf(start({ address: plane.address }))).toBe(
      `no stream to ${plane.address}: what listens there speaks no plain gRPC: is this its TLS port? then set --xds-tls [XDS_REFUSED]`,
    );
  });

  it("TLS to a plain-text port", async () => {
    const port = portOf(await serve({ tls: undefined, token: undefined }));
    expect(await line(port)).toBe(
      `no stream to localhost:${port}: it does not speak TLS: is this its plain-text port? then set --xds-tls=false [XDS_TLS_FAILED]`,
    );
  });

  it("another protocol: HTTP, HTTPS, gRPC without xDS, and one that hangs up", async () => {
    const http = await listening(createHttpServer((_, answer) => void answer.end("hello")));
    expect(await lineOf(start({ address: `127.0.0.1:${http}` }))).toMatch(/speaks no plain gRPC/);
    expect(await line(http)).toMatch(/it does not speak TLS/);
    const pair = { cert: readFileSync(server.certificate), key: readFileSync(server.key) };
    const https = await listening(createHttpsServer(pair, (_, answer) => void answer.end("hello")));
    expect(await line(https)).toMatch(/not gRPC|TLS handshake/);
    const empty = new Server();
    open.push(() => empty.forceShutdown());
    const port = await new Promise<number>((resolve) => {
      empty.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (_, bound) => resolve(bound));
    });
    expect(await lineOf(start({ address: `127.0.0.1:${port}` }))).toMatch(
      /it speaks gRPC, but not xDS: check the port/,
    );
    const rude = await listening(createServer((socket) => void socket.destroy()));
    expect(await line(rude)).toMatch(/ended the connection during the TLS handshake/);
    expect(await lineOf(start({ address: `127.0.0.1:${rude}` }))).toMatch(/speaks no plain gRPC/);
  });

  it("nothing listens", async () => {
    const expected =
      "nothing listens there: check --xds-address, and that the control plane runs [XDS_REFUSED]";
    expect(await line(1)).toBe(`no stream to localhost:1: ${expected}`);
    expect(await lineOf(start({ address: "127.0.0.1:1" }))).toBe(`no stream to 127.0.0.1:1: ${expected}`);
  });

  it("nothing listens, and that is known before the stream is read for the first time", async () => {
    const opened = openStream({ address: "127.0.0.1:1" }, "Kubernetes");
    if (!opened.ok) throw opened.error;
    const stream = opened.value;
    open.push(() => stream.close());
    // An unheard "error" of the call ends the process; vitest tells of it as an unhandled error.
    await sleep(200);
    expect(await stream.next()).toMatchObject({ end: "failed", error: { code: "XDS_REFUSED" } });
  });

  it("a name that does not resolve", async () => {
    expect(await line(15012, {}, "name.invalid")).toBe(
      "no stream to name.invalid:15012: its name does not resolve: check --xds-address and this node's DNS [XDS_REFUSED]",
    );
  });

  it.each([["in plain text"], ["over TLS"]])("a server that accepts and says nothing, %s", async (how) => {
    const sockets = new Set<{ destroy(): void }>();
    const port = await listening(
      createServer((socket) => void sockets.add(socket.on("error", () => undefined))),
    );
    open.push(() => {
      for (const socket of sockets) socket.destroy();
    });
    const tls = how === "over TLS" ? tlsOptions() : undefined;
    const running = start({ address: `localhost:${port}`, tls, timing: { connect: 300 } });
    expect(await lineOf(running)).toBe(
      `no stream to localhost:${port}: it cannot be reached: check routes and firewalls (no answer within 0.3 s) [XDS_REFUSED]`,
    );
    await until("the sockets", () => sockets.size > 0);
  });
});
