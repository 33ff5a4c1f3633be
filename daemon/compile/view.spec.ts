import { describe, expect, it } from "vitest";
import { type Backend, FRONTEND_SHIFT, type MapName, maps } from "../bpf/maps.gen.js";
import { toKeyBytes } from "../model/address.js";
import { logicalView, type MapEntry } from "./view.js";
import { tagOfKey, wordOf } from "./word.js";

const NOBODY = new Map<number, string>();
const one: Backend = { address: toKeyBytes("10.0.0.1"), port: 8080, workload: 1 };
const two: Backend = { address: toKeyBytes("2001:db8::2"), port: 8080, workload: 2 };

const vip = toKeyBytes("10.96.0.1");

function naming(index: number, tag = tagOfKey(vip)): MapEntry {
  const words = {
    workload: wordOf(0, tag),
    identity: wordOf(0, tag),
    frontend: wordOf(index << FRONTEND_SHIFT, tag),
    waypoint: wordOf(0, tag),
  };
  return ["addresses", vip, maps.addresses.value.encode(words)];
}

/** Port 80 of an address of which nothing else is said. */
function target(index: number, firstSlot: number, slots: number): MapEntry[] {
  const value = {
    service: 9,
    firstSlot,
    slots,
    run: 0,
    flags: 0,
    reason: 0,
    port: 80,
    ports: 0,
    waypoint: 0,
  };
  const first = { ...value, firstSlot: 0, slots: 0, port: 0, ports: 1 };
  return [first, value].map((said, at): MapEntry => {
    return ["targets", maps.targets.key.encode(index + at), maps.targets.value.encode(said)];
  });
}

function slot(index: number, primary: Backend, alias: Backend, threshold: number): MapEntry {
  return ["slots", maps.slots.key.encode(index), maps.slots.value.encode({ primary, alias, threshold })];
}

function backends(state: MapEntry[]): readonly string[] | undefined {
  const { frontends } = logicalView(state, NOBODY);
  return (frontends["10.96.0.1/128:80"] ?? frontends["10.96.0.1/128:0"])?.backends;
}

describe("view", () => {
  it("resolves a run to shares, wherever and in whatever columns it lies", () => {
    const shares = ["10.0.0.1:8080 1 0.250000000", "2001:db8::2:8080 2 0.750000000"];
    const low = [...target(1, 0, 2), slot(0, one, two, 2 ** 31), slot(1, two, two, 0xffffffff)];
    expect(backends([naming(1), ...low])).toEqual(shares);
    const high = [...target(8, 5, 2), slot(6, one, two, 2 ** 31), slot(5, two, two, 0xffffffff)];
    expect(backends([naming(8), ...high])).toEqual(shares);
  });

  it("shows what is missing", () => {
    expect(backends([naming(1), ...target(1, 0, 2), slot(0, one, one, 0xffffffff)])).toEqual([
      "10.0.0.1:8080 1 0.500000000",
      "missing 0.500000000",
    ]);
    expect(backends([naming(5), ...target(1, 0, 2)])).toEqual(["missing"]);
    expect(backends([naming(1, 5), ...target(1, 0, 2)])).toEqual(["missing"]);
    const tag = tagOfKey(toKeyBytes("10.0.0.1"));
    const nothing = wordOf(0, tag);
    const words = {
      workload: wordOf(1, tag),
      identity: wordOf(4, tag),
      frontend: nothing,
      waypoint: nothing,
    };
    const row = maps.addresses.value.encode(words);
    const { addresses } = logicalView([["addresses", toKeyBytes("10.0.0.1"), row]], NOBODY);
    expect(addresses["10.0.0.1"]).toEqual({
      workload: 1,
      identity: "unknown",
      flags: 0,
      waypoint: undefined,
    });
    const word = wordOf(7, 5);
    const pod = maps.pods.value.encode({
      guard: word,
      workload: word,
      service: word,
      namespace: word,
      flags: wordOf(1, 5),
    });
    expect(logicalView([["pods", maps.pods.key.encode(5n), pod]], NOBODY).pods).toEqual({
      5: { workload: 7, service: 7, namespace: 7, flags: 1, guard: "missing" },
    });
  });

  it("counts rows of tables and identities that are not there", () => {
    const row = { chunks: 0n, first: 0 };
    const rows: [MapName, Uint8Array, Uint8Array][] = [
      [
        "authz_identity",
        maps.authz_identity.key.encode({ table: 7, identity: 4 }),
        maps.authz_identity.value.encode(row),
      ],
      ["authz_port", maps.authz_port.key.encode({ table: 7, port: 80 }), maps.authz_port.value.encode(row)],
    ];
    expect(logicalView(rows, new Map([[4, "x"]])).orphans).toBe(2);
    expect(logicalView(rows, NOBODY).orphans).toBe(3);
  });
});
