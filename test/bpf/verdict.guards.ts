// Owns the verdict fixtures that no table decides: what guards the pod, the node, the switches.

import { Reason, Switched, TableNumber, WorkloadId } from "../../daemon/bpf/maps.gen.js";
import { addressEntry, entry, podEntry } from "./fixture.js";
import {
  ALLOWED,
  ALLOWING,
  CLIENT_PORT,
  DENY_ALL,
  NO_ALLOW,
  NO_TABLE,
  NONE,
  type VerdictFixture,
} from "./verdict.fixture.js";
import { CLIENT, guarded, nodeOpen, POD, peers, SERVER, settings, TABLE, terms } from "./verdict.tables.js";

const UNKNOWN_POD = { allowed: false, reason: Reason.AUTHZ_UNKNOWN_POD } as const;
const denies = guarded({ flags: ALLOWING, identity: NONE });
const NODE = "10.0.0.254";

export const guardFixtures: readonly VerdictFixture[] = [
  {
    description: "no policy applies",
    maps: peers(TableNumber.OPEN),
    expected: { allowed: true, reason: Reason.AUTHZ_NO_POLICY },
  },
  {
    description: "nobody has said what guards the pod",
    maps: peers(TableNumber.UNKNOWN),
    expected: UNKNOWN_POD,
  },
  {
    description: "the pod is not there",
    maps: [addressEntry(CLIENT, { workload: 1 }), addressEntry(SERVER, { workload: 2 })],
    expected: { ...UNKNOWN_POD, destination: 0 },
  },
  {
    description: "the entry that was found has become another pod's",
    maps: [...peers(TABLE), podEntry(POD, { guard: TableNumber.OPEN, workload: 2 }, 8)],
    expected: { ...UNKNOWN_POD, destination: 0 },
  },
  {
    description: "the table is missing",
    maps: peers(TABLE),
    expected: NO_TABLE,
  },
  {
    description: "the number stands for policies that are not known or fit no table",
    maps: peers(TableNumber.DENY),
    expected: DENY_ALL,
  },
  {
    description: "it stands for a pod that nobody has named",
    maps: [...peers(TableNumber.DENY), podEntry(POD, { guard: TableNumber.DENY })],
    expected: { allowed: false, reason: Reason.AUTHZ_UNNAMED, destination: 0 },
  },
  {
    description: "an address that nobody lists is guarded like any other",
    maps: denies,
    to: "192.168.50.11",
    expected: NO_ALLOW,
  },
  {
    description: "an address that nobody lists is open like any other",
    maps: peers(TableNumber.OPEN),
    to: "fe80::1",
    from: "fe80::2",
    expected: { allowed: true, reason: Reason.AUTHZ_NO_POLICY, source: 0 },
  },
  {
    description: "the source is nobody's, and nothing asks who it is",
    maps: guarded({}),
    from: "192.0.2.9",
    expected: { ...ALLOWED, source: 0 },
  },
  {
    description: "the node has opened the connection, whatever guards the pod",
    maps: [...peers(TableNumber.DENY), settings({ authzNode: 1 }), nodeOpen(NODE, CLIENT_PORT)],
    from: NODE,
    expected: { allowed: true, reason: Reason.AUTHZ_NODE, source: WorkloadId.NODE },
  },
  {
    description: "the node has opened it, from the address of a workload",
    maps: [...denies, settings({ authzNode: 1 }), nodeOpen(CLIENT, CLIENT_PORT)],
    expected: { allowed: true, reason: Reason.AUTHZ_NODE },
  },
  {
    description: "the node has opened another connection: what it forwards from its address is judged",
    maps: [...denies, settings({ authzNode: 1 }), nodeOpen(NODE, CLIENT_PORT + 1)],
    from: NODE,
    expected: { ...NO_ALLOW, source: 0 },
  },
  {
    description: "the node has opened it and is not exempt",
    maps: [...denies, settings({}), nodeOpen(NODE, CLIENT_PORT)],
    from: NODE,
    expected: { ...NO_ALLOW, source: WorkloadId.NODE },
  },
  {
    description: "enforcement is switched off",
    maps: [...peers(TableNumber.DENY), settings({ authzOff: 1 })],
    expected: { allowed: true, reason: Reason.AUTHZ_OFF },
  },
  {
    description: "weft is disabled",
    maps: [...peers(TableNumber.UNKNOWN), entry("disabled", 0, Switched.DISABLED)],
    expected: { allowed: true, reason: Reason.DISABLED },
  },
  {
    description: "weft was disabled, and is enabled since",
    maps: [...peers(TableNumber.DENY), entry("disabled", 0, 1_800_000_000)],
    expected: DENY_ALL,
  },
  {
    description: "addresses may be missing, and nobody has the source: what it may be denied as is not known",
    maps: [...guarded({ identity: terms(0) }), settings({ authzLocked: 1 })],
    from: "192.0.2.9",
    expected: { ...DENY_ALL, source: 0 },
  },
  {
    description: "addresses may be missing, and the source is somebody's",
    maps: [...guarded({ identity: terms(0) }), settings({ authzLocked: 1 })],
    expected: ALLOWED,
  },
  {
    description: "addresses may be missing, and the table asks nobody who it is",
    maps: [...guarded({}), settings({ authzLocked: 1 })],
    from: "192.0.2.9",
    expected: { ...ALLOWED, source: 0 },
  },
  {
    description: "addresses may be missing, and no policy applies",
    maps: [...peers(TableNumber.OPEN), settings({ authzLocked: 1 })],
    from: "192.0.2.9",
    expected: { source: 0, allowed: true, reason: Reason.AUTHZ_NO_POLICY },
  },
];
