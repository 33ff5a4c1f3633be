// Owns the fixtures of bpf/lib/route.h: what the maps hold, where a connection goes, what is to become of it.

import { AddressFlag, maps, Reason, type Slot, type Target, TargetFlag } from "../../daemon/bpf/maps.gen.js";
import { tagOfKey, wordOf } from "../../daemon/compile/word.js";
import { toKeyBytes } from "../../daemon/model/address.js";
import { RouteAction } from "./cases.gen.js";
import { addressEntry, type Entry, entry } from "./fixture.js";

export interface RouteFixture {
  readonly description: string;
  readonly maps: readonly (Entry | Entry[])[];
  readonly to: { readonly address: string; readonly port: number; readonly udp?: boolean };
  readonly expected: {
    readonly action: RouteAction;
    readonly reason: Reason;
    readonly service?: number;
    readonly workload?: number;
    readonly firstSlot?: number;
    readonly run?: number;
    readonly backend?: { readonly address: string; readonly port: number };
  };
}

const ALWAYS_PRIMARY = 0xffffffff;
const HALF = 0x80000000;

/** Elements of `targets` are taken in turn: more than any case has. */
const TARGETS = 60;
let targetsMade = 0;

/** A frontend and what it says; `foreign`: its word is another key's. */
export function frontend(
  address: string,
  port: number,
  value: Partial<Target>,
  { prefixLength = 128, foreign = false } = {},
): Entry[] {
  const index = 1 + (targetsMade++ % TARGETS);
  return [
    entry("targets", index, { service: 0, firstSlot: 0, slots: 0, run: 0, flags: 0, reason: 0, ...value }),
    naming(address, port, index, { prefixLength, foreign }),
  ];
}

function naming(
  address: string,
  port: number,
  index: number,
  { prefixLength = 128, foreign = false } = {},
): Entry {
  const key = { address: toKeyBytes(address), port, prefixLength };
  const tag = tagOfKey(maps.frontends.key.encode(key));
  return entry("frontends", key, { target: wordOf(index, foreign ? tag + 1 : tag) });
}

/** As it is within a change. */
const rewriting = entry("rewrites", 0, 1);

function cidr(address: string, prefixLength: number): Entry {
  const base = toKeyBytes(address);
  return entry("cidrs", { prefixBits: prefixLength, address: base }, { address: base, prefixLength });
}

type Backend = Slot["primary"];

function backend(address: string, port: number, workload: number): Backend {
  return { address: toKeyBytes(address), port, workload };
}

/** One column of an alias table; without `alias` the primary is always taken. */
function slot(index: number, primary: Backend, alias: Backend = primary, threshold = ALWAYS_PRIMARY): Entry {
  return entry("slots", index, { primary, alias, threshold });
}

function owner(address: string, workload: number, flags: number): Entry {
  return addressEntry(address, { workload, identity: 1, flags });
}

const v4Backend = backend("10.0.0.1", 8080, 3);
const v6Backend = backend("fd00::1", 8080, 4);

const behindWaypoint = frontend("10.96.0.1", 53, { service: 9, slots: 1, flags: TargetFlag.WAYPOINT });

const refusals: RouteFixture[] = [
  Reason.NO_ENDPOINT,
  Reason.NO_HEALTHY_ENDPOINT,
  Reason.NO_LOCAL_ENDPOINT,
  Reason.NO_ADDRESS,
  Reason.REMOTE_NETWORK,
  Reason.WAYPOINT_UNSUPPORTED,
].map((reason) => ({
  description: `a frontend without slots refuses for the reason it carries (${reason})`,
  maps: [frontend("10.96.0.1", 80, { service: 9, reason })],
  to: { address: "10.96.0.1", port: 80 },
  expected: { action: RouteAction.REFUSE, reason, service: 9 },
}));

export const routeFixtures: readonly RouteFixture[] = [
  {
    description: "a frontend is rewritten to its backend",
    maps: [frontend("10.96.0.1", 80, { service: 9, firstSlot: 5, slots: 1, run: 77 }), slot(5, v4Backend)],
    to: { address: "10.96.0.1", port: 80 },
    expected: {
      action: RouteAction.REWRITE,
      reason: Reason.ROUTED,
      service: 9,
      workload: 3,
      firstSlot: 5,
      run: 77,
      backend: { address: "10.0.0.1", port: 8080 },
    },
  },
  {
    description: "the v4-mapped form of an address is the address",
    maps: [frontend("10.96.0.1", 80, { service: 9, slots: 1 }), slot(0, v4Backend)],
    to: { address: "::ffff:10.96.0.1", port: 80 },
    expected: {
      action: RouteAction.REWRITE,
      reason: Reason.ROUTED,
      service: 9,
      workload: 3,
      backend: { address: "10.0.0.1", port: 8080 },
    },
  },
  {
    description: "an IPv6 frontend is rewritten to an IPv6 backend",
    maps: [frontend("fd00:96::1", 80, { service: 9, slots: 1 }), slot(0, v6Backend)],
    to: { address: "fd00:96::1", port: 80 },
    expected: {
      action: RouteAction.REWRITE,
      reason: Reason.ROUTED,
      service: 9,
      workload: 4,
      backend: { address: "fd00::1", port: 8080 },
    },
  },
  {
    description: "ports are compared as a whole, in network order",
    maps: [frontend("10.96.0.1", 0x1234, { service: 9, slots: 1 }), slot(0, v4Backend)],
    to: { address: "10.96.0.1", port: 0x3412 },
    expected: { action: RouteAction.PASS, reason: Reason.PASSTHROUGH },
  },
  {
    description: "a service refuses a port that it lacks",
    maps: [
      frontend("10.96.0.1", 80, { service: 9, slots: 1 }),
      frontend("10.96.0.1", 0, { service: 9, flags: TargetFlag.ADDRESS, reason: Reason.NO_PORT }),
      slot(0, v4Backend),
    ],
    to: { address: "10.96.0.1", port: 81 },
    expected: { action: RouteAction.REFUSE, reason: Reason.NO_PORT, service: 9 },
  },
  {
    description: "a service in mode PASSTHROUGH is left alone, its slots notwithstanding",
    maps: [
      frontend("10.96.0.1", 80, { service: 9, slots: 1, flags: TargetFlag.PASSTHROUGH }),
      slot(0, v4Backend),
    ],
    to: { address: "10.96.0.1", port: 80 },
    expected: { action: RouteAction.PASS, reason: Reason.MODE_PASSTHROUGH, service: 9 },
  },
  {
    description: "a frontend that names a slot beyond the map refuses",
    maps: [frontend("10.96.0.1", 80, { service: 9, firstSlot: 4_000_000, slots: 1 })],
    to: { address: "10.96.0.1", port: 80 },
    expected: { action: RouteAction.REFUSE, reason: Reason.SLOT_MISSING, service: 9, firstSlot: 4_000_000 },
  },
  {
    description: "a frontend whose word is another key's refuses",
    maps: [frontend("10.96.0.1", 80, { service: 9, slots: 1 }, { foreign: true }), slot(0, v4Backend)],
    to: { address: "10.96.0.1", port: 80 },
    expected: { action: RouteAction.REFUSE, reason: Reason.SLOT_MISSING },
  },
  {
    description: "a frontend that names a target beyond the map refuses",
    maps: [naming("10.96.0.1", 80, 4_000_000)],
    to: { address: "10.96.0.1", port: 80 },
    expected: { action: RouteAction.REFUSE, reason: Reason.SLOT_MISSING },
  },
  {
    description: "a frontend that names a target nobody has written refuses",
    maps: [naming("10.96.0.1", 80, TARGETS + 1)],
    to: { address: "10.96.0.1", port: 80 },
    expected: { action: RouteAction.REFUSE, reason: Reason.SLOT_MISSING },
  },
  {
    description: "what is found while frontends are being rewritten holds all the same",
    maps: [rewriting, frontend("10.96.0.1", 0, { service: 9, reason: Reason.NO_PORT })],
    to: { address: "10.96.0.1", port: 80 },
    expected: { action: RouteAction.REFUSE, reason: Reason.NO_PORT, service: 9 },
  },
  {
    description: "a destination that is no frontend passes also while frontends are being rewritten",
    maps: [rewriting, owner("10.0.0.9", 3, 0)],
    to: { address: "10.0.0.9", port: 80 },
    expected: { action: RouteAction.PASS, reason: Reason.PASSTHROUGH, workload: 3 },
  },
  {
    description: "an address inside a block goes to the block's frontend",
    maps: [
      cidr("fd00:96::", 64),
      frontend("fd00:96::", 443, { service: 7, slots: 1 }, { prefixLength: 64 }),
      slot(0, v6Backend),
    ],
    to: { address: "fd00:96::beef", port: 443 },
    expected: {
      action: RouteAction.REWRITE,
      reason: Reason.ROUTED,
      service: 7,
      workload: 4,
      backend: { address: "fd00::1", port: 8080 },
    },
  },
  {
    description: "an IPv4 block lies behind the 96 bits of its mapped form",
    maps: [
      cidr("10.1.0.0", 96 + 16),
      frontend("10.1.0.0", 443, { service: 7, slots: 1 }, { prefixLength: 96 + 16 }),
      slot(0, v4Backend),
    ],
    to: { address: "10.1.200.3", port: 443 },
    expected: {
      action: RouteAction.REWRITE,
      reason: Reason.ROUTED,
      service: 7,
      workload: 3,
      backend: { address: "10.0.0.1", port: 8080 },
    },
  },
  {
    description: "an address just outside a block passes",
    maps: [
      cidr("10.1.0.0", 96 + 16),
      frontend("10.1.0.0", 443, { service: 7, slots: 1 }, { prefixLength: 96 + 16 }),
      slot(0, v4Backend),
    ],
    to: { address: "10.2.0.0", port: 443 },
    expected: { action: RouteAction.PASS, reason: Reason.PASSTHROUGH },
  },
  {
    description: "a block refuses a port that it lacks",
    maps: [
      cidr("10.1.0.0", 96 + 16),
      frontend("10.1.0.0", 443, { service: 7, slots: 1 }, { prefixLength: 96 + 16 }),
      frontend(
        "10.1.0.0",
        0,
        { service: 7, flags: TargetFlag.ADDRESS, reason: Reason.NO_PORT },
        { prefixLength: 96 + 16 },
      ),
    ],
    to: { address: "10.1.200.3", port: 80 },
    expected: { action: RouteAction.REFUSE, reason: Reason.NO_PORT, service: 7 },
  },
  {
    description: "the longest of two nested blocks decides",
    maps: [
      cidr("10.0.0.0", 96 + 8),
      cidr("10.1.0.0", 96 + 16),
      frontend("10.0.0.0", 80, { service: 1, slots: 1 }, { prefixLength: 96 + 8 }),
      frontend("10.1.0.0", 80, { service: 2, reason: Reason.NO_ENDPOINT }, { prefixLength: 96 + 16 }),
      slot(0, v4Backend),
    ],
    to: { address: "10.1.0.9", port: 80 },
    expected: { action: RouteAction.REFUSE, reason: Reason.NO_ENDPOINT, service: 2 },
  },
  {
    description: "an exact address beats the block around it",
    maps: [
      cidr("10.1.0.0", 96 + 16),
      frontend("10.1.0.0", 80, { service: 1, reason: Reason.NO_ENDPOINT }, { prefixLength: 96 + 16 }),
      frontend("10.1.0.9", 80, { service: 2, slots: 1 }),
      slot(0, v4Backend),
    ],
    to: { address: "10.1.0.9", port: 80 },
    expected: {
      action: RouteAction.REWRITE,
      reason: Reason.ROUTED,
      service: 2,
      workload: 3,
      backend: { address: "10.0.0.1", port: 8080 },
    },
  },
  {
    description: "an exact address decides the ports it lacks too, not the block around it",
    maps: [
      cidr("10.1.0.0", 96 + 16),
      frontend("10.1.0.0", 81, { service: 1, slots: 1 }, { prefixLength: 96 + 16 }),
      frontend("10.1.0.9", 0, { service: 2, flags: TargetFlag.ADDRESS, reason: Reason.NO_PORT }),
      slot(0, v4Backend),
    ],
    to: { address: "10.1.0.9", port: 81 },
    expected: { action: RouteAction.REFUSE, reason: Reason.NO_PORT, service: 2 },
  },
  {
    description: "a base address of a block is no exact frontend",
    maps: [frontend("10.1.0.0", 80, { service: 1, slots: 1 }, { prefixLength: 96 + 16 }), slot(0, v4Backend)],
    to: { address: "10.1.0.0", port: 80 },
    expected: { action: RouteAction.PASS, reason: Reason.PASSTHROUGH },
  },
  {
    description: "an unknown destination passes",
    maps: [],
    to: { address: "192.0.2.1", port: 80 },
    expected: { action: RouteAction.PASS, reason: Reason.PASSTHROUGH },
  },
  {
    description: "a workload's own address passes and is named",
    maps: [owner("10.0.0.1", 3, 0)],
    to: { address: "10.0.0.1", port: 80 },
    expected: { action: RouteAction.PASS, reason: Reason.PASSTHROUGH, workload: 3 },
  },
  {
    description: "a workload of another network is refused",
    maps: [owner("10.0.0.1", 3, AddressFlag.REMOTE_NETWORK)],
    to: { address: "10.0.0.1", port: 80 },
    expected: { action: RouteAction.REFUSE, reason: Reason.REMOTE_NETWORK, workload: 3 },
  },
  {
    description: "a workload behind a waypoint is refused",
    maps: [owner("10.0.0.1", 3, AddressFlag.WAYPOINT)],
    to: { address: "10.0.0.1", port: 80 },
    expected: { action: RouteAction.REFUSE, reason: Reason.WAYPOINT_UNSUPPORTED, workload: 3 },
  },
  {
    description: "a workload behind a waypoint passes for datagrams: waypoints carry TCP",
    maps: [owner("10.0.0.1", 3, AddressFlag.WAYPOINT)],
    to: { address: "10.0.0.1", port: 53, udp: true },
    expected: { action: RouteAction.PASS, reason: Reason.PASSTHROUGH, workload: 3 },
  },
  {
    description: "a service behind a waypoint is refused, its slots notwithstanding",
    maps: [behindWaypoint, slot(0, v4Backend)],
    to: { address: "10.96.0.1", port: 53 },
    expected: { action: RouteAction.REFUSE, reason: Reason.WAYPOINT_UNSUPPORTED, service: 9 },
  },
  {
    description: "a service behind a waypoint sends datagrams to its endpoints",
    maps: [behindWaypoint, slot(0, v4Backend)],
    to: { address: "10.96.0.1", port: 53, udp: true },
    expected: {
      action: RouteAction.REWRITE,
      reason: Reason.ROUTED,
      service: 9,
      workload: 3,
      backend: { address: "10.0.0.1", port: 8080 },
    },
  },
  ...refusals,
];

/** Runs of slots and the share of each workload among many picks. */
export const pickFixtures: readonly {
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

function worker(workload: number): Backend {
  return backend(`10.0.0.${workload}`, 8000 + workload, workload);
}
