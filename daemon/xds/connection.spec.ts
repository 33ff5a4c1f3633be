// Owns the proof of how a connection lives and ends: keepalive, GOAWAY, silence, limits, waits between attempts.
// Real servers on loopback; times are shortened, not faked.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Server, ServerCredentials, type ServerDuplexStream, type ServerOptions } from "@grpc/grpc-js";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type ControlPlane, startControlPlane } from "../../cmd/weft-xds/control-plane.js";
import { RunningProcess } from "../../lab/process.js";
import { sleep, until } from "../../lab/wait.js";
import {
  AggregatedDiscoveryServiceService,
  DeltaDiscoveryRequest,
  type DeltaDiscoveryResponse,
} from "../../proto/gen/discovery.js";
import { response, workload } from "../../test/helpers/wire.js";
import { RunningClient } from "../../test/helpers/xds-client.js";
import { ADDRESS_TYPE, AUTHORIZATION_TYPE } from "./resource.js";

type Call = ServerDuplexStream<DeltaDiscoveryRequest, DeltaDiscoveryResponse>;

let directory: string;
let mesh: string;
const open: (() => unknown)[] = [];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "weft-connection-"));
  mesh = join(directory, "mesh.yaml");
  writeFileSync(mesh, "workloads: [{name: a, addresses: [10.0.0.1]}]\n");
});

afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close();
  rmSync(directory, { recursive: true });
});

async function serve(server: ServerOptions = {}, listen = "127.0.0.1:0"): Promise<ControlPlane> {
  const plane = await startControlPlane({ listen, source: { file: mesh }, server });
  open.push(() => plane.close());
  return plane;
}

function start(options: ConstructorParameters<typeof RunningClient>[0]): RunningClient {
  const running = new RunningClient(options);
  open.push(() => running.stop());
  return running;
}

/** A server of which only the stream's handler is written by the test. */
async function serveBy(handle: (call: Call) => void, options: ServerOptions = {}) {
  const server = new Server(options);
  server.addService(AggregatedDiscoveryServiceService, {
    deltaAggregatedResources(call: Call) {
      call.on("error", () => undefined);
      handle(call);
    },
  });
  open.push(() => server.forceShutdown());
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    );
  });
  return { address: `127.0.0.1:${port}`, server };
}

const warnings = ({ log }: RunningClient) => log.filter((line) => /^(warn|error): /.test(line));

describe("keepalive", () => {
  it("leaves a server that does not answer pings, and finds it again when it does", async () => {
    const port = await freePortOf();
    const argv = ["--import", "tsx", "cmd/weft-xds.ts", "--file", mesh, "--listen", `127.0.0.1:${port}`];
    const xds = new RunningProcess([process.execPath, ...argv]);
    open.push(async () => {
      xds.kill("SIGCONT");
      await xds.stop();
    });
    await until("weft-xds", () => xds.stdout.includes("serving "), { timeoutMs: 20_000 });
    const timing = { keepalive: 200, keepaliveTimeout: 200, connect: 500 };
    const running = start({ address: `127.0.0.1:${port}`, timing });
    await running.synced();

    await sleep(1000);
    expect(running.client.state()).toMatchObject({ connected: true, streams: 1, lastError: null });

    xds.kill("SIGSTOP");
    const stopped = performance.now();
    await running.failure(/XDS_STREAM_LOST/);
    const took = performance.now() - stopped;
    expect(took).toBeGreaterThan(150);
    expect(took).toBeLessThan(5000);
    // The kernel still accepts connections for the stopped process.
    await running.failure(/no answer within 0\.5 s/);
    expect(running.store.workloads.size).toBe(1);

    xds.kill("SIGCONT");
    await running.connected(2);
    expect(running.client.state().lastError).toBeNull();
  });
});

describe("GOAWAY", () => {
  it("is followed by a new stream at once, without a warning: connections of limited age", async () => {
    const plane = await serve({
      "grpc.max_connection_age_ms": 1100,
      "grpc.max_connection_age_grace_ms": 3000,
    });
    const running = start({ address: plane.address });
    await running.synced();
    const states: boolean[] = [];
    const began = performance.now();
    await running.connected(3);
    states.push(running.client.state().connected);
    expect(performance.now() - began).toBeLessThan(5000);
    expect(warnings(running)).toEqual([]);
    expect(running.client.state()).toMatchObject({ connected: true, lastError: null });
    // Nothing but the policies, which are always sent whole, and those are the same.
    const changes = running.updates.flatMap(({ workloads = [], services = [] }) => [
      ...workloads,
      ...services,
    ]);
    expect(changes).toHaveLength(1);
    expect(
      running.log.filter((line) => line.includes("as it does from time to time")).length,
    ).toBeGreaterThan(1);
  });

  it("is not waited out: the stream is left while the old server still drains", async () => {
    let streams = 0;
    const first = await serveBy((call) => {
      streams++;
      call.on("data", (request: DeltaDiscoveryRequest) => {
        if (request.responseNonce === "") call.write(response(request.typeUrl, []));
      });
    });
    const running = start({ address: first.address });
    await running.synced();
    const began = performance.now();
    await new Promise<void>((resolve, reject) => {
      first.server.tryShutdown((error) => (error ? reject(error) : resolve()));
    });
    expect(performance.now() - began).toBeLessThan(1000);
    expect(streams).toBe(1);
    // It listens no more, and that is a failure with a name.
    expect(await running.failure()).toMatch(/nothing listens there/);
    await serve({}, first.address);
    await running.connected();
  });

  it("is a failure when nothing was sent before it", async () => {
    const { address } = await serveBy((call) => call.sendMetadata(call.metadata), {
      "grpc.max_connection_age_ms": 200,
      "grpc.max_connection_age_grace_ms": 3000,
    });
    expect(await start({ address }).failure()).toMatch(/it ends the connection before it has sent anything/);
  });

  it("differs from a control plane that breaks", async () => {
    const plane = await serve();
    const running = start({ address: plane.address });
    await running.synced();
    await plane.close();
    await until("the loss", () => warnings(running).length > 0);
    expect(warnings(running)[0]).toMatch(
      /^warn: the stream to .* ended \(.+\): the kernel keeps the last configuration while weftd reconnects \[XDS_STREAM_LOST\]$/,
    );
  });
});

describe("waits", () => {
  it("grow also when each stream delivers before it ends", async () => {
    let streams = 0;
    const { address } = await serveBy((call) => {
      streams++;
      call.once("data", () => {
        call.write(response(ADDRESS_TYPE, []));
        setImmediate(() => call.end());
      });
    });
    const running = start({ address });
    await sleep(1500);
    await running.stop();
    expect(streams).toBeGreaterThan(3);
    expect(streams).toBeLessThan(20);
  });

  it("begin anew after a stream that lasted", async () => {
    const calls: Call[] = [];
    const { address } = await serveBy((call) => {
      calls.push(call);
      call.on("data", (request: DeltaDiscoveryRequest) => {
        if (request.responseNonce === "") call.write(response(request.typeUrl, []));
      });
    });
    const running = start({ address });
    for (let stream = 1; stream <= 7; stream++) {
      await running.connected(stream);
      calls.at(-1)?.end();
    }
    await running.connected(8);
    const waits: number[] = [];
    for (let stream = 9; stream <= 11; stream++) {
      await sleep(1100);
      const began = performance.now();
      calls.at(-1)?.end();
      await running.connected(stream);
      waits.push(performance.now() - began);
    }
    // Without that each wait would be 640 ms at least; one of them may meet a machine that stands still.
    expect(Math.min(...waits)).toBeLessThan(500);
  });
});

describe("what cannot be put in force", () => {
  it("is not answered: the stream ends, and there is no other", async () => {
    const requests: DeltaDiscoveryRequest[] = [];
    let streams = 0;
    let hasEnded = false;
    const { address } = await serveBy((call) => {
      streams++;
      call.on("data", (request: DeltaDiscoveryRequest) => requests.push(request));
      for (const event of ["end", "cancelled"]) call.on(event, () => (hasEnded = true));
      call.write({ ...response(ADDRESS_TYPE, []), nonce: "addresses" });
      call.write({ ...response(AUTHORIZATION_TYPE, []), nonce: "policies" });
    });
    start({ address, onComplete: async () => false });
    await until("the end of the stream", () => hasEnded);
    await sleep(300);
    expect(requests.map(({ responseNonce }) => responseNonce)).toContain("addresses");
    expect(requests.map(({ responseNonce }) => responseNonce)).not.toContain("policies");
    expect(streams).toBe(1);
  });
});

describe("silence", () => {
  it("of a server that accepts the stream is told, with what is missing, and forgotten when it speaks", async () => {
    let call: Call | undefined;
    const { address } = await serveBy((opened) => {
      call = opened;
      opened.sendMetadata(opened.metadata);
    });
    const running = start({ address, silence: 200 });
    expect(await running.failure()).toBe(
      `${address} accepts the stream but has sent no Address or Authorization resources for 0.2 s: is it istiod with PILOT_ENABLE_AMBIENT=true? [XDS_SYNC_TIMEOUT]`,
    );
    expect(running.client.state()).toMatchObject({ connected: false, streams: 1 });
    call?.write(response(ADDRESS_TYPE, []));
    await running.connected();
    call?.write(response(AUTHORIZATION_TYPE, []));
    await running.synced();
    expect(running.client.state()).toMatchObject({ connected: true, streams: 1, lastError: null });
    expect(warnings(running)).toHaveLength(1);
  });

  it("about one type only is told too", async () => {
    const { address } = await serveBy((call) => {
      call.once("data", () => void call.write(response(ADDRESS_TYPE, [])));
    });
    const running = start({ address, silence: 200 });
    expect(await running.failure()).toMatch(/has sent no Authorization resources for 0\.2 s/);
    expect(running.client.state().connected).toBe(true);
  });
});

describe("a server that takes requests of 4 MiB", () => {
  const LIMIT = 4 * 1024 * 1024;
  // 69 bytes a name and version, as in istiod's.
  const uid = (i: number) =>
    `Kubernetes//Pod/namespace-${i % 100}/deploy-${String(i).padStart(6, "0")}-7c9f5d`;
  const resources = (count: number) =>
    Array.from({ length: count }, (_, i) => workload(uid(i), "0123456789abcdef"));

  /** Serves so many workloads; says which requests came, and how many streams were ended for their size. */
  async function large(count: number, limit = LIMIT) {
    const first: DeltaDiscoveryRequest[] = [];
    let call: Call | undefined;
    let streams = 0;
    const all = resources(count);
    const { address } = await serveBy(
      (opened) => {
        call = opened;
        streams++;
        opened.on("data", (request: DeltaDiscoveryRequest) => {
          if (request.responseNonce !== "") return;
          if (request.typeUrl !== ADDRESS_TYPE) return void opened.write(response(request.typeUrl, []));
          first.push(request);
          // One workload goes with the first stream.
          const now = first.length === 1 ? all : all.slice(1);
          opened.write(response(ADDRESS_TYPE, request.initialResourceVersions.size === 0 ? now : []));
        });
      },
      { "grpc.max_receive_message_length": limit, "grpc.max_send_message_length": -1 },
    );
    return { address, first, streams: () => streams, cut: () => call?.end() };
  }

  it("is told nothing of 60,000 names, and what went meanwhile is swept", async () => {
    const plane = await large(60_000);
    const running = start({ address: plane.address });
    await until("60,000 workloads", () => running.store.workloads.size === 60_000, { timeoutMs: 30_000 });
    await running.synced();
    plane.cut();
    await running.connected(2);
    await until("the second request", () => plane.first.length === 2);
    expect(plane.first[1]?.initialResourceVersions.size).toBe(0);
    await until("the sweep", () => running.store.workloads.size === 59_999);
    expect(running.updates.at(-1)?.removedAddresses ?? running.updates.at(-2)?.removedAddresses).toEqual([
      uid(0),
    ]);
    expect(running.client.state()).toMatchObject({ connected: true, streams: 2 });

    const request = DeltaDiscoveryRequest.fromPartial({
      typeUrl: ADDRESS_TYPE,
      initialResourceVersions: new Map(
        Array.from({ length: 60_000 }, (_, i) => [uid(i), "0123456789abcdef"]),
      ),
    });
    expect(DeltaDiscoveryRequest.encode(request).finish().length).toBeGreaterThan(LIMIT);
  }, 60_000);

  it("is told of 50,000", async () => {
    const plane = await large(50_000);
    const running = start({ address: plane.address });
    await until("50,000 workloads", () => running.store.workloads.size === 50_000, { timeoutMs: 30_000 });
    plane.cut();
    await running.connected(2);
    await until("the second request", () => plane.first.length === 2);
    expect(plane.first[1]?.initialResourceVersions.size).toBe(50_000);
    expect(running.client.state()).toMatchObject({ connected: true, streams: 2 });
  }, 60_000);

  it("teaches a limit of its own by refusing once", async () => {
    const plane = await large(2000, 64 * 1024);
    const running = start({ address: plane.address });
    await until("2,000 workloads", () => running.store.workloads.size === 2000);
    plane.cut();
    await until("the request without names", () => plane.first.length === 2, { timeoutMs: 10_000 });
    expect(plane.first[1]?.initialResourceVersions.size).toBe(0);
    await running.connected(3);
    expect(plane.streams()).toBe(3);
    expect(warnings(running).join()).toMatch(/larger than max/);
    await until("the sweep", () => running.store.workloads.size === 1999);
  });
});

/** A port of loopback that nothing listens on now. */
async function freePortOf(): Promise<number> {
  const { address, server } = await serveBy(() => undefined);
  server.forceShutdown();
  return Number(address.split(":").at(-1));
}
