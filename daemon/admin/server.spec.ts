import { once } from "node:events";
import { get, type IncomingMessage } from "node:http";
import { connect } from "node:net";
import { gunzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { listen } from "./server.js";
import { ask, base, log, serve, serveEachTest, view } from "./test-server.js";

serveEachTest();

describe("HTTP", () => {
  it("answers errors in one form", async () => {
    expect(await ask("/nothing")).toMatchObject({
      status: 404,
      body: { error: "not found", reason: expect.any(String) },
    });
    expect(await ask("/version/")).toMatchObject({ status: 404 });
    const wrong = await ask("/debug/loggers", { method: "DELETE" });
    expect([wrong.status, wrong.headers.get("allow")]).toEqual([405, "GET, HEAD, POST"]);
    expect(await ask("/pods", { method: "POST", body: "{" })).toMatchObject({ status: 400 });
    expect(await ask("/pods", { method: "POST", body: "x".repeat(70_000) })).toMatchObject({ status: 413 });
    expect(await ask("/pods/%zz/x", { method: "DELETE" })).toMatchObject({ status: 404 });
  });

  it("answers HEAD without a body", async () => {
    for (const path of ["/version", "/debug/config_dump/workload", "/accesslog/tail"]) {
      const response = await fetch(base + path, { method: "HEAD" });
      expect([response.status, await response.text()]).toEqual([200, ""]);
    }
    expect(view.tails).toHaveLength(0);
  });

  it("compresses what is large and repetitive, for whoever takes gzip", async () => {
    const line = 'kmesh_tcp_connections_opened_total{reporter="source",source_workload="client"} 1\n';
    const pieces = function* () {
      for (let index = 0; index < 200; index++) yield line.repeat(100);
    };
    const url = await serve([
      {
        path: "/",
        methods: { GET: () => ({ status: 200, type: "text/plain", pieces: pieces(), isRepetitive: true }) },
      },
      { path: "/tail", methods: { GET: () => ({ status: 200, type: "text/plain", pieces: pieces() }) } },
    ]);
    const read = async (path: string, accepted?: string) => {
      const headers = accepted === undefined ? {} : { "accept-encoding": accepted };
      const request = get(url + path, { headers });
      const [response] = (await once(request, "response")) as [IncomingMessage];
      const body = Buffer.concat(await response.toArray());
      const { "content-encoding": coding = "none", vary } = response.headers;
      return { coding, vary, body };
    };
    const packed = await read("/", "deflate, gzip;q=0.5");
    expect([packed.coding, packed.vary]).toEqual(["gzip", "accept-encoding"]);
    expect(packed.body.length).toBeLessThan(line.length * 1_000);
    const plain = await read("/");
    expect([plain.coding, plain.body.toString()]).toEqual(["none", line.repeat(20_000)]);
    expect(gunzipSync(packed.body).equals(plain.body)).toBe(true);
    expect((await read("/", "gzip;q=0, identity")).coding).toBe("none");
    expect((await read("/tail", "gzip")).coding).toBe("none");
  });

  it("goes on when the reader of a compressed answer leaves", async () => {
    const endless = async function* () {
      for (;;) yield `${Math.random()}`.repeat(1000);
    };
    const url = await serve([
      {
        path: "/",
        methods: { GET: () => ({ status: 200, type: "text/plain", pieces: endless(), isRepetitive: true }) },
      },
      { path: "/next", methods: { GET: () => ({ status: 200, json: {} }) } },
    ]);
    const request = get(url, { headers: { "accept-encoding": "gzip" } });
    const [response] = (await once(request, "response")) as [IncomingMessage];
    await once(response, "data");
    response.destroy();
    expect((await fetch(`${url}/next`)).status).toBe(200);
  });

  it("listens on every address of both families", async () => {
    const listener = await listen("metrics", { host: "::", port: 0 }, [], { log });
    if (!listener.ok) throw listener.error;
    const { port } = listener.value.address;
    try {
      for (const host of ["127.0.0.1", "[::1]"])
        expect((await fetch(`http://${host}:${port}/`)).status).toBe(404);
    } finally {
      await listener.value.close();
    }
  });

  it("keeps out pages and names from elsewhere", async () => {
    const foreign = { headers: { origin: "https://evil.example" } };
    expect(await ask("/version", foreign)).toMatchObject({ status: 403, body: { error: "forbidden" } });
    expect(
      await rawRequest("GET /version HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"),
    ).toMatch(/ 403 /);
    expect(await ask("/version", { headers: { origin: "http://localhost:8080" } })).toMatchObject({
      status: 200,
    });
  });

  it("survives what is no HTTP", async () => {
    expect(await rawRequest("nonsense\r\n\r\n")).toMatch(/^HTTP\/1.1 400 .*"error":"bad request"/s);
    expect(
      await rawRequest("GET http://x/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"),
    ).toMatch(/ 400 /);
    expect(await ask("/version")).toMatchObject({ status: 200 });
  });

  it("turns a bug into 500 and goes on", async () => {
    const failing = await serve([
      {
        path: "/",
        methods: {
          GET: () => {
            throw new Error("boom");
          },
        },
      },
      { path: "/later", methods: { GET: () => ({ status: 200, type: "text/plain", pieces: breaking() }) } },
    ]);
    const response = await fetch(`${failing}/`);
    expect([response.status, await response.json()]).toEqual([
      500,
      { error: "internal error", reason: "boom" },
    ]);
    await expect(fetch(`${failing}/later`).then((later) => later.text())).rejects.toThrow();
  });

  it("says so when the address is taken", async () => {
    const port = Number(new URL(base).port);
    const second = await listen("admin", { host: "127.0.0.1", port }, [], { log });
    expect(!second.ok && [second.error.code, second.error.message]).toEqual([
      "ADDRESS_IN_USE",
      `cannot listen on 127.0.0.1:${port} for admin: another process has it, name another with --admin-address`,
    ]);
  });
});

function* breaking(): Generator<string> {
  yield "begun";
  throw new Error("broken in the middle");
}

function rawRequest(text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(Number(new URL(base).port), "127.0.0.1");
    let answer = "";
    socket.on("data", (chunk) => {
      answer += chunk.toString();
    });
    socket.on("close", () => resolve(answer));
    socket.on("error", reject);
    socket.end(text);
  });
}
