// Owns the proof that the client and weft-xds understand each other over real gRPC on loopback.

import { mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { XdsClientOptions } from "../../daemon/xds/client.js";
import { ADDRESS_TYPE } from "../../daemon/xds/resource.js";
import { dumpOf, fixture } from "../../test/conformance/replay.js";
import { service, workload } from "../../test/helpers/wire.js";
import { RunningClient } from "../../test/helpers/xds-client.js";
import { type ControlPlane, type ControlPlaneOptions, startControlPlane } from "./control-plane.js";
import { ServedState } from "./served.js";
import { Session } from "./session.js";

const MESH = `
workloads:
  - {name: a, addresses: [10.0.0.1]}
  - {name: b, addresses: [10.0.0.2]}
services:
  - {name: web, vips: [10.96.0.1], ports: {80: 8080}, endpoints: [a, b]}
policies:
  - {name: p, action: DENY, workloads: [a], rules: [{}]}
`;

let directory: string;
let file: string;
let log: string[];
const open: { close?(): Promise<void>; stop?(): Promise<void> }[] = [];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "weft-xds-"));
  file = join(directory, "mesh.yaml");
  log = [];
});

afterEach(async () => {
  for (const thing of open.splice(0).reverse()) await (thing.stop?.() ?? thing.close?.());
  rmSync(directory, { recursive: true });
});

async function serve(options: Partial<ControlPlaneOptions> = {}): Promise<ControlPlane> {
  const plane = await startControlPlane({
    listen: "127.0.0.1:0",
    source: { file },
    log: (line) => void log.push(line),
    ...options,
  });
  open.push(plane);
  return plane;
}

function connect(address: string, options: Partial<XdsClientOptions> = {}): RunningClient {
  const running = new RunningClient({ address, ...options });
  open.push(running);
  return running;
}

/** Waits for a condition, at most five seconds. */
const until = (condition: () => boolean) =>
  expect.poll(condition, { timeout: 5000, interval: 10 }).toBe(true);

describe("a mesh file over gRPC", () => {
  it("arrives whole, and each edit as what it changed", async () => {
    writeFileSync(file, MESH);
    const plane = await serve();
    const running = connect(plane.address);
    const { client, store, updates } = running;
    await running.synced();
    expect([...store.workloads.keys()].sort()).toEqual([
      "Kubernetes//Pod/default/a",
      "Kubernetes//Pod/default/b",
    ]);
    expect(store.endpoints("default/web.default.svc.cluster.local").length).toBe(2);
    expect(store.policies.has("default/p")).toBe(true);
    expect(client.state()).toMatchObject({
      connected: true,
      types: [
        { type: "Address", resources: 3, responses: 1, nacks: 0 },
        { type: "Authorization", resources: 1, responses: 1, nacks: 0 },
      ],
      messages: 2,
      faults: {},
      lastError: null,
    });
    expect(client.state().bytes).toBeGreaterThan(100);
    const id = "ztunnel~127.0.0.1~weftd.weft~weft.svc.cluster.local";
    await until(() => log.some((line) => line === `ACK  Authorization +1 (default/p) from ${id}`));

    updates.length = 0;
    writeFileSync(file, MESH.replace("10.0.0.2", "10.0.0.3"));
    await until(() => store.ownerOf("10.0.0.3") !== undefined);
    expect(updates).toHaveLength(1);
    expect(updates[0]?.workloads?.map((w) => w.name)).toEqual(["b"]);
    expect(updates[0]?.services).toEqual([]);

    // As editors do it: another file takes the name.
    writeFileSync(
      `${file}.new`,
      MESH.replace("  - {name: b, addresses: [10.0.0.2]}\n", "").replace("[a, b]", "[a]"),
    );
    renameSync(`${file}.new`, file);
    await until(() => store.workloads.size === 1);
    expect(updates.at(-1)).toMatchObject({ removedAddresses: ["Kubernetes//Pod/default/b"] });

    writeFileSync(file, MESH.replace("DENY", "ALLOW"));
    await until(() => store.policies.get("default/p")?.action === "ALLOW" && store.workloads.size === 2);
    expect(updates.at(-1)).toMatchObject({ policiesSynced: true, policies: [{ name: "p" }] });
  });

  it("keeps the last good content while the file is bad", async () => {
    writeFileSync(file, MESH);
    const plane = await serve();
    const running = connect(plane.address);
    await running.synced();
    running.updates.length = 0;
    writeFileSync(file, MESH.replace("10.0.0.2", "10.0.0.999"));
    await until(() => log.includes(`${file} is refused: the last good one stays served`));
    expect(log).toContain(`${file}:4:27: workloads[1].addresses[0]: "10.0.0.999" is not an IP address`);
    expect(running.updates).toEqual([]);
    const late = connect(plane.address);
    await late.synced();
    expect(late.store.ownerOf("10.0.0.2")).toBeDefined();
    writeFileSync(file, MESH.replace("10.0.0.2", "10.0.0.4"));
    await until(
      () => running.store.ownerOf("10.0.0.4") !== undefined && late.store.ownerOf("10.0.0.4") !== undefined,
    );
  });

  it("pushes an edit while a neighbour of the file never comes to rest", async () => {
    writeFileSync(file, MESH);
    const plane = await serve();
    const running = connect(plane.address);
    await running.synced();
    let writes = 0;
    const busy = setInterval(() => writeFileSync(join(directory, "neighbour"), String(++writes)), 10);
    try {
      await until(() => writes > 3);
      writeFileSync(file, MESH.replace("10.0.0.2", "10.0.0.7"));
      const began = performance.now();
      await until(() => running.store.ownerOf("10.0.0.7") !== undefined);
      expect(performance.now() - began).toBeLessThan(5_000);
    } finally {
      clearInterval(busy);
    }
  });

  it("does not start on a bad file, or on an address that is taken", async () => {
    writeFileSync(file, "workloads: [{nam: a}]");
    await expect(serve()).rejects.toMatchObject({
      code: "CONFIG_INVALID",
      message: expect.stringContaining("nam: unknown key"),
    });
    await expect(serve({ source: { file: join(directory, "none") } })).rejects.toMatchObject({
      code: "CONFIG_INVALID",
    });
    writeFileSync(file, MESH);
    const plane = await serve();
    await expect(serve({ listen: plane.address })).rejects.toMatchObject({ code: "ADDRESS_IN_USE" });
  });
});

describe("the client", () => {
  it("comes back after the server went, and is sent only what changed meanwhile", async () => {
    writeFileSync(file, MESH);
    const first = await serve();
    const running = connect(first.address);
    await running.synced();
    await first.close();
    await until(() => !running.client.state().connected);
    expect(running.log.join()).toMatch(/XDS_STREAM_LOST/);
    expect(running.store.workloads.size).toBe(2);

    running.updates.length = 0;
    writeFileSync(
      file,
      MESH.replace("  - {name: b, addresses: [10.0.0.2]}\n", "  - {name: c, addresses: [10.0.0.3]}\n")
        .replace("[a, b]", "[a, c]")
        .replace(/policies:[\s\S]*/, ""),
    );
    await serve({ listen: first.address });
    await until(() => running.client.state().connected && running.store.policies.size === 0);
    expect(running.updates).toMatchObject([
      {
        workloads: [{ name: "a" }, { name: "c" }],
        services: [],
        removedAddresses: ["Kubernetes//Pod/default/b"],
      },
      { policies: [], removedPolicies: ["default/p"], policiesSynced: true },
    ]);
  });

  it("refuses bad resources by name, applies the good ones, and goes on", async () => {
    writeFileSync(file, "");
    const plane = await serve();
    const running = connect(plane.address);
    await running.synced();
    const served = (name: string, bytes: Uint8Array) => ({ name, version: "1", bytes });
    plane.push({
      type: ADDRESS_TYPE,
      resources: [
        served("good", workload("good", "1")),
        served("bad", workload("bad", "1", { addresses: [new Uint8Array(7)] })),
        served("default/s", service("s", "1", { ports: [{ servicePort: 80, targetPort: 70_000 }] })),
      ],
      removed: [],
    });
    await until(() => log.some((line) => line.startsWith("NACK Address +3 (good, bad, default/s)")));
    expect(log.find((line) => line.startsWith("NACK"))).toContain(
      "bad: addresses[0] has 7 bytes instead of 4 or 16; default/s: ports[0].target_port is 70000",
    );
    expect([...running.store.workloads.keys()]).toEqual(["good"]);
    expect(running.client.state()).toMatchObject({ faults: { address: 1, port: 1 }, connected: true });
  });

  it("answers only after applying, one response at a time, and names what applying refused", async () => {
    writeFileSync(file, MESH);
    const plane = await serve();
    const gates: (() => void)[] = [];
    let busy = 0;
    const running = connect(plane.address, {
      async apply(update) {
        expect(++busy).toBe(1);
        await new Promise<void>((resolve) => gates.push(resolve));
        busy--;
        return (update.policies ?? []).map(({ namespace, name }) => ({
          name: `${namespace}/${name}`,
          reason: "too large",
        }));
      },
    });
    await until(() => gates.length === 1);
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(log.filter((line) => /^N?ACK/.test(line))).toEqual([]);
    expect(running.syncedTypes).toEqual([]);
    gates[0]?.();
    await until(() => log.some((line) => line.startsWith("ACK  Address +3")));
    await until(() => gates.length === 2);
    expect(running.syncedTypes).toEqual(["Address"]);
    gates[1]?.();
    await until(() => log.some((line) => /^NACK Authorization .*: default\/p: too large$/.test(line)));
    expect(running.client.state().faults).toEqual({ apply: 1 });
  });

  it("does not run hot against a server that accepts and closes", async () => {
    let accepted = 0;
    const server = createServer((socket) => {
      accepted++;
      socket.destroy();
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const address = server.address();
    if (typeof address !== "object" || address === null) throw new Error("not bound");
    const running = connect(`127.0.0.1:${address.port}`);
    await new Promise((resolve) => setTimeout(resolve, 1500));
    await running.client.stop();
    await new Promise((resolve) => server.close(resolve));
    expect(accepted).toBeGreaterThan(3);
    expect(accepted).toBeLessThan(20);
    expect(running.client.state()).toMatchObject({ connected: false, messages: 0 });
    expect(running.client.state().lastError).toMatch(/XDS_REFUSED/);
  });

  it("stops while it waits for a server that is not there", async () => {
    const running = connect("127.0.0.1:1");
    await until(() => running.client.state().lastError !== null);
    await running.client.stop();
  });
});

describe("a recording", () => {
  it("is served from the first push, then response by response, to any number of clients", async () => {
    const plane = await serve({ source: { replay: fixture("bookinfo", "frames-1.bin") } });
    const running = connect(plane.address);
    await running.synced();
    expect(running.store.workloads.size + running.store.services.size).toBe(46);
    expect(running.store.policies.size).toBe(13);
    while (plane.next());
    const late = connect(plane.address);
    await late.synced();
    const held = dumpOf("bookinfo", "end");
    const keys = held.workloads.map((w) => w.uid);
    await until(() => [...running.store.workloads.keys()].sort().join() === keys.join());
    await until(() => running.store.policies.size === held.policies.length);
    expect([...late.store.workloads.keys()].sort()).toEqual(keys);
    expect(late.store.policies.size).toBe(held.policies.length);
    expect(running.client.state().faults).toEqual({});
    expect(plane.next()).toBe(false);
    expect(plane.clients).toBe(2);
  });

  it("takes 11,000 resources in one message", async () => {
    const plane = await serve({ source: { replay: fixture("large", "frames-1.bin.gz") } });
    const running = connect(plane.address);
    await running.synced();
    expect(running.client.state().types).toMatchObject([
      { type: "Address", resources: 11_000 },
      { type: "Authorization", resources: 50 },
    ]);
  });

  it("is refused when it is none", async () => {
    await expect(serve({ source: { replay: join(directory, "x.bin") } })).rejects.toMatchObject({
      code: "CONFIG_INVALID",
    });
    writeFileSync(join(directory, "x.bin"), "");
    writeFileSync(
      join(directory, "x.json"),
      '{"frames":[{"dir":"resp","offset":9,"bytes":1,"type_url":"t"}]}',
    );
    await expect(serve({ source: { replay: join(directory, "x.bin") } })).rejects.toThrow(
      /frame 0 ends behind the 0 bytes/,
    );
  });
});

describe("a session", () => {
  it("sends everything again for a named subscription, nothing for a type it does not know", () => {
    const state = new ServedState();
    state.apply({
      type: ADDRESS_TYPE,
      resources: [{ name: "a", version: "1", bytes: workload("a", "1") }],
      removed: [],
    });
    const sent: number[] = [];
    const session = new Session({
      state,
      peer: "test",
      log: (line) => void log.push(line),
      send: (response) => void sent.push(response.resources.length),
    });
    const request = {
      typeUrl: ADDRESS_TYPE,
      resourceNamesSubscribe: [],
      resourceNamesUnsubscribe: [],
      responseNonce: "",
    };
    const versions = new Map([["a", "1"]]);
    session.request({
      ...request,
      node: undefined,
      errorDetail: undefined,
      initialResourceVersions: versions,
    });
    expect(sent).toEqual([0]);
    const named = {
      ...request,
      node: undefined,
      errorDetail: undefined,
      initialResourceVersions: new Map<string, string>(),
    };
    session.request({ ...named, resourceNamesSubscribe: ["a"] });
    expect(sent).toEqual([0, 1]);
    session.request({ ...named, typeUrl: "other" });
    expect(log.at(-1)).toBe('test: no resources of type "other"');
  });
});
