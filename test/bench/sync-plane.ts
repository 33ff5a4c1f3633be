// Owns the control plane of the sync bench, a process of its own: serves responses that are encoded beforehand,
// and times each from sending to ACK. Must not know weftd.
//
// usage: sync-plane.ts WORKLOADS PODS_AS_JSON. Speaks JSON lines: {"port"} once it listens, {"synced"} at the
// first ACK of Authorization, and for each line `change COUNT` or `replace COUNT` on stdin one {"samples"}.

import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { Server, ServerCredentials, type ServerDuplexStream, type ServiceDefinition } from "@grpc/grpc-js";
import { ADDRESS_TYPE, AUTHORIZATION_TYPE, type ResourceType } from "../../daemon/xds/resource.js";
import {
  AggregatedDiscoveryServiceService,
  type DeltaDiscoveryRequest,
  DeltaDiscoveryResponse,
} from "../../proto/gen/discovery.js";
import { BenchMesh, type BenchPod } from "./sync-mesh.js";

/** What the plane says; times in milliseconds. */
export interface PlaneLine {
  readonly port?: number;
  /** From the request for addresses to the ACK of policies. */
  readonly synced?: number;
  /** Bytes of the first Address response. */
  readonly bytes?: number;
  readonly samples?: readonly number[];
  readonly error?: string;
}

/** Between two changes: each meets a daemon at rest. */
const PAUSE_MS = 2;
const FIRST_NONCE = "first";

type Stream = ServerDuplexStream<DeltaDiscoveryRequest, Buffer>;

class Plane {
  readonly #mesh: BenchMesh;
  readonly #first: ReadonlyMap<string, Buffer>;
  /** Lives so far, by workload. */
  readonly #lives = new Map<number, number>();
  #stream: Stream | undefined;
  #asked = 0;
  #nonce = 0;
  #waiting: { nonce: string; acknowledged: (error: string | undefined) => void } | undefined;

  constructor(mesh: BenchMesh) {
    this.#mesh = mesh;
    this.#first = new Map([
      [ADDRESS_TYPE, encodeResponse(ADDRESS_TYPE, FIRST_NONCE, [...mesh.addresses()])],
      [AUTHORIZATION_TYPE, encodeResponse(AUTHORIZATION_TYPE, FIRST_NONCE, [...mesh.policies()])],
    ]);
  }

  serve(stream: Stream): void {
    this.#stream = stream;
    stream.on("data", (request: DeltaDiscoveryRequest) => this.#receive(stream, request));
    stream.on("error", () => undefined);
    stream.on("end", () => stream.end());
  }

  /** One endpoint that becomes unhealthy, or healthy again, `count` times over; the times to ACK. */
  async change(count: number): Promise<number[]> {
    const samples: number[] = [];
    for (let turn = 0; turn < count; turn++) {
      // Each endpoint twice: all are healthy in the end.
      const index = this.#pick(turn >> 1);
      const resource = this.#mesh.workload(index, { life: this.#life(index), healthy: turn % 2 === 1 });
      samples.push(await this.#push([resource], []));
    }
    return samples;
  }

  /** A pod that makes room for another one in one response, `count` times. */
  async replace(count: number): Promise<number[]> {
    const samples: number[] = [];
    for (let turn = 0; turn < count; turn++) {
      const index = this.#pick(turn);
      const life = this.#life(index);
      this.#lives.set(index, life + 1);
      const resource = this.#mesh.workload(index, { life: life + 1 });
      samples.push(await this.#push([resource], [this.#mesh.uid(index, life)]));
    }
    return samples;
  }

  #life(index: number): number {
    return this.#lives.get(index) ?? 0;
  }

  /** Walks over the whole mesh in long steps; never one of the pods that exist. */
  #pick(turn: number): number {
    const first = this.#mesh.real.length;
    return first + ((turn * 7919) % (this.#mesh.workloads - first));
  }

  async #push(resources: readonly Uint8Array[], removed: readonly string[]): Promise<number> {
    await sleep(PAUSE_MS);
    const nonce = String(++this.#nonce);
    const message = encodeResponse(ADDRESS_TYPE, nonce, resources, removed);
    const acknowledged = new Promise<string | undefined>((resolve) => {
      this.#waiting = { nonce, acknowledged: resolve };
    });
    const sent = performance.now();
    this.#stream?.write(message);
    const error = await acknowledged;
    if (error !== undefined) throw new Error(`weftd refused a change: ${error}`);
    return performance.now() - sent;
  }

  #receive(stream: Stream, { typeUrl, responseNonce, errorDetail }: DeltaDiscoveryRequest): void {
    if (responseNonce === "") {
      if (typeUrl === ADDRESS_TYPE) this.#asked = performance.now();
      const first = this.#first.get(typeUrl);
      if (first !== undefined) stream.write(first);
      return;
    }
    if (responseNonce === this.#waiting?.nonce) this.#waiting.acknowledged(errorDetail?.message);
    if (responseNonce !== FIRST_NONCE) return;
    if (errorDetail !== undefined) say({ error: `weftd refused the first response: ${errorDetail.message}` });
    if (typeUrl !== AUTHORIZATION_TYPE) return;
    say({ synced: performance.now() - this.#asked, bytes: this.#first.get(ADDRESS_TYPE)?.length ?? 0 });
  }
}

function encodeResponse(
  typeUrl: ResourceType,
  nonce: string,
  resources: readonly Uint8Array[],
  removedResources: readonly string[] = [],
): Buffer {
  const response = DeltaDiscoveryResponse.fromPartial({ typeUrl, nonce });
  const encoded = DeltaDiscoveryResponse.encode({
    ...response,
    resources: [...resources],
    removedResources: [...removedResources],
  });
  return Buffer.from(encoded.finish());
}

function say(line: PlaneLine): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

const [workloads = "", pods = ""] = process.argv.slice(2);
const plane = new Plane(new BenchMesh(Number(workloads), JSON.parse(pods) as BenchPod[]));
const { deltaAggregatedResources } = AggregatedDiscoveryServiceService;
const service: ServiceDefinition = {
  deltaAggregatedResources: { ...deltaAggregatedResources, responseSerialize: (encoded: Buffer) => encoded },
};
const server = new Server();
server.addService(service, { deltaAggregatedResources: (stream: Stream) => plane.serve(stream) });
server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, port) => {
  say(error === null ? { port } : { error: error.message });
});
createInterface({ input: process.stdin }).on("line", (line) => {
  const [verb, count] = line.split(" ");
  const samples = verb === "replace" ? plane.replace(Number(count)) : plane.change(Number(count));
  samples.then(
    (taken) => say({ samples: taken }),
    (error: unknown) => say({ error: String(error) }),
  );
});
