// Owns the fixtures of bpf/lib/authz.h: what the maps hold, who connects where, what the verdict is to be.

import { HitKind, PolicyId, TableFlag, TermFlag } from "../../daemon/bpf/maps.gen.js";
import type { TermSet } from "../../daemon/compile/authz/rows.js";
import { addressEntry, type Entry } from "./fixture.js";
import {
  ALLOWED,
  ALLOWING,
  denied,
  FIRST,
  hit,
  NO_ALLOW,
  NO_TABLE,
  NONE,
  type VerdictFixture,
} from "./verdict.fixture.js";
import { guardFixtures } from "./verdict.guards.js";
import {
  addressRow,
  CLIENT,
  CLIENT_V6,
  destinationRow,
  guarded,
  IDENTITY,
  identityRow,
  origins,
  portRow,
  SERVER,
  SERVER_V6,
  TABLE,
  terms,
} from "./verdict.tables.js";

const actions: VerdictFixture[] = [
  {
    description: "an ALLOW matches",
    maps: guarded({ flags: ALLOWING }),
    expected: ALLOWED,
  },
  {
    description: "an ALLOW applies and does not match",
    maps: guarded({ flags: ALLOWING, identity: NONE }),
    expected: NO_ALLOW,
  },
  {
    description: "an ALLOW without rules admits nobody",
    maps: guarded({ flags: ALLOWING, allow: [] }),
    expected: NO_ALLOW,
  },
  {
    description: "a DENY matches and is named",
    maps: [...guarded({ deny: [0], port: FIRST }), ...origins(77, [0], TermFlag.DENY)],
    expected: denied(77),
  },
  {
    description: "a DENY applies and does not match",
    maps: guarded({ deny: [0], port: NONE }),
    expected: ALLOWED,
  },
  {
    description: "a DENY whose policy is not recorded denies all the same",
    maps: guarded({ deny: [0], port: FIRST }),
    expected: denied(PolicyId.UNKNOWN),
  },
  ...[
    [3, 300],
    [300, 3],
    [3, 1000],
    [1000, 3],
  ].map(
    ([deny = 0, allow = 0]): VerdictFixture => ({
      description: `a DENY (term ${deny}) beats an ALLOW (term ${allow})`,
      maps: [
        ...guarded({ deny: [deny], allow: [allow], port: terms(deny, allow), flags: ALLOWING }),
        ...origins(77, [deny], TermFlag.DENY),
      ],
      expected: denied(77),
    }),
  ),
  ...[130, 600].map(
    (second): VerdictFixture => ({
      description: `of two DENY the first (of term 70 and ${second}) is named`,
      maps: [
        ...guarded({ deny: [70, second], port: terms(70, second) }),
        ...origins(78, [second], TermFlag.DENY),
        ...origins(77, [70], TermFlag.DENY),
      ],
      expected: denied(77),
    }),
  ),
  {
    description: "chunks before the one that matches are passed over",
    maps: [
      ...guarded({ deny: [5, 300, 600], port: terms(5, 300, 600), address: terms(6, 301, 600) }),
      ...origins(77, [600], TermFlag.DENY),
    ],
    expected: denied(77),
  },
];

const dryRun = TermFlag.DRY_RUN;
const { WOULD_ALLOW } = HitKind;
const dryRuns: VerdictFixture[] = [
  {
    description: "a dry-run DENY is counted and changes nothing",
    maps: [...guarded({ dryRun: [0], port: FIRST }), ...origins(77, [0], dryRun | TermFlag.DENY)],
    expected: { ...ALLOWED, hits: [hit(77, HitKind.WOULD_DENY)] },
  },
  {
    description: "a dry-run ALLOW is counted and admits nobody",
    maps: [...guarded({ dryRun: [0], port: FIRST, flags: ALLOWING }), ...origins(77, [0], dryRun)],
    expected: { ...NO_ALLOW, hits: [hit(0, 0), hit(77, WOULD_ALLOW)] },
  },
  {
    description: "a dry-run match beside a denial: both are counted",
    maps: [
      ...guarded({ dryRun: [257], deny: [0], port: terms(0, 257) }),
      ...origins(77, [0], TermFlag.DENY),
      ...origins(78, [257], dryRun),
    ],
    expected: { ...denied(77), hits: [hit(77, 0), hit(78, WOULD_ALLOW)] },
  },
  ...[
    [63, 64],
    [255, 256],
  ].map(
    (across): VerdictFixture => ({
      description: `a dry-run policy of terms ${across.join(" and ")} is counted once`,
      maps: [...guarded({ dryRun: across, port: terms(...across) }), ...origins(77, across, dryRun)],
      expected: { ...ALLOWED, hits: [hit(77, WOULD_ALLOW)] },
    }),
  ),
  {
    description: "several dry-run policies in one word are counted each",
    maps: [
      ...guarded({ dryRun: [0, 5, 63], port: terms(0, 5, 63) }),
      ...origins(77, [0], dryRun),
      ...origins(78, [5], dryRun),
      ...origins(79, [63], dryRun),
    ],
    expected: { ...ALLOWED, hits: [hit(77, WOULD_ALLOW), hit(78, WOULD_ALLOW), hit(79, WOULD_ALLOW)] },
  },
  {
    description: "several matching terms of one dry-run policy are one hit",
    maps: [...guarded({ dryRun: [1, 2, 3], port: terms(1, 2, 3) }), ...origins(77, [1, 2, 3], dryRun)],
    expected: { ...ALLOWED, hits: [hit(77, WOULD_ALLOW)] },
  },
];

const edges: VerdictFixture[] = [0, 31, 32, 63, 64, 127, 255, 256, 1023, 16383].flatMap((bit) => [
  {
    description: `DENY at term ${bit}`,
    maps: [...guarded({ deny: [bit], port: terms(bit) }), ...origins(77, [bit], TermFlag.DENY)],
    expected: denied(77),
  },
  {
    description: `ALLOW at term ${bit}`,
    maps: guarded({ allow: [bit], port: terms(bit), flags: ALLOWING }),
    expected: ALLOWED,
  },
  {
    description: `dry run at term ${bit}`,
    maps: [...guarded({ dryRun: [bit], port: terms(bit) }), ...origins(77, [bit], dryRun)],
    expected: { ...ALLOWED, hits: [hit(77, WOULD_ALLOW)] },
  },
]);

/** Of each dimension: how a row is written, and which of them names the connection and which another. */
const dimensions = [
  {
    name: "identity",
    flag: TableFlag.BY_IDENTITY,
    row: (which: "own" | "other", set: TermSet, number?: number) =>
      identityRow(which === "own" ? IDENTITY : IDENTITY + 1, set, number),
  },
  {
    name: "address",
    flag: TableFlag.BY_ADDRESS,
    row: (which: "own" | "other", set: TermSet, number?: number) =>
      addressRow(which === "own" ? CLIENT : "10.0.0.3", 128, set, number),
  },
  {
    name: "destination",
    flag: TableFlag.BY_DESTINATION,
    row: (which: "own" | "other", set: TermSet, number?: number) =>
      destinationRow(which === "own" ? SERVER : "10.0.0.3", 128, set, number),
  },
  {
    name: "port",
    flag: TableFlag.BY_PORT,
    // The other is port 80 in the wrong byte order.
    row: (which: "own" | "other", set: TermSet, number?: number) =>
      portRow(which === "own" ? 80 : 0x5000, set, number),
  },
] as const;

const rows: VerdictFixture[] = dimensions.flatMap(({ name, flag, row }) => [
  {
    description: `${name}: a row of its own takes the default's place, to allow`,
    maps: [...guarded({ [name]: NONE, flags: ALLOWING | flag }), ...row("own", FIRST)],
    expected: ALLOWED,
  },
  {
    description: `${name}: a row of its own takes the default's place, to deny`,
    maps: [...guarded({ [name]: FIRST, flags: ALLOWING | flag }), ...row("own", NONE)],
    expected: NO_ALLOW,
  },
  {
    description: `${name}: without a row of its own the default counts`,
    maps: [...guarded({ [name]: FIRST, flags: ALLOWING | flag }), ...row("other", NONE)],
    expected: ALLOWED,
  },
  {
    description: `${name}: a row of another is not its own`,
    maps: [...guarded({ [name]: NONE, flags: ALLOWING | flag }), ...row("other", FIRST)],
    expected: NO_ALLOW,
  },
  {
    description: `${name}: rows of another table are not looked at`,
    maps: [...guarded({ [name]: NONE, flags: ALLOWING | flag }), ...row("own", FIRST, TABLE + 1)],
    expected: NO_ALLOW,
  },
  {
    description: `${name}: a dimension that no term asks about is not looked up`,
    maps: [...guarded({ flags: ALLOWING }), ...row("own", NONE)],
    expected: ALLOWED,
  },
]);

const BY_ADDRESS = ALLOWING | TableFlag.BY_ADDRESS;
const nested: Entry[] = [
  ...addressRow("10.0.0.0", 96 + 8, FIRST),
  ...addressRow("10.0.0.0", 96 + 24, NONE),
  ...addressRow("10.0.0.1", 96 + 32, FIRST),
  ...addressRow("fd00::", 16, FIRST),
  ...addressRow("fd00::", 64, NONE),
  ...addressRow("fd00::1", 128, FIRST),
];

const sources: readonly (readonly [from: string, to: string, admitted: boolean, where: string])[] = [
  [CLIENT, SERVER, true, "the address itself, inside two blocks"],
  ["10.0.0.7", SERVER, false, "the inner of two blocks"],
  ["10.9.0.1", SERVER, true, "the outer of two blocks"],
  ["11.0.0.1", SERVER, false, "outside every block"],
  [CLIENT_V6, SERVER_V6, true, "the IPv6 address itself, inside two blocks"],
  ["fd00::7", SERVER_V6, false, "the inner of two IPv6 blocks"],
  ["fd00:1::1", SERVER_V6, true, "the outer of two IPv6 blocks"],
  ["2001:db8::1", SERVER_V6, false, "outside every IPv6 block"],
];

const blocks = sources.map(
  ([from, to, admitted, where]): VerdictFixture => ({
    description: `source block: ${where}`,
    maps: [...guarded({ address: NONE, flags: BY_ADDRESS }), ...nested],
    from,
    to,
    expected: { ...(admitted ? ALLOWED : NO_ALLOW), source: from === CLIENT || from === CLIENT_V6 ? 1 : 0 },
  }),
);

const combinations: VerdictFixture[] = [
  {
    description: "a term holds only where all dimensions hold",
    maps: guarded({ identity: terms(0, 1), address: terms(1, 2), port: terms(0, 2), flags: ALLOWING }),
    expected: NO_ALLOW,
  },
  {
    description: "one term that holds in all dimensions is enough",
    maps: guarded({ identity: terms(0, 3), address: terms(3, 2), port: terms(1, 3), flags: ALLOWING }),
    expected: ALLOWED,
  },
  {
    description: "IPv6 peers are known by identity too",
    maps: [
      ...guarded({ identity: NONE, flags: ALLOWING | TableFlag.BY_IDENTITY }),
      ...identityRow(IDENTITY, FIRST),
    ],
    from: CLIENT_V6,
    to: SERVER_V6,
    expected: ALLOWED,
  },
  {
    description: "words of another address are nobody's",
    maps: [
      ...guarded({ identity: NONE, flags: ALLOWING | TableFlag.BY_IDENTITY }),
      ...identityRow(IDENTITY, FIRST),
      addressEntry(CLIENT, { workload: 1, identity: IDENTITY }, 9),
    ],
    expected: { ...NO_ALLOW, source: 0 },
  },
  {
    description: "an unknown source has identity 0",
    maps: [...guarded({ identity: FIRST, flags: ALLOWING | TableFlag.BY_IDENTITY }), ...identityRow(0, NONE)],
    from: "192.0.2.9",
    expected: { ...NO_ALLOW, source: 0 },
  },
  {
    description: "chunks that no policy fills are not read",
    maps: guarded({ allow: [0], port: terms(256), flags: ALLOWING }),
    expected: NO_ALLOW,
  },
];

/** Entries without those of a map. */
const without = (map: Entry["map"], entries: readonly Entry[]) => entries.filter((each) => each.map !== map);

const absences: VerdictFixture[] = [
  {
    description: "a DENY whose chunk was never written denies",
    maps: without("authz_chunks", guarded({ deny: [0], port: FIRST })),
    expected: NO_TABLE,
  },
  {
    description: "an ALLOW whose chunk was never written denies",
    maps: without("authz_chunks", guarded({ port: FIRST, flags: ALLOWING })),
    expected: NO_TABLE,
  },
];

export const verdictFixtures: readonly VerdictFixture[] = [
  ...guardFixtures,
  ...actions,
  ...dryRuns,
  ...edges,
  ...rows,
  ...blocks,
  ...combinations,
  ...absences,
];
