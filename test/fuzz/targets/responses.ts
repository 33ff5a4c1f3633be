// Owns what is claimed of a discovery response: it is refused as no protobuf or answered, nothing throws, and the maps
// that come of it are those that a snapshot of its end gives.

import { isDeepStrictEqual } from "node:util";
import { readRecording } from "../../../cmd/weft-xds/recording.js";
import { principalOf } from "../../../daemon/compile/authz/identity.js";
import { TestMaps } from "../../../daemon/compile/test-maps.js";
import { createMesh, type TestMesh } from "../../../daemon/compile/test-mesh.js";
import { logicalView } from "../../../daemon/compile/view.js";
import { DeltaStream } from "../../../daemon/xds/delta-stream.js";
import { ADDRESS_TYPE, AUTHORIZATION_TYPE } from "../../../daemon/xds/resource.js";
import { type DeltaResponse, openResponse } from "../../../daemon/xds/response.js";
import { WireError } from "../../../daemon/xds/wire-reader.js";
import { claim, type Target } from "../target.js";
import { recordings } from "./recordings.js";

/** Pods of the recorded mesh, and of none. */
const PODS = ["bookinfo/reviews-v1", "odd/nolabels", "default/nobody"].map((key, index) => {
  const [namespace = "", name = ""] = key.split("/");
  return { cookie: BigInt(index + 1), namespace, name };
});

const NODE = {
  address: "10.0.0.1",
  name: "weftd",
  namespace: "istio-system",
  serviceAccount: "weftd",
  nodeName: "node-1",
  clusterId: "Kubernetes",
  network: "",
  meshId: "",
  version: "1",
};

export const target: Target = {
  maxBytes: 16_384,
  seeds() {
    return recordings().flatMap((path) => {
      const recording = readRecording(path);
      if (!recording.ok) return [];
      return recording.frames.filter(({ response }) => response).map(({ message }) => message);
    });
  },
  run(input) {
    const response = opened(input);
    if (response === undefined) return;
    const stream = new DeltaStream(NODE);
    stream.opened();
    const mesh = createMesh({ node: "node-1" });
    mesh.push({ pods: PODS, policiesSynced: true, workloadsSynced: true });
    // Each type's part of it, and once more, which changes nothing.
    for (const typeUrl of [ADDRESS_TYPE, AUTHORIZATION_TYPE, ADDRESS_TYPE])
      answer(stream, mesh, { ...response, typeUrl });
    checkMaps(mesh);
  },
};

function opened(input: Uint8Array): DeltaResponse | undefined {
  try {
    return openResponse(input);
  } catch (error) {
    claim(error instanceof WireError, `openResponse throws ${String(error)}`);
    return undefined;
  }
}

function answer(stream: DeltaStream, mesh: TestMesh, response: DeltaResponse): void {
  const pending = stream.begin(response);
  claim(pending !== undefined, "a response of a known type is not begun");
  while (pending.decode(16)) {
    const update = pending.take();
    if (update !== undefined) mesh.push(update);
  }
  const refused = mesh.push(pending.update()).rejections;
  const request = stream.settle(pending, refused);
  claim(request !== undefined, "a response is not answered");
  const isRefused = pending.rejections.length + refused.length > 0;
  claim(
    isRefused === (request.errorDetail !== undefined),
    "an answer does not say what became of the response",
  );
}

function checkMaps(mesh: TestMesh): void {
  const { compiler } = mesh;
  const identities = new Map([...compiler.authz.identities()].map((who) => [who.number, principalOf(who)]));
  const view = mesh.view();
  const snapshot = new TestMaps([...compiler.snapshot()].flat());
  claim(
    isDeepStrictEqual(view, logicalView(snapshot.entries(), identities)),
    "the maps are not those of a snapshot",
  );
  claim(view.orphans === 0, "something is left that nothing leads to");
}
