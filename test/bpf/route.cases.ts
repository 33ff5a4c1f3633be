// Owns the fixtures of bpf/lib/route.h: what the maps hold, where a connection goes, what is to become of it.

import { AddressFlag, Reason, Switched, TargetFlag } from "../../daemon/bpf/maps.gen.js";
import { RouteAction } from "./cases.gen.js";
import { type Entry, entry } from "./fixture.js";
import {
  backend,
  blocks,
  frontend,
  naming,
  owner,
  rewriting,
  SAYS_NOTHING,
  slot,
  TARGETS,
  view,
} from "./route.maps.js";

export interface RouteFixture {
  readonly description: string;
  readonly maps: readonly (Entry | Entry[])[];
  readonly to: {
    readonly address: string;
    readonly port: number;
    readonly udp?: boolean;
    readonly namespace?: number;
    /** Of the client. */
    readonly podFlags?: number;
  };
  readonly expected: {
    readonly action: RouteAction;
    readonly reason: Reason;
    readonly service?: number;
    readonly workload?: number;
    readonly firstSlot?: number;
    readonly run?: number;
    readonly backend?: { readonly address: string; readonly port: number };
    readonly waypoint?: boolean;
  };
}

const v4Backend = backend("10.0.0.1", 8080, 3);
const v6Backend = backend("fd00::1", 8080, 4);

/** Services 10, 11 and 12 at targets 1, 3 and 5. */
const sharedTargets = [10, 11, 12].flatMap((service, at) => [
  entry("targets", 1 + 2 * at, { ...SAYS_NOTHING, service, reason: Reason.NO_PORT, ports: 1 }),
  entry("targets", 2 + 2 * at, { ...SAYS_NOTHING, service, reason: Reason.NO_ENDPOINT, port: 80 }),
]);

/** Service 9 at target 1, with every even port from 2 to 22; each says its own number as service. */
const manyPorts = Array.from({ length: 12 }, (_, at) =>
  at === 0
    ? entry("targets", 1, { ...SAYS_NOTHING, service: 9, reason: Reason.NO_PORT, ports: 11 })
    : entry("targets", 1 + at, {
        ...SAYS_NOTHING,
        service: 2 * at,
        reason: Reason.NO_ENDPOINT,
        port: 2 * at,
      }),
);

const refusals: RouteFixture[] = [
  Reason.NO_ENDPOINT,
  Reason.NO_HEALTHY_ENDPOINT,
  Reason.NO_LOCAL_ENDPOINT,
  Reason.NO_ADDRESS,
  Reason.REMOTE_NETWORK,
  Reason.NO_WAYPOINT,
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
    description: "while weft is disabled a frontend is left alone",
    maps: [
      frontend("10.96.0.1", 80, { service: 9, firstSlot: 5, slots: 1, run: 77 }),
      slot(5, v4Backend),
      entry("disabled", 0, Switched.DISABLED),
    ],
    to: { address: "10.96.0.1", port: 80 },
    expected: { action: RouteAction.PASS, reason: Reason.DISABLED },
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
    expected: { action: RouteAction.REFUSE, reason: Reason.NO_PORT, service: 9 },
  },
  {
    description: "a service refuses a port that it lacks",
    maps: [frontend("10.96.0.1", 80, { service: 9, slots: 1 }), slot(0, v4Backend)],
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
    maps: [naming("10.96.0.1", 4_000_000)],
    to: { address: "10.96.0.1", port: 80 },
    expected: { action: RouteAction.REFUSE, reason: Reason.SLOT_MISSING },
  },
  {
    description: "a frontend that names a target nobody has written refuses",
    maps: [naming("10.96.0.1", TARGETS + 1)],
    to: { address: "10.96.0.1", port: 80 },
    expected: { action: RouteAction.REFUSE, reason: Reason.SLOT_MISSING },
  },
  {
    description: "what is found while frontends are being rewritten holds all the same",
    maps: [rewriting, frontend("10.96.0.1", 443, { service: 9 })],
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
      blocks,
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
      blocks,
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
      blocks,
      frontend("10.1.0.0", 443, { service: 7, slots: 1 }, { prefixLength: 96 + 16 }),
      slot(0, v4Backend),
    ],
    to: { address: "10.2.0.0", port: 443 },
    expected: { action: RouteAction.PASS, reason: Reason.PASSTHROUGH },
  },
  {
    description: "a block leaves a port alone that it does not list",
    maps: [blocks, frontend("10.1.0.0", 443, { service: 7, slots: 1 }, { prefixLength: 96 + 16 })],
    to: { address: "10.1.200.3", port: 80 },
    expected: { action: RouteAction.PASS, reason: Reason.PASSTHROUGH },
  },
  {
    description: "the longest of two nested blocks decides",
    maps: [
      blocks,
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
      blocks,
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
      blocks,
      frontend("10.1.0.0", 81, { service: 1, slots: 1 }, { prefixLength: 96 + 16 }),
      frontend("10.1.0.9", 80, { service: 2 }),
      slot(0, v4Backend),
    ],
    to: { address: "10.1.0.9", port: 81 },
    expected: { action: RouteAction.REFUSE, reason: Reason.NO_PORT, service: 2 },
  },
  {
    description: "blocks are not asked where there are none",
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
    description: "an address with a frontend and a workload goes to the frontend",
    maps: [frontend("10.0.0.1", 80, { service: 9, slots: 1 }, { workload: 5 }), slot(0, v4Backend)],
    to: { address: "10.0.0.1", port: 80 },
    expected: {
      action: RouteAction.REWRITE,
      reason: Reason.ROUTED,
      service: 9,
      workload: 3,
      backend: { address: "10.0.0.1", port: 8080 },
    },
  },
  {
    description: "a workload inside a block is itself",
    maps: [
      blocks,
      frontend("10.0.0.0", 80, { service: 9, slots: 1 }, { prefixLength: 96 + 8 }),
      slot(0, v4Backend),
      owner("10.0.0.9", 3, 0),
    ],
    to: { address: "10.0.0.9", port: 80 },
    expected: { action: RouteAction.PASS, reason: Reason.PASSTHROUGH, workload: 3 },
  },
  {
    description: "the first, the middle and the last of many ports are found, and none between",
    maps: [manyPorts, naming("10.96.0.1", 1)],
    to: { address: "10.96.0.1", port: 7 },
    expected: { action: RouteAction.REFUSE, reason: Reason.NO_PORT, service: 9 },
  },
  ...[2, 12, 22].map((port) => ({
    description: `port ${port} of many is found`,
    maps: [manyPorts, naming("10.96.0.1", 1)],
    to: { address: "10.96.0.1", port },
    expected: { action: RouteAction.REFUSE, reason: Reason.NO_ENDPOINT, service: port },
  })),
  ...[
    { who: "of the first namespace", namespace: 4, service: 11 },
    { who: "of the last", namespace: 9, service: 12 },
    { who: "of another", namespace: 5, service: 10 },
  ].map(({ who, namespace, service }) => ({
    description: `clients ${who} see their service at a shared address`,
    maps: [sharedTargets, view(1, 1, { 4: 3, 9: 5 }), naming("10.96.0.1", 1, { flags: AddressFlag.SHARED })],
    to: { address: "10.96.0.1", port: 81, namespace },
    expected: { action: RouteAction.REFUSE, reason: Reason.NO_PORT, service },
  })),
  {
    description: "who sees nothing at a shared address goes to the block around it",
    maps: [
      blocks,
      sharedTargets,
      view(1, 0, { 4: 3 }),
      naming("10.96.0.1", 1, { flags: AddressFlag.SHARED }),
      frontend("10.0.0.0", 80, { service: 20, reason: Reason.NO_ENDPOINT }, { prefixLength: 96 + 8 }),
    ],
    to: { address: "10.96.0.1", port: 80, namespace: 5 },
    expected: { action: RouteAction.REFUSE, reason: Reason.NO_ENDPOINT, service: 20 },
  },
  {
    description: "a view that nobody has written refuses",
    maps: [naming("10.96.0.1", 40, { flags: AddressFlag.SHARED })],
    to: { address: "10.96.0.1", port: 80 },
    expected: { action: RouteAction.REFUSE, reason: Reason.SLOT_MISSING },
  },
  ...refusals,
];
