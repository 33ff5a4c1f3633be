// Owns the proof of the delta stream's protocol.

import fc from "fast-check";
import { beforeEach, describe, expect, it } from "vitest";
import { DeltaDiscoveryRequest, type DeltaDiscoveryResponse } from "../../proto/gen/discovery.js";
import type { WorkloadStatus } from "../../proto/gen/workload.js";
import { opened, policy, resource, response, service, workload } from "../../test/helpers/wire.js";
import { createStore } from "../model/store.js";
import type { Rejection } from "../model/update.js";
import { DeltaStream } from "./delta-stream.js";
import type { NodeIdentity } from "./node.js";
import type { PendingResponse } from "./pending-response.js";
import { ADDRESS_TYPE as ADDRESS, AUTHORIZATION_TYPE as AUTHORIZATION } from "./resource.js";

const UNKNOWN = 9 as WorkloadStatus;
const NODE: NodeIdentity = {
  address: "10.244.1.2",
  name: "weftd-1",
  namespace: "istio-system",
  serviceAccount: "weft",
  nodeName: "node-1",
  clusterId: "Kubernetes",
  network: "",
  meshId: "",
  version: "0.1.0",
};

let stream: DeltaStream;
beforeEach(() => {
  stream = new DeltaStream(NODE);
});

/** Decodes to the end in slices of two. */
function decode(message: DeltaDiscoveryResponse): PendingResponse {
  const pending = stream.begin(opened(message));
  if (pending === undefined) throw new Error(`unknown type ${message.typeUrl}`);
  while (pending.decode(2));
  return pending;
}

function deliver(message: DeltaDiscoveryResponse, refused: Rejection[] = []) {
  const pending = decode(message);
  const update = pending.update();
  return { update, answer: stream.settle(pending, refused) };
}

const listed = (requests: DeltaDiscoveryRequest[]) =>
  requests.map((r) => Object.fromEntries(r.initialResourceVersions));

describe("opening", () => {
  it("asks for addresses, then policies, both whole, and names the node once", () => {
    const [first, second, ...more] = stream.opened();
    expect(more).toEqual([]);
    expect([first?.typeUrl, second?.typeUrl]).toEqual([ADDRESS, AUTHORIZATION]);
    expect(first?.node?.id).toBe("ztunnel~10.244.1.2~weftd-1.istio-system~istio-system.svc.cluster.local");
    expect(first?.node?.metadata).toMatchObject({ NODE_NAME: "node-1", CLUSTER_ID: "Kubernetes" });
    expect(second?.node).toBeUndefined();
    for (const request of [first, second]) {
      expect(request?.resourceNamesSubscribe).toEqual([]);
      expect(request?.resourceNamesUnsubscribe).toEqual([]);
      expect(request?.initialResourceVersions.size).toBe(0);
    }
  });
});

describe("a response", () => {
  beforeEach(() => void stream.opened());

  it("becomes one update and is acknowledged by its nonce alone", () => {
    const message = response(ADDRESS, [workload("a", "1"), service("s", "1")], ["gone"]);
    const { update, answer } = deliver(message);
    expect(update?.workloads?.map((w) => w.uid)).toEqual(["a"]);
    expect(update?.services?.map((s) => s.hostname)).toEqual(["s"]);
    expect(update?.removedAddresses).toEqual(["gone"]);
    expect(answer).toEqual(
      DeltaDiscoveryRequest.fromPartial({ typeUrl: ADDRESS, responseNonce: message.nonce }),
    );
  });

  it("counts as applied only when settled", () => {
    const pending = decode(response(ADDRESS, [workload("a", "1")]));
    expect(stream.synced(ADDRESS)).toBe(false);
    expect(stream.count(ADDRESS)).toBe(0);
    stream.settle(pending);
    expect(stream.synced(ADDRESS)).toBe(true);
    expect(stream.synced(AUTHORIZATION)).toBe(false);
    expect(stream.count(ADDRESS)).toBe(1);
  });

  it("is not decoded where the version is the one held", () => {
    deliver(response(ADDRESS, [workload("a", "1"), workload("b", "1")]));
    const same = deliver(response(ADDRESS, [workload("a", "1"), workload("b", "1")]));
    expect(same.update).toMatchObject({ workloads: [], services: [], removedAddresses: [] });
    expect(same.answer?.errorDetail).toBeUndefined();
    const one = deliver(response(ADDRESS, [workload("a", "1"), workload("b", "2")]));
    expect(one.update.workloads?.map((w) => w.uid)).toEqual(["b"]);
  });

  it("ends what waits for it also when it is empty, or says nothing new", () => {
    expect(deliver(response(ADDRESS, [])).update).toMatchObject({ workloads: [], workloadsSynced: true });
    deliver(response(ADDRESS, [workload("a", "1")]));
    expect(deliver(response(ADDRESS, [workload("a", "1")])).update.workloadsSynced).toBe(true);
  });

  it("recognises an unchanged policy by its content, and still tells that policies are complete", () => {
    deliver(response(AUTHORIZATION, [policy("p"), policy("q")]));
    const { update } = deliver(response(AUTHORIZATION, [policy("p"), policy("q", { dryRun: true })]));
    expect(update.policies?.map((p) => p.name)).toEqual(["q"]);
    expect(update.policiesSynced).toBe(true);
    expect(deliver(response(AUTHORIZATION, [])).update).toMatchObject({ policies: [], policiesSynced: true });
  });

  it("applies what is good and refuses what is not, by name, without recording its version", () => {
    const bad = workload("bad", "1", { addresses: [new Uint8Array(5)] });
    const worse = service("worse", "1", { ports: [{ servicePort: 70_000 }] });
    const { update, answer } = deliver(response(ADDRESS, [bad, workload("good", "1"), worse]));
    expect(update?.workloads?.map((w) => w.uid)).toEqual(["good"]);
    expect(answer?.errorDetail?.code).toBe(3);
    expect(answer?.errorDetail?.message).toBe(
      "bad: addresses[0] has 5 bytes instead of 4 or 16; default/worse: ports[0].service_port is 70000, above 65535",
    );
    stream.lost();
    expect(listed(stream.opened())).toEqual([{ good: "1" }, {}]);
  });

  it("keeps the version of the last good one when a later one is refused", () => {
    deliver(response(ADDRESS, [workload("a", "1")]));
    deliver(response(ADDRESS, [workload("a", "2", { status: UNKNOWN })]));
    stream.lost();
    expect(listed(stream.opened())[0]).toEqual({ a: "1" });
  });

  it("is refused for what applying it refused", () => {
    const refused = [{ name: "default/p", reason: "needs 2000 terms" }];
    const first = deliver(response(AUTHORIZATION, [policy("p"), policy("q")]), refused);
    expect(first.answer?.errorDetail?.message).toBe("default/p: needs 2000 terms");
    const again = deliver(response(AUTHORIZATION, [policy("p"), policy("q")]));
    expect(again.update.policies?.map((p) => p.name)).toEqual(["p"]);
  });

  it("survives bytes that are no protobuf", () => {
    const torn = resource("torn", "1", ADDRESS, Uint8Array.of(0x0a, 0x7f));
    const { update, answer } = deliver(response(ADDRESS, [Uint8Array.of(0xff), torn, workload("a", "1")]));
    expect(update?.workloads?.map((w) => w.uid)).toEqual(["a"]);
    expect(answer?.errorDetail?.message).toMatch(/^resource 0: is malformed: .*; torn: is malformed: /);
  });

  it("is refused when its content is of another type, or of none", () => {
    const stray = resource("x", "1", AUTHORIZATION, new Uint8Array());
    const empty = resource("y", "1", ADDRESS, new Uint8Array());
    expect(deliver(response(ADDRESS, [stray, empty])).answer?.errorDetail?.message).toBe(
      `x: is of type "${AUTHORIZATION}", not ${ADDRESS}; y: is neither workload nor service`,
    );
    const foreign = opened(response("type.googleapis.com/envoy.config.cluster.v3.Cluster", []));
    expect(stream.begin(foreign)).toBeUndefined();
    expect(stream.refuse(foreign)).toMatchObject({ responseNonce: foreign.nonce, errorDetail: { code: 3 } });
  });

  it("keeps a NACK of everything within what a server takes", () => {
    const bad = Array.from({ length: 5000 }, (_, i) => workload(`workload-${i}`, "1", { status: UNKNOWN }));
    const message = deliver(response(ADDRESS, bad)).answer?.errorDetail?.message ?? "";
    expect(message.length).toBeLessThan(70_000);
    expect(message).toMatch(/; and \d+ more$/);
  });

  it("hands an address over inside one response", () => {
    const store = createStore();
    const apply = (message: DeltaDiscoveryResponse) => store.apply(deliver(message).update);
    const addresses = [Uint8Array.of(10, 0, 0, 1)];
    apply(response(ADDRESS, [workload("old", "1", { addresses })]));
    apply(response(ADDRESS, [workload("new", "1", { addresses })], ["old"]));
    expect(store.ownerOf("10.0.0.1")?.uid).toBe("new");
    expect([...store.workloads.keys()]).toEqual(["new"]);
  });
});

describe("reconnecting", () => {
  it("lists versions of addresses, and names of policies without one", () => {
    stream.opened();
    deliver(response(ADDRESS, [workload("a", "1"), workload("b", "2")]));
    deliver(response(AUTHORIZATION, [policy("p"), policy("q", {}, "v7")]));
    deliver(response(ADDRESS, [workload("a", "3")], ["b"]));
    stream.lost();
    expect(listed(stream.opened())).toEqual([{ a: "3" }, { "default/p": "", "default/q": "v7" }]);
  });

  it("does not answer on a new stream what came on the old one, but keeps what was applied", () => {
    stream.opened();
    const pending = decode(response(ADDRESS, [workload("a", "1")]));
    stream.lost();
    expect(stream.settle(pending)).toBeUndefined();
    expect(listed(stream.opened())[0]).toEqual({ a: "1" });
  });

  it("takes an empty response for an answer", () => {
    stream.opened();
    const { update, answer } = deliver(response(ADDRESS, []));
    expect(update.workloadsSynced).toBe(true);
    expect(answer?.responseNonce).not.toBe("");
    expect(stream.synced(ADDRESS)).toBe(true);
  });

  describe("with more than a request holds", () => {
    beforeEach(() => {
      stream = new DeltaStream(NODE, { maxRequestBytes: 16 * 1024 + 20 });
      stream.opened();
      deliver(
        response(
          ADDRESS,
          ["a", "b", "c", "d"].map((uid) => workload(uid, "1")),
        ),
      );
      stream.lost();
    });

    it("lists nothing and sweeps what the first response does not name", () => {
      expect(listed(stream.opened())[0]).toEqual({});
      const bad = workload("b", "2", { status: UNKNOWN });
      const { update, answer } = deliver(response(ADDRESS, [workload("a", "1"), bad, workload("c", "2")]));
      expect(update?.workloads?.map((w) => w.uid)).toEqual(["c"]);
      expect(update?.removedAddresses).toEqual(["d"]);
      expect(answer?.errorDetail?.message).toMatch(/^b: /);
      expect(stream.count(ADDRESS)).toBe(3);
    });

    it("sweeps once a stream", () => {
      stream.opened();
      deliver(response(ADDRESS, [workload("a", "1"), workload("b", "1")]));
      expect(deliver(response(ADDRESS, [workload("e", "1")])).update.removedAddresses).toEqual([]);
    });

    it("sweeps again after a cut before the first response was applied", () => {
      stream.opened();
      stream.lost();
      stream.opened();
      expect(deliver(response(ADDRESS, [workload("a", "1")])).update.removedAddresses).toEqual([
        "b",
        "c",
        "d",
      ]);
    });

    it("sweeps nothing where a resource's name cannot be read", () => {
      stream.opened();
      const { update } = deliver(response(ADDRESS, [Uint8Array.of(0xff)]));
      expect(update.removedAddresses).toEqual([]);
    });
  });

  it("stays below istiod's limit with room to spare, and uses most of it", () => {
    const uids = Array.from(
      { length: 62_000 },
      (_, i) => `Kubernetes//Pod/namespace-${i % 100}/deployment-${i}-7c9f5d`,
    );
    stream.opened();
    let fits = 0;
    for (let from = 0; from < uids.length; from += 2000) {
      deliver(
        response(
          ADDRESS,
          uids.slice(from, from + 2000).map((uid) => workload(uid, "0123456789abcdef")),
        ),
      );
      stream.lost();
      const [request] = stream.opened();
      if (request === undefined || request.initialResourceVersions.size === 0) break;
      fits = DeltaDiscoveryRequest.encode(request).finish().length;
    }
    expect(fits).toBeLessThanOrEqual(4 * 1024 * 1024);
    expect(fits).toBeGreaterThan(3.8 * 1024 * 1024);
  });
});

describe("any history", () => {
  const uids = ["a", "b", "c", "d"] as const;
  const step = fc.oneof(
    {
      weight: 5,
      arbitrary: fc.record({
        kind: fc.constant("put" as const),
        uid: fc.constantFrom(...uids),
        version: fc.nat(3),
      }),
    },
    {
      weight: 2,
      arbitrary: fc.record({ kind: fc.constant("remove" as const), uid: fc.constantFrom(...uids) }),
    },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant("cut" as const), applied: fc.boolean() }) },
  );

  /** A server that holds `mesh`, and answers a new stream as istiod does. */
  it.each([
    { limit: 4 * 1024 * 1024 },
    { limit: 16 * 1024 + 20 },
  ])("ends with what the server holds, requests of $limit bytes", ({ limit }) => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        stream = new DeltaStream(NODE, { maxRequestBytes: limit });
        const store = createStore();
        const mesh = new Map<string, number>();
        const encode = (uid: string) =>
          workload(uid, `v${mesh.get(uid)}`, { canonicalName: `content-${mesh.get(uid)}` });
        const send = (names: string[], removed: string[]) => {
          const { update, answer } = deliver(response(ADDRESS, names.map(encode), removed));
          store.apply(update ?? {});
          expect(answer?.errorDetail).toBeUndefined();
        };
        const connect = () => {
          const versions = stream.opened()[0]?.initialResourceVersions ?? new Map<string, string>();
          const changed = [...mesh.keys()].filter((uid) => versions.get(uid) !== `v${mesh.get(uid)}`);
          send(
            changed,
            [...versions.keys()].filter((uid) => !mesh.has(uid)),
          );
        };
        connect();
        for (const event of steps) {
          if (event.kind === "put") {
            mesh.set(event.uid, event.version);
            send([event.uid], []);
          } else if (event.kind === "remove") {
            if (mesh.delete(event.uid)) send([], [event.uid]);
          } else {
            // Something changes while the stream is cut, perhaps with a response half delivered.
            mesh.delete("a");
            mesh.set("b", 9);
            if (event.applied) {
              const pending = decode(response(ADDRESS, [encode("b")]));
              stream.lost();
              store.apply(pending.update());
              stream.settle(pending);
            }
            stream.lost();
            connect();
          }
          const held = [...store.workloads.values()].map((w) => [w.uid, w.canonicalName]).sort();
          expect(held).toEqual([...mesh].map(([uid, version]) => [uid, `content-${version}`]).sort());
        }
      }),
      { numRuns: 200 },
    );
  });
});
