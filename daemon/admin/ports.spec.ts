import { createConnection, createServer } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { createLogs } from "../base/log.js";
import { OpenParts } from "../base/open-parts.js";
import type { HostPort } from "../base/parse.js";
import { label, type Part } from "../telemetry/exposition.js";
import { openPorts } from "./ports.js";
import { listen } from "./server.js";
import { sharedPage } from "./streams.js";
import { testView } from "./test-operator-view.js";

const log = createLogs({ levels: { default: "silent", subsystems: new Map() }, format: "json" }).logger(
  "admin",
);
const free: HostPort = { host: "127.0.0.1", port: 0 };

let open = new OpenParts();
afterEach(async () => {
  await open.close();
  open = new OpenParts();
});

function openOn(
  addresses: Partial<Record<"admin" | "metrics" | "ready", HostPort>>,
  render: () => AsyncGenerator<Part> = page,
) {
  const { admin = free, metrics = free, ready = free } = addresses;
  const where = { adminAddress: admin, metricsAddress: metrics, readyAddress: ready };
  return openPorts({ ...where, view: testView(), page: sharedPage(render), log, open });
}

async function* page(): AsyncGenerator<string> {
  yield "a 1\n";
}

async function opened(render: () => AsyncGenerator<Part> = page) {
  const ports = await openOn({}, render);
  if (!ports.ok) throw ports.error;
  return ports.value;
}

async function failure(host: string, port: number): Promise<[string, string]> {
  const ports = await openOn({ metrics: { host, port } });
  if (ports.ok) throw new Error(`${host}:${port} could be opened`);
  return [ports.error.code, ports.error.message];
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === "object" ? (address?.port ?? 0) : 0;
}

describe("a port that cannot be opened", () => {
  it("says that another of our own has it", async () => {
    const port = await freePort();
    const ports = await openOn({ admin: { host: "127.0.0.1", port }, metrics: { host: "0.0.0.0", port } });
    expect(!ports.ok && ports.error.message).toBe(
      `cannot listen on 0.0.0.0:${port} for metrics: the admin port has it, give each its own with --metrics-address and --admin-address`,
    );
  });

  it("says that the machine lacks the address", async () => {
    expect(await failure("192.0.2.1", 15020)).toEqual([
      "ADDRESS_UNAVAILABLE",
      "cannot listen on 192.0.2.1:15020 for metrics: it is no address of this machine, name one that is, or 0.0.0.0, with --metrics-address",
    ]);
  });

  it("says that a name is not known", async () => {
    const [code, message] = await failure("no-such-host.invalid", 15020);
    expect([code, message]).toEqual(["ADDRESS_UNAVAILABLE", expect.stringContaining("cannot be resolved")]);
  });
});

describe("the open ports", () => {
  it("render one page of metrics for all who ask for it together", async () => {
    let rendered = 0;
    const { metrics } = await opened(async function* () {
      rendered++;
      for (let line = 0; line < 20; line++) {
        await new Promise((resolve) => setTimeout(resolve, 2));
        yield `a{line="${line}"} 1\n`;
      }
    });
    const texts = await Promise.all(
      Array.from({ length: 8 }, async () => (await fetch(`http://${metrics}/metrics`)).text()),
    );
    expect(texts[0]?.split("\n")).toHaveLength(21);
    expect(new Set(texts).size).toBe(1);
    expect(rendered).toBe(1);
  });

  it("lay a large page out for each reader, whether it is slow, compressed, or leaves", async () => {
    const labels = Array.from({ length: 20_000 }, (_, index) =>
      Buffer.from(label("a", `${index}`.repeat(50))),
    );
    const values = BigUint64Array.from(labels, (_, index) => BigInt(index));
    const whole = labels.map((text, index) => `b_total{${text}} ${index}\n`).join("");
    const { metrics } = await opened(async function* () {
      yield { name: "b_total", labels, values };
    });
    const url = `http://${metrics}/metrics`;
    const left = new AbortController();
    const leaving = fetch(url, { signal: left.signal })
      .then((response) => response.text())
      .catch(() => "");
    const slowly = async (coding: string) => {
      const response = await fetch(url, { headers: { "accept-encoding": coding } });
      let text = "";
      for await (const piece of response.body?.pipeThrough(new TextDecoderStream()) ?? []) {
        text += piece;
        left.abort();
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
      return text;
    };
    const texts = await Promise.all(["identity", "gzip", "identity"].map(slowly));
    expect(texts.map((text) => text === whole)).toEqual([true, true, true]);
    await leaving;
  });

  it("render the metrics anew for whoever asks after that", async () => {
    let rendered = 0;
    const { metrics } = await opened(async function* () {
      yield `# page ${++rendered}\n`;
    });
    const ask = async () => (await fetch(`http://${metrics}/metrics`)).text();
    expect([await ask(), await ask()]).toEqual(["# page 1\n", "# page 2\n"]);
  });

  it("give every reader the failure of a page, and the next one a new page", async () => {
    let rendered = 0;
    const { metrics } = await opened(async function* () {
      yield `# page ${++rendered}\n`;
      if (rendered === 1) throw new Error("the maps are gone");
    });
    const ask = async () => (await fetch(`http://${metrics}/metrics`)).text();
    await expect(ask()).rejects.toThrow();
    expect(await ask()).toBe("# page 2\n");
  });

  it("accept no more readers of metrics than a few", async () => {
    const { metrics } = await opened();
    const port = Number(metrics?.split(":")[1]);
    const sockets = Array.from({ length: 40 }, () => createConnection(port, "127.0.0.1"));
    let gone = 0;
    for (const socket of sockets) {
      socket.on("error", () => undefined);
      socket.on("close", () => gone++);
    }
    await expect.poll(() => gone, { timeout: 10_000 }).toBe(24);
    for (const socket of sockets) socket.destroy();
  });

  it("end an answer that its reader does not take", async () => {
    const endless = function* () {
      for (;;) yield "x".repeat(65_536);
    };
    const route = {
      path: "/",
      methods: { GET: () => ({ status: 200, type: "text/plain", pieces: endless() }) },
    };
    const listener = await listen("metrics", free, [route], { log, answerWithin: 300 });
    if (!listener.ok) throw listener.error;
    open.add(() => listener.value.close());
    const socket = createConnection(listener.value.address.port, "127.0.0.1");
    socket.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    socket.pause();
    const closed = new Promise((resolve) => socket.once("close", resolve));
    socket.on("error", () => undefined);
    await new Promise((resolve) => setTimeout(resolve, 600));
    // Only what lay in buffers is left to read; an answer that goes on would never end.
    socket.resume();
    await closed;
  });
});
