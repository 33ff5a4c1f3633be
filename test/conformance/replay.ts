// Owns the playing of recorded sessions into the delta stream and the store, as the client would.
// Must not know gRPC.

import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Frame, readRecording } from "../../cmd/weft-xds/recording.js";
import { createStore } from "../../daemon/model/store.js";
import type { Delta } from "../../daemon/model/update.js";
import { DeltaStream } from "../../daemon/xds/delta-stream.js";
import { openResponse } from "../../daemon/xds/response.js";
import { type DeltaDiscoveryRequest, DeltaDiscoveryResponse } from "../../proto/gen/discovery.js";
import { type HeldMesh, meshOf, readDump, sorted } from "./ambientz.js";

const FIXTURES = fileURLToPath(new URL("../fixtures/istiod/", import.meta.url));

/** Path of a recorded file. */
export function fixture(scenario: string, file: string): string {
  return join(FIXTURES, scenario, file);
}

/** What istiod itself held, `when` being `start` (after the first push) or `end`. */
export function dumpOf(scenario: string, when: "start" | "end"): HeldMesh {
  return meshOf(readDump(fixture(scenario, `ambientz-${when}.json`)));
}

/** The recorded messages of a session; `file` such as `frames-1.bin.gz`. */
export function session(scenario: string, file: string): readonly Frame[] {
  const recording = readRecording(fixture(scenario, file));
  if (!recording.ok) throw new Error(recording.reason);
  return recording.frames;
}

/** What came of one response. */
export interface Step {
  readonly response: DeltaDiscoveryResponse;
  readonly delta: Delta;
  readonly answer: DeltaDiscoveryRequest | undefined;
}

/** A client without sockets. */
export class Replay {
  readonly store = createStore();
  readonly stream = new DeltaStream({
    address: "10.244.1.2",
    name: "ztunnel-n1",
    namespace: "istio-system",
    serviceAccount: "",
    nodeName: "node-1",
    clusterId: "Kubernetes",
    network: "",
    meshId: "",
    version: "0.1.0",
  });

  /** Opens a stream; gives the requests a client sends. */
  open(): DeltaDiscoveryRequest[] {
    this.stream.lost();
    return this.stream.opened();
  }

  /** Applies one recorded response. */
  play(message: Uint8Array): Step {
    const response = DeltaDiscoveryResponse.decode(message);
    const pending = this.stream.begin(openResponse(message));
    if (pending === undefined) throw new Error(`unexpected type ${response.typeUrl}`);
    while (pending.decode(64));
    const delta = this.store.apply(pending.update());
    return { response, delta, answer: this.stream.settle(pending) };
  }

  /** What the store holds now. */
  mesh(): HeldMesh {
    const { workloads, services, policies } = this.store;
    return sorted({
      workloads: [...workloads.values()],
      services: [...services.values()],
      policies: [...policies.values()],
    });
  }
}
