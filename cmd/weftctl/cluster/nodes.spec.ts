// Owns the proof that weftctl reaches each node's weftd, by the kubelet's way to a port of a pod.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { type WebSocket, WebSocketServer } from "ws";
import { facts } from "../../../daemon/admin/test-operator-view.js";
import { base, serveEachTest, view } from "../../../daemon/admin/test-server.js";
import { runWeftctl } from "../test-terminal.js";

serveEachTest();

const PODS = "/api/v1/namespaces/weft-system/pods";

let server: Server;
let folder: string;
/** What the API server was asked for. */
let asked: string[];
let pods: object[];

const pod = (node: string, more: object = {}) => ({
  metadata: { name: `weft-${node}` },
  spec: { nodeName: node },
  status: { phase: "Running", conditions: [{ type: "Ready", status: "True" }] },
  ...more,
});

beforeEach(async () => {
  asked = [];
  pods = [pod("n10"), pod("n2")];
  const forwards = new WebSocketServer({ noServer: true, handleProtocols: () => "v4.channel.k8s.io" });
  server = createServer((request, response) => {
    const { pathname } = new URL(request.url ?? "/", "http://api");
    asked.push(pathname);
    if (pathname === PODS) return void response.end(JSON.stringify({ items: pods }));
    if (pathname === "/api/v1/namespaces/shop/pods/cart")
      return void response.end(JSON.stringify({ spec: { nodeName: "n2" } }));
    response.writeHead(404).end("{}");
  });
  server.on("upgrade", (request, socket, head) => {
    asked.push(request.url ?? "");
    if (request.url?.includes("weft-n3")) return void socket.end("HTTP/1.1 403 Forbidden\r\n\r\n");
    forwards.handleUpgrade(request, socket, head, lead);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  folder = mkdtempSync(join(tmpdir(), "weft-nodes-"));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const content = {
    "current-context": "test",
    contexts: [{ name: "test", context: { cluster: "here" } }],
    clusters: [{ name: "here", cluster: { server: url } }],
  };
  writeFileSync(join(folder, "config"), JSON.stringify(content));
});

afterEach(() => {
  server.closeAllConnections();
  server.close();
  rmSync(folder, { recursive: true, force: true });
});

/** As the kubelet does: a greeting on both streams, then what a weftd says. */
function lead(remote: WebSocket): void {
  const port = Buffer.from([0x60, 0x3b]);
  for (const stream of [0, 1]) remote.send(Buffer.concat([Buffer.of(stream), port]));
  const socket = connect(Number(new URL(base).port), "127.0.0.1");
  remote.on("message", (message: Buffer) => socket.write(message.subarray(1)));
  remote.on("close", () => socket.destroy());
  socket.on("data", (chunk) => remote.send(Buffer.concat([Buffer.of(0), chunk])));
  socket.on("close", () => remote.close());
  socket.on("error", () => remote.close());
}

const weftctl = (...args: string[]) => runWeftctl([...args, "--kubeconfig", join(folder, "config")]);

it("shows a line for each node, in the nodes' order", async () => {
  const { code, out, err } = await weftctl("status", "--all");
  expect({ code, err }).toEqual({ code: 0, err: "" });
  const [head, ...lines] = out.trimEnd().split("\n");
  expect(head).toMatch(
    /^NODE +STATE +VERSION +UP +CONTROL-PLANE +PODS +WORKLOADS +SERVICES +POLICIES +TROUBLE$/,
  );
  expect(lines.map((line) => line.split(/ +/).slice(0, 3))).toEqual([
    ["n2", "ready", "0.1.0"],
    ["n10", "ready", "0.1.0"],
  ]);
});

it("says of each node that is not well what is wrong, and fails", async () => {
  view.facts = { ...facts, components: [{ name: "xds", ready: false, detail: "no addresses yet" }] };
  const waiting = { reason: "ErrImagePull", message: "no such image" };
  const status = { phase: "Pending", containerStatuses: [{ state: { waiting } }] };
  pods = [pod("n1"), pod("n2", { status }), pod("n3")];
  const { code, out, err } = await weftctl("status", "--all");
  expect({ code, err }).toEqual({ code: 1, err: "weftctl: 3 of 3 nodes are not ready\n" });
  expect(out).toMatch(/n1 +not ready .* xds: no addresses yet/);
  expect(out).toMatch(/n2 +unreachable .* ErrImagePull: no such image/);
  expect(out).toMatch(/n3 +unreachable .* Unexpected server response: 403/);
});

it("says with what words weftd ended where it does not start", async () => {
  const waiting = { reason: "CrashLoopBackOff", message: "back-off 10s restarting failed container" };
  const terminated = { reason: "Error", message: "reading\nweftd: ztunnel is on this node [OTHER_MESH]\n" };
  const containerStatuses = [{ restartCount: 2, state: { waiting }, lastState: { terminated } }];
  pods = [pod("n3", { status: { phase: "Running", containerStatuses } })];
  const { code, out } = await weftctl("status", "--all");
  expect(code).toBe(1);
  expect(out).toMatch(
    /n3 +unreachable .* CrashLoopBackOff: weftd: ztunnel is on this node \[OTHER_MESH\], started anew 2 times\n/,
  );
});

it("asks the weftd of a node, or of the node of a pod", async () => {
  expect((await weftctl("status", "--node", "n10")).out).toContain("weftd 0.1.0");
  expect(asked.at(-1)).toBe(`${PODS}/weft-n10/portforward?ports=15200`);
  expect((await weftctl("--pod", "shop/cart", "version")).out).toContain("daemon  0.1.0");
  expect(asked.at(-1)).toBe(`${PODS}/weft-n2/portforward?ports=15200`);
});

it.each([
  [["--node", "n7"], 3, "no weftd runs on node n7: it runs on n10, n2"],
  [["--pod", "shop/lost"], 1, "there is no pod shop/lost"],
  [["--pod", "cart"], 2, '"cart" is no NAMESPACE/NAME'],
  [["--pod", "shop/cart", "--node", "n2"], 2, "one of --admin, --node and --pod"],
])("refuses %j with words", async (args, code, words) => {
  expect(await weftctl("version", ...args)).toMatchObject({ code, err: expect.stringContaining(words) });
});
