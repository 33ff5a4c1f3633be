// Owns the proof of what is kept for a start without the control plane: the file, what is left of it, whose word counts.

import {
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:http2";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { pino } from "pino";
import { afterEach, beforeEach, expect, it } from "vitest";
import { type ControlPlane, startControlPlane } from "../../cmd/weft-xds/control-plane.js";
import { sleep, until } from "../../lab/wait.js";
import { DeltaDiscoveryResponse } from "../../proto/gen/discovery.js";
import { policy, resource, response, workload } from "../../test/helpers/wire.js";
import { NODE, RunningClient } from "../../test/helpers/xds-client.js";
import { atOnce } from "../compile/steps.js";
import { createStore } from "../model/store.js";
import type { Source } from "./client.js";
import { DeltaStream } from "./delta-stream.js";
import { ADDRESS_TYPE, AUTHORIZATION_TYPE } from "./resource.js";
import { openResponse } from "./response.js";
import { Snapshot } from "./snapshot.js";
import { compact } from "./snapshot-compact.js";
import { encodeHeader, encodeRecord, type KeptResponse, readSnapshot } from "./snapshot-file.js";

const origin = { controlPlane: "127.0.0.1:1", cluster: "c", node: "n" };
let directory: string;
const open: (() => unknown)[] = [];
let lines: string[] = [];
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "weft-snapshot-"));
  lines = [];
});
afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close();
  rmSync(directory, { recursive: true });
});

const log = pino(
  { base: null },
  { write: (line: string) => void lines.push((JSON.parse(line) as { msg: string }).msg) },
);
const snapshotIn = (place = directory, spareBytes?: number) =>
  new Snapshot({ directory: place, origin, log, ...(spareBytes === undefined ? {} : { spareBytes }) });
const kept = (message: DeltaDiscoveryResponse, complete = false): KeptResponse => ({
  bytes: DeltaDiscoveryResponse.encode(message).finish(),
  complete,
});
const both = [
  kept(response(ADDRESS_TYPE, [workload("a", "1")])),
  kept(response(AUTHORIZATION_TYPE, [policy("p")])),
];
const file = () => join(directory, "snapshot");

async function write(responses: readonly KeptResponse[]): Promise<void> {
  const snapshot = snapshotIn();
  await snapshot.restore();
  for (const one of responses) await snapshot.append(one);
  await snapshot.close();
}

async function readBack() {
  const snapshot = snapshotIn();
  const restored = await snapshot.restore();
  await snapshot.close();
  return restored;
}

/** What a client holds after these. */
function replay(responses: readonly KeptResponse[]) {
  const stream = new DeltaStream(NODE);
  const store = createStore();
  for (const { bytes, complete } of responses) {
    const pending = stream.beginKept(openResponse(bytes), complete);
    if (pending === undefined) throw new Error("a type that nobody knows");
    while (pending.decode(2));
    store.apply(pending.update());
    stream.settle(pending);
  }
  const [addresses, policies] = stream.opened();
  return {
    stream,
    state: {
      workloads: new Map(store.workloads),
      policies: new Map(store.policies),
      versions: [addresses?.initialResourceVersions, policies?.initialResourceVersions],
    },
  };
}

it("gives back what was kept, in order, and when the control plane was there last", async () => {
  await write(both);
  const before = statSync(file()).mtimeMs;
  const { responses, contact } = await readBack();
  expect(responses.map(({ bytes }) => Buffer.from(bytes))).toEqual(
    both.map(({ bytes }) => Buffer.from(bytes)),
  );
  expect(contact).toBe(before);
});

it("leaves out a record that was never finished, and goes on behind the last that was", async () => {
  await write(both);
  const whole = statSync(file()).size;
  for (const cut of [1, 5, both[1]?.bytes.length ?? 0]) {
    await write([]);
    truncateSync(file(), whole - cut);
    expect((await readBack()).responses).toHaveLength(1);
    await write(both.slice(1));
    expect((await readBack()).responses).toHaveLength(2);
  }
});

it("trusts no file in which any byte is another", async () => {
  const whole = Buffer.concat([encodeHeader(origin), ...both.flatMap(encodeRecord)]);
  for (let at = 0; at < whole.length; at++) {
    const bytes = Buffer.from(whole);
    bytes[at] = (bytes[at] ?? 0) ^ 0x20;
    expect(atOnce(readSnapshot(bytes, origin)), `byte ${at}`).toMatchObject({ ok: false });
  }
});

it.each([
  ["is of another control plane", encodeHeader({ ...origin, controlPlane: "10.0.0.1:15010" })],
  ["is of another", encodeHeader({ ...origin, node: "m" })],
  ["is no snapshot of this version", Buffer.from("weft-snapshot 2\n{}\n")],
  ["is no snapshot", Buffer.alloc(0)],
])("sets a file aside that %s", async (why, bytes) => {
  writeFileSync(file(), bytes);
  const snapshot = snapshotIn();
  expect((await snapshot.restore()).responses).toEqual([]);
  await snapshot.close();
  expect(lines).toEqual([expect.stringContaining(why)]);
  expect(readFileSync(`${file()}.aside`)).toEqual(bytes);
});

it("keeps nothing rather than something old when the disk is full", async () => {
  symlinkSync("/dev/full", `${file()}.new`);
  const snapshot = snapshotIn();
  await snapshot.restore();
  expect(snapshot.isKept).toBe(false);
  expect(snapshot.state.error).toContain("ENOSPC");
  expect(lines).toEqual([expect.stringContaining("no snapshot is kept")]);
  // It is told once.
  await snapshot.begin();
  expect(lines).toHaveLength(1);
  rmSync(`${file()}.new`, { force: true });
  expect(await snapshot.begin()).toBe(true);
  expect(snapshot.state).toMatchObject({ error: null });
  await snapshot.close();
});

const names = ["a", "b", "c"];
const bad = (name: string, version: string) =>
  resource(name, version, ADDRESS_TYPE, Uint8Array.from([0xff, 0xff, 0xff]));
const step = fc.record({
  put: fc.uniqueArray(
    fc.record({ name: fc.constantFrom(...names), version: fc.nat(3), isBad: fc.boolean() }),
    {
      selector: ({ name }) => name,
    },
  ),
  removed: fc.uniqueArray(fc.constantFrom(...names)),
  complete: fc.boolean(),
});

it("writes anew what leads to the same state, good version and rejected one alike", () => {
  fc.assert(
    fc.property(fc.array(step, { minLength: 1, maxLength: 8 }), (steps) => {
      const responses = steps.map(({ put, removed, complete }) => {
        const resources = put.map(({ name, version, isBad }) =>
          isBad ? bad(name, `bad${version}`) : workload(name, String(version)),
        );
        const gone = removed.filter((name) => !put.some((one) => one.name === name));
        return kept(response(ADDRESS_TYPE, resources, gone), complete);
      });
      const before = replay(responses);
      const compacted = atOnce(compact(responses, (type, name) => before.stream.heldVersion(type, name)));
      expect(replay(compacted).state).toEqual(before.state);
    }),
  );
});

it("is written anew when most of it does not matter any more, and grows no further", async () => {
  const snapshot = snapshotIn(directory, 2_000);
  await snapshot.restore();
  const stream = new DeltaStream(NODE);
  for (let version = 0; version < 200; version++) {
    const next = kept(response(ADDRESS_TYPE, [workload("a", String(version))]));
    await snapshot.append(next);
    const pending = stream.beginKept(openResponse(next.bytes), false);
    while (pending?.decode(1));
    if (pending !== undefined) stream.settle(pending);
    await snapshot.tidy((type, name) => stream.heldVersion(type, name));
    expect(statSync(file()).size).toBe(snapshot.state.bytes);
  }
  expect(snapshot.state.bytes).toBeLessThan(3_000);
  await snapshot.close();
  expect(replay((await readBack()).responses).state).toEqual(
    replay([kept(response(ADDRESS_TYPE, [workload("a", "199")]))]).state,
  );
});

it("still knows what has gone lately", () => {
  const responses = [
    kept(response(ADDRESS_TYPE, [workload("a", "1"), workload("b", "1")])),
    kept(response(ADDRESS_TYPE, [], ["a"])),
  ];
  const compacted = atOnce(compact(responses, () => "1"));
  const seen = compacted.flatMap(({ bytes }) => DeltaDiscoveryResponse.decode(bytes).removedResources);
  expect(seen).toEqual(["a"]);
  const named = compacted.map(({ bytes }) => Buffer.from(bytes).includes("a"));
  expect(named[0]).toBe(true);
});

// ---- a client ----

async function serve(yaml: string, listen = "127.0.0.1:0"): Promise<ControlPlane> {
  const mesh = join(directory, "mesh.yaml");
  writeFileSync(mesh, yaml);
  const plane = await startControlPlane({ listen, source: { file: mesh } });
  open.push(() => plane.close());
  return plane;
}

function start(address: string, silence = 300, place = directory, snapshot = snapshotIn(place)) {
  const governing: Source[] = [];
  const running = new RunningClient({
    address,
    silence,
    snapshot,
    onComplete: async (source) => {
      governing.push(source);
      return true;
    },
  });
  open.push(() => running.stop());
  return { running, governing };
}

const mesh = "workloads: [{name: a, addresses: [10.0.0.1]}, {name: b, addresses: [10.0.0.2]}]\n";

it("governs when the control plane stays away, and not before", async () => {
  const plane = await serve(mesh);
  const first = start(plane.address);
  await first.running.synced();
  await until("its word", () => first.governing.length === 1);
  expect(first.governing).toEqual(["control plane"]);
  await first.running.stop();
  await plane.close();

  const second = start(plane.address);
  await second.running.synced();
  expect(second.governing).toEqual([]);
  await until("the snapshot", () => second.governing.length === 1);
  expect(second.governing).toEqual(["snapshot"]);
  expect([...second.running.store.workloads.values()].map(({ name }) => name).sort()).toEqual(["a", "b"]);
  const { snapshot, lastContactAt, connected } = second.running.client.state();
  expect({ connected, governs: snapshot?.governs }).toEqual({ connected: false, governs: true });
  expect(Date.now() - (lastContactAt ?? 0)).toBeLessThan(60_000);

  // The control plane's word counts again, and only what differs comes.
  await serve("workloads: [{name: b, addresses: [10.0.0.2]}]\n", plane.address);
  await until("its word", () => second.running.store.workloads.size === 1);
  expect(second.running.client.state().snapshot?.governs).toBe(false);
  expect(second.governing).toEqual(["snapshot"]);
});

/** A server with which a connection stands, and which never says anything. */
async function mute(address: string): Promise<void> {
  const server = createServer();
  const connections = new Set<{ destroy(): void }>();
  server.on("connection", (socket) => connections.add(socket));
  open.push(() => {
    server.close();
    for (const connection of connections) connection.destroy();
  });
  await new Promise<void>((resolve) => server.listen(Number(address.split(":")[1]), "127.0.0.1", resolve));
}

/** Takes so long to be read as that of a large mesh. */
class LargeSnapshot extends Snapshot {
  static readonly READING_MS = 1500;
  readAt = 0;

  override async restore(): ReturnType<Snapshot["restore"]> {
    const kept = await super.restore();
    await sleep(LargeSnapshot.READING_MS);
    this.readAt = performance.now();
    return kept;
  }
}

it.each([
  ["counts the reading as waiting for a control plane that is away", false],
  ["waits for a control plane that is there from when it is asked", true],
])("%s", async (_, isThere) => {
  const plane = await serve(mesh);
  const first = start(plane.address);
  await until("its word", () => first.governing.length === 1);
  await first.running.stop();
  await plane.close();
  if (isThere) await mute(plane.address);
  const snapshot = new LargeSnapshot({ directory, origin, log });
  const { governing } = start(plane.address, LargeSnapshot.READING_MS, directory, snapshot);
  await until("the snapshot", () => governing.length === 1);
  const waited = performance.now() - snapshot.readAt;
  if (isThere) expect(waited).toBeGreaterThan(LargeSnapshot.READING_MS - 50);
  else expect(waited).toBeLessThan(LargeSnapshot.READING_MS - 50);
});

it("waits for the control plane while there is time: what it says now governs first", async () => {
  const plane = await serve(mesh);
  const first = start(plane.address);
  await until("its word", () => first.governing.length === 1);
  await first.running.stop();
  const second = start(plane.address, 60_000);
  await until("its word", () => second.governing.length === 1);
  expect(second.governing).toEqual(["control plane"]);
  // All of it was known.
  expect(second.running.client.state().types.map(({ resources }) => resources)).toEqual([2, 0]);
});

it("begins anew, with everything, once a place can be written that could not", async () => {
  const plane = await serve(mesh);
  const place = join(directory, "state");
  writeFileSync(place, "no directory");
  const { running } = start(plane.address, 300, place);
  await running.synced();
  expect(running.client.state().snapshot?.error).toMatch(/EEXIST|ENOTDIR/);
  rmSync(place);
  // The next stream tries again.
  const { address } = plane;
  await plane.close();
  await serve(mesh, address);
  await running.connected(2);
  await until("a snapshot", () => running.client.state().snapshot?.error === null);
  await until("all of it", async () => {
    const reading = atOnce(readSnapshot(readFileSync(join(place, "snapshot")), origin));
    return reading.ok && replay(reading.responses).state.workloads.size === 2;
  });
});
