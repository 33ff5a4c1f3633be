// Owns the proof of the routing decision, run in the kernel on plain structs. Knows no hook and no packet.

import { describe, expect, it } from "vitest";
import { Reason } from "../../daemon/bpf/maps.gen.js";
import { addressFromKeyBytes, canonicalAddress, toKeyBytes } from "../../daemon/model/address.js";
import { RouteAction, RouteCase } from "./cases.gen.js";
import { type Entry, withObject } from "./fixture.js";
import { type RouteFixture, routeFixtures } from "./route.cases.js";
import { frontend, HALF, slot, worker } from "./route.maps.js";
import { waypointFixtures } from "./route.waypoint-cases.js";

const IPPROTO_TCP = 6;
const IPPROTO_UDP = 17;
const PICKS = 100_000;

/** Runs of slots and the share of each workload among many picks. */
const pickFixtures: readonly {
  readonly description: string;
  readonly slots: readonly Entry[];
  /** Index is the workload, up to CASE_PICKS of cases.h. */
  readonly shares: readonly number[];
}[] = [
  {
    description: "weights 1 and 3",
    slots: [slot(7, worker(1), worker(2), HALF), slot(8, worker(2))],
    shares: [0, 1 / 4, 3 / 4],
  },
  {
    description: "seven equal weights",
    slots: [1, 2, 3, 4, 5, 6, 7].map((workload) => slot(6 + workload, worker(workload))),
    shares: [0, 1 / 7, 1 / 7, 1 / 7, 1 / 7, 1 / 7, 1 / 7, 1 / 7],
  },
  {
    description: "weights 1, 1 and 98: two columns lean on the third",
    slots: [
      slot(7, worker(1), worker(3), Math.round(0.03 * 2 ** 32)),
      slot(8, worker(2), worker(3), Math.round(0.03 * 2 ** 32)),
      slot(9, worker(3)),
    ],
    shares: [0, 0.01, 0.01, 0.98],
  },
  {
    description: "a threshold of 0 is always the alias",
    slots: [slot(7, worker(1), worker(2), 0)],
    shares: [0, 0, 1],
  },
];

/** A case as it goes into the kernel: the outcome is filled with what no decision gives. */
function caseTo({ address, port, udp, namespace = 0, podFlags = 0 }: RouteFixture["to"]): RouteCase {
  return {
    address: toKeyBytes(canonicalAddress(address) ?? address),
    port,
    protocol: udp === true ? IPPROTO_UDP : IPPROTO_TCP,
    namespace,
    podFlags,
    action: 0xdead,
    reason: 0xdead,
    service: 0xdead,
    workload: 0xdead,
    firstSlot: 0xdead,
    run: 0xdead,
    backendAddress: new Uint8Array(16),
    backendPort: 0,
    waypoint: 0xdead,
    picks: new Array<number>(8).fill(0),
  };
}

describe("route", () => {
  it.each([...routeFixtures, ...waypointFixtures])("$description", ({ maps, to, expected }) => {
    const result = withObject("tests/route", maps.flat(), (object) =>
      object.run("test_route", RouteCase, caseTo(to)),
    );
    expect({
      action: result.action,
      reason: result.reason,
      service: result.service,
      workload: result.workload,
      firstSlot: result.firstSlot,
      run: result.run,
      backend: addressFromKeyBytes(result.backendAddress),
      backendPort: result.backendPort,
      waypoint: result.waypoint,
    }).toEqual({
      action: expected.action,
      reason: expected.reason,
      service: expected.service ?? 0,
      workload: expected.workload ?? 0,
      firstSlot: expected.firstSlot ?? 0,
      run: expected.run ?? 0,
      backend: expected.backend?.address ?? "::",
      backendPort: expected.backend?.port ?? 0,
      waypoint: Number(expected.waypoint ?? false),
    });
  });

  it.each(pickFixtures)("picks by weight: $description", ({ slots, shares }) => {
    const value = { service: 9, firstSlot: 7, slots: slots.length };
    const entries = [...slots, ...frontend("10.96.0.1", 80, value)];
    const result = withObject("tests/route", entries, (object) =>
      object.run("test_route", RouteCase, caseTo({ address: "10.96.0.1", port: 80 }), PICKS),
    );
    expect(result).toMatchObject({ action: RouteAction.REWRITE, reason: Reason.ROUTED });
    expect(result.picks.reduce((sum, picks) => sum + picks)).toBe(PICKS);
    for (const [workload, picks] of result.picks.entries()) {
      const share = shares[workload] ?? 0;
      // Six standard deviations of a binomial: a fair pick fails once in half a billion runs.
      const tolerance = 6 * Math.sqrt(PICKS * share * (1 - share));
      expect(Math.abs(picks - PICKS * share), `workload ${workload}`).toBeLessThanOrEqual(tolerance);
    }
  });
});
