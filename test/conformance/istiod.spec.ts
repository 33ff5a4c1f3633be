// Owns the proof that replaying a real istiod's streams ends in what that istiod held itself.

import { describe, expect, it } from "vitest";
import { ADDRESS_TYPE } from "../../daemon/xds/resource.js";
import { DeltaDiscoveryRequest } from "../../proto/gen/discovery.js";
import { type HeldMesh, meshOf, readDump, readFixture } from "./ambientz.js";
import { dumpOf, fixture, Replay, session } from "./replay.js";

/** Names by type, as istiod says that a client following the protocol holds them. */
const held = (scenario: string): unknown =>
  JSON.parse(readFixture(fixture(scenario, "ambientz-end-held.json")));

function namesOf(replay: Replay) {
  const { workloads, services, policies } = replay.store;
  return {
    "type.googleapis.com/istio.workload.Address": [...workloads.keys(), ...services.keys()].sort(),
    "type.googleapis.com/istio.security.Authorization": [...policies.keys()].sort(),
  };
}

describe.each([
  ["bookinfo", "frames-1.bin", 46, 13],
  ["oddities", "frames-1.bin", 37, 14],
  ["large", "frames-1.bin.gz", 11_000, 50],
])("%s", (scenario, file, addresses, policies) => {
  it("holds what istiod held after the first push, after each response, and at the end", () => {
    const replay = new Replay();
    replay.open();
    let responses = 0;
    for (const frame of session(scenario, file).filter((f) => f.response)) {
      const { answer, response } = replay.play(frame.message);
      expect(answer).toEqual(
        DeltaDiscoveryRequest.fromPartial({ typeUrl: response.typeUrl, responseNonce: response.nonce }),
      );
      if (++responses !== 2) continue;
      const start = replay.mesh();
      expect(start.workloads.length + start.services.length).toBe(addresses);
      expect(start.policies.length).toBe(policies);
      expect(start).toEqual(dumpOf(scenario, "start"));
    }
    expect(responses).toBeGreaterThan(5);
    expect(replay.mesh()).toEqual(dumpOf(scenario, "end"));
    expect(namesOf(replay)).toEqual(held(scenario));
  });
});

describe("bookinfo", () => {
  it("spends nothing on resources sent with the version already held", () => {
    const replay = new Replay();
    replay.open();
    let sent = 0;
    let changed = 0;
    for (const frame of session("bookinfo", "frames-1.bin").filter((f) => f.response)) {
      const { response, delta } = replay.play(frame.message);
      if (response.typeUrl !== ADDRESS_TYPE) continue;
      sent += response.resources.length;
      const changes = [...delta.workloads, ...delta.services];
      changed += changes.filter((change) => change.after !== undefined).length;
    }
    expect({ sent, unchanged: sent - changed }).toEqual({ sent: 177, unchanged: 46 });
  });
});

describe("large", () => {
  it("has nothing to do when it comes back to an unchanged mesh", () => {
    const replay = new Replay();
    replay.open();
    for (const frame of session("large", "frames-1.bin.gz").filter((f) => f.response))
      replay.play(frame.message);
    const frames = session("large", "frames-2.bin.gz");
    expectSameLists(replay.open(), frames);
    for (const frame of frames.filter((f) => f.response)) {
      const { delta } = replay.play(frame.message);
      expect([...delta.workloads, ...delta.services, ...delta.policies]).toEqual([]);
    }
    expect(replay.mesh()).toEqual(dumpOf("large", "end"));
  });
});

describe("reconnect", () => {
  it("follows through streams cut, things gone meanwhile, and asks as the recorded client did", () => {
    const replay = new Replay();
    for (const number of [1, 2, 3, 4, 5, 6]) {
      const frames = session("reconnect", `frames-${number}.bin`);
      const requests = replay.open();
      // Sessions 5 and 6 of the recorded client list names without versions, and less after its NACKs.
      if (number <= 4) expectSameLists(requests, frames);
      for (const [i, frame] of frames.filter((f) => f.response).entries()) {
        expect(replay.play(frame.message).answer?.errorDetail).toBeUndefined();
        if (number === 1 && i === 1) expect(replay.mesh()).toEqual(dumpOf("reconnect", "start"));
      }
    }
    expect(replay.mesh()).toEqual(dumpOf("reconnect", "end"));
    expect(namesOf(replay)).toEqual(held("reconnect"));

    const last = session("reconnect", "frames-8.bin");
    expectSameLists(replay.open(), last);
    for (const frame of last.filter((f) => f.response)) replay.play(frame.message);
    expect(namesOf(replay)).toEqual(held("reconnect"));
  });

  it("takes an on-demand stream's answers, unknown names among the removed", () => {
    const replay = new Replay();
    replay.open();
    for (const frame of session("reconnect", "frames-7.bin").filter((f) => f.response)) {
      expect(replay.play(frame.message).answer?.errorDetail).toBeUndefined();
    }
    expect(replay.store.services.has("shop/web.shop.svc.cluster.local")).toBe(true);
    expect(replay.store.workloads.size).toBeGreaterThan(0);
  });
});

describe("the comparison", () => {
  /** Every path to a value in a JSON document. */
  function leaves(json: unknown, path: (string | number)[] = []): (string | number)[][] {
    if (typeof json !== "object" || json === null) return [path];
    return Object.entries(json).flatMap(([key, value]) =>
      leaves(value, [...path, Array.isArray(json) ? Number(key) : key]),
    );
  }

  /** Another value in the same place; base64 of an address stays one. */
  function altered(value: unknown): unknown {
    if (typeof value === "number") return value === 9 ? 8 : 9;
    if (typeof value === "boolean") return !value;
    if (value === "DENY") return "ALLOW";
    const decoded = Buffer.from(String(value), "base64");
    if (/^[0-9.]+$/.test(decoded.toString()) && decoded.length > 6)
      return Buffer.from("9.9.9.9").toString("base64");
    if (/^[0-9a-f:.]+:[0-9a-f:.]+$/.test(decoded.toString()))
      return Buffer.from("fd99::9").toString("base64");
    if (decoded.toString("base64") === value && [4, 16].includes(decoded.length)) {
      return Buffer.alloc(decoded.length, 9).toString("base64");
    }
    return `${value}x`;
  }

  it.each(["bookinfo", "oddities"])("sees every single value that differs in %s", (scenario) => {
    const original = readDump(fixture(scenario, "ambientz-start.json"));
    const expected = JSON.stringify(plain(meshOf(original)));
    const unread = new Set(["appProtocol", "applicationTunnel"]);
    let seen = 0;
    for (const path of leaves(original)) {
      if (path.some((key) => unread.has(String(key)))) continue;
      const copy = structuredClone(original);
      const parent = path
        .slice(0, -1)
        .reduce<Record<string | number, unknown>>(
          (at, key) => at[key] as Record<string | number, unknown>,
          copy as Record<string | number, unknown>,
        );
      const last = path.at(-1) ?? "";
      // Every address means the same block of no bits.
      if (path[0] === "policies" && last === "address" && parent.length === undefined) continue;
      parent[last] = altered(parent[last]);
      expect(JSON.stringify(plain(meshOf(copy))), path.join(".")).not.toBe(expected);
      seen++;
    }
    expect(seen).toBeGreaterThan(400);
  });
});

/** Maps as objects, for a textual comparison. */
function plain(mesh: HeldMesh): unknown {
  return { ...mesh, workloads: mesh.workloads.map((w) => ({ ...w.fields(), services: [...w.services] })) };
}

/** Names and versions listed are those that the recorded client listed. */
function expectSameLists(requests: DeltaDiscoveryRequest[], frames: ReturnType<typeof session>): void {
  const recorded = frames.filter((frame) => !frame.response).slice(0, 2);
  expect(requests.map((request) => [request.typeUrl, sortedEntries(request)])).toEqual(
    recorded.map(({ message }) => {
      const request = DeltaDiscoveryRequest.decode(message);
      return [request.typeUrl, sortedEntries(request)];
    }),
  );
}

function sortedEntries(request: DeltaDiscoveryRequest): [string, string][] {
  return [...request.initialResourceVersions].sort(([a], [b]) => (a < b ? -1 : 1));
}
