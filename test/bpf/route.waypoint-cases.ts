// Owns the fixtures of bpf/lib/route.h for what is behind waypoints.

import { AddressFlag, PodFlag, Reason, TargetFlag } from "../../daemon/bpf/maps.gen.js";
import { RouteAction } from "./cases.gen.js";
import { entry } from "./fixture.js";
import type { RouteFixture } from "./route.cases.js";
import { backend, frontend, owner, SAYS_NOTHING, slot, waypoint } from "./route.maps.js";

const v4Backend = backend("10.0.0.1", 8080, 3);

const behindWaypoint = frontend("10.96.0.1", 53, { service: 9, slots: 1, waypoint: 2 });
/** Waypoint 2: workload 6, of service 8, at slot 4. */
const guide = [
  waypoint(2, 62),
  entry("targets", 62, { ...SAYS_NOTHING, service: 8, firstSlot: 4, slots: 1, run: 55 }),
  slot(4, backend("10.0.0.6", 15008, 6)),
];
const guided = {
  action: RouteAction.REWRITE,
  reason: Reason.TO_WAYPOINT,
  workload: 6,
  firstSlot: 4,
  run: 55,
  backend: { address: "10.0.0.6", port: 15008 },
  waypoint: true,
};

export const waypointFixtures: readonly RouteFixture[] = [
  {
    description: "a workload behind a waypoint is reached through it",
    maps: [owner("10.0.0.1", 3, 0, 2), ...guide],
    to: { address: "10.0.0.1", port: 80 },
    expected: guided,
  },
  {
    description: "a workload behind a waypoint passes for datagrams: waypoints carry TCP",
    maps: [owner("10.0.0.1", 3, 0, 2), ...guide],
    to: { address: "10.0.0.1", port: 53, udp: true },
    expected: { action: RouteAction.PASS, reason: Reason.PASSTHROUGH, workload: 3 },
  },
  {
    description: "a workload of another network is refused also where it is behind a waypoint",
    maps: [owner("10.0.0.1", 3, AddressFlag.REMOTE_NETWORK, 2), ...guide],
    to: { address: "10.0.0.1", port: 80 },
    expected: { action: RouteAction.REFUSE, reason: Reason.REMOTE_NETWORK, workload: 3 },
  },
  {
    description: "a service behind a waypoint is reached through it, its slots notwithstanding",
    maps: [behindWaypoint, slot(0, v4Backend), ...guide],
    to: { address: "10.96.0.1", port: 53 },
    expected: { ...guided, service: 9 },
  },
  {
    description: "a service in mode PASSTHROUGH is reached through its waypoint",
    maps: [frontend("10.96.0.1", 53, { service: 9, flags: TargetFlag.PASSTHROUGH, waypoint: 2 }), ...guide],
    to: { address: "10.96.0.1", port: 53 },
    expected: { ...guided, service: 9 },
  },
  {
    description: "a service behind a waypoint refuses a port that it lacks",
    maps: [behindWaypoint, slot(0, v4Backend), ...guide],
    to: { address: "10.96.0.1", port: 54 },
    expected: { action: RouteAction.REFUSE, reason: Reason.NO_PORT, service: 9 },
  },
  {
    description: "a service behind a waypoint sends datagrams to its endpoints",
    maps: [behindWaypoint, slot(0, v4Backend), ...guide],
    to: { address: "10.96.0.1", port: 53, udp: true },
    expected: {
      action: RouteAction.REWRITE,
      reason: Reason.ROUTED,
      service: 9,
      workload: 3,
      backend: { address: "10.0.0.1", port: 8080 },
    },
  },
  {
    description: "what a waypoint opens goes to the endpoints",
    maps: [behindWaypoint, slot(0, v4Backend), ...guide],
    to: { address: "10.96.0.1", port: 53, podFlags: PodFlag.WAYPOINT },
    expected: {
      action: RouteAction.REWRITE,
      reason: Reason.ROUTED,
      service: 9,
      workload: 3,
      backend: { address: "10.0.0.1", port: 8080 },
    },
  },
  {
    description: "what a waypoint opens to a workload behind a waypoint passes",
    maps: [owner("10.0.0.1", 3, 0, 2), ...guide],
    to: { address: "10.0.0.1", port: 80, podFlags: PodFlag.WAYPOINT },
    expected: { action: RouteAction.PASS, reason: Reason.PASSTHROUGH, workload: 3 },
  },
  ...[
    { what: "that nobody has written", maps: [] },
    { what: "whose word is another's", maps: [waypoint(2, 62, 3), ...guide.slice(1)] },
    {
      what: "without endpoints",
      maps: [guide[0] ?? [], entry("targets", 62, { ...SAYS_NOTHING, reason: Reason.NO_WAYPOINT })],
    },
  ].map(
    ({ what, maps }): RouteFixture => ({
      description: `a waypoint ${what} refuses`,
      maps: [behindWaypoint, slot(0, v4Backend), ...maps],
      to: { address: "10.96.0.1", port: 53 },
      expected: { action: RouteAction.REFUSE, reason: Reason.NO_WAYPOINT, service: 9, waypoint: true },
    }),
  ),
];
