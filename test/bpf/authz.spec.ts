// Owns the proof of the authorization verdict, run in the kernel on plain structs. Knows no hook and no packet.

import { describe, expect, it } from "vitest";
import {
  EventKind,
  Reason,
  reasonNames,
  TableNumber,
  TermFlag,
  type Word,
} from "../../daemon/bpf/maps.gen.js";
import { tagOfCookie, tagOfKey, wordOf } from "../../daemon/compile/word.js";
import { addressFromKeyBytes, toKeyBytes } from "../../daemon/model/address.js";
import { VerdictCase } from "./cases.gen.js";
import { counted, entry, loadObject, withObject } from "./fixture.js";
import { verdictFixtures } from "./verdict.cases.js";
import { CLIENT_PORT, type VerdictFixture } from "./verdict.fixture.js";
import { CLIENT, guarded, origins, POD, SERVER, settings, terms } from "./verdict.tables.js";

/** A case as it goes into the kernel: the outcome is filled with what no verdict gives. */
function caseOf({
  from = CLIENT,
  to = SERVER,
  port = 80,
}: Pick<VerdictFixture, "from" | "to" | "port">): VerdictCase {
  return {
    pod: POD,
    sourceAddress: toKeyBytes(from),
    destinationAddress: toKeyBytes(to),
    sourcePort: CLIENT_PORT,
    port,
    allowed: 0xdead,
    reason: 0xdead,
    policy: 0xdead,
    source: 0xdead,
    destination: 0xdead,
    identity: 0xdead,
    tag: 0xdead,
  };
}

describe("verdict", () => {
  it.each(verdictFixtures)("$description", (fixture) => {
    const { maps, expected } = fixture;
    const verdict = withObject("tests/authz", maps, (object) =>
      object.run("test_judge", VerdictCase, caseOf(fixture)),
    );
    expect({
      allowed: verdict.allowed === 1,
      reason: reasonNames[verdict.reason],
      policy: verdict.policy,
      source: verdict.source,
      destination: verdict.destination,
    }).toEqual({
      allowed: expected.allowed,
      reason: reasonNames[expected.reason],
      policy: expected.policy ?? 0,
      source: expected.source ?? 1,
      destination: expected.destination ?? 2,
    });
  });
});

it.each([
  CLIENT,
  "255.255.255.255",
  "2001:db8::ffff:1",
  "::",
])("the kernel tags the words of %s as the compiler does", (from) => {
  const { tag } = withObject("tests/authz", [], (object) =>
    object.run("test_judge", VerdictCase, caseOf({ from })),
  );
  expect(tag).toBe(tagOfKey(toKeyBytes(from)));
});

it("a word of the same key that is half written counts as absent", () => {
  const wordOfPod = (number: number) => wordOf(number, tagOfCookie(POD));
  const [open, unknown] = [wordOfPod(TableNumber.OPEN), wordOfPod(TableNumber.UNKNOWN)];
  const half = { number: open.number, tag: unknown.tag };
  const judged = (guard: Word) =>
    withObject(
      "tests/authz",
      [entry("pods", POD, { guard, workload: open, service: unknown, namespace: unknown, flags: unknown })],
      (object) => object.run("test_judge", VerdictCase, caseOf({})),
    );
  expect(judged(open)).toMatchObject({ allowed: 1, reason: Reason.AUTHZ_NO_POLICY });
  expect(judged(half)).toMatchObject({ allowed: 0, reason: Reason.AUTHZ_UNKNOWN_POD });
});

it("a judgement leaves no trace", () => {
  const maps = [...guarded({ deny: [0], dryRun: [257] }), settings({ accessLog: 1 })];
  withObject("tests/authz", maps, (object) => {
    expect(object.run("test_judge", VerdictCase, caseOf({})).allowed).toBe(0);
    expect([object.reasons(), object.policyHits()]).toEqual([{}, []]);
  });
});

describe("authorization counts", () => {
  it.each(verdictFixtures)("$description", (fixture) => {
    const { maps, expected } = fixture;
    withObject("tests/authz", maps, (object) => {
      const { allowed } = object.run("test_authorize", VerdictCase, caseOf(fixture));
      expect(allowed === 1).toBe(expected.allowed);
      expect(object.reasons()).toEqual(counted(expected.reason));
      expect(object.policyHits()).toEqual(expected.hits ?? []);
    });
  });

  it("every connection, summed over the CPUs", () => {
    withObject("tests/authz", guarded({ flags: 1, allow: [] }), (object) => {
      object.run("test_authorize", VerdictCase, caseOf({}), 1000);
      expect(object.reasons()).toEqual(counted(Reason.AUTHZ_NO_ALLOW, 1000));
      expect(object.policyHits()).toEqual([{ policy: 0, destinationParty: 2, kind: 0, count: 1000 }]);
    });
  });
});

describe("authorization records", () => {
  const accessLog = settings({ accessLog: 1 });
  const rules = [
    ...guarded({ dryRun: [257], deny: [0], port: terms(0, 257) }),
    ...origins(77, [0], TermFlag.DENY),
    ...origins(78, [257], TermFlag.DRY_RUN),
  ];

  it("a dry-run match and a denial in the access log, with the policy of each", async () => {
    const object = loadObject("tests/authz", [...rules, accessLog]);
    try {
      object.run("test_authorize", VerdictCase, caseOf({}));
      const events = await object.events(2, 5000);
      expect(events.map(({ kind, policy }) => ({ kind, policy }))).toEqual([
        { kind: EventKind.DRY_RUN, policy: 78 },
        { kind: EventKind.DENIED, policy: 77 },
      ]);
      const [, denial] = events;
      expect(denial).toMatchObject({
        reason: Reason.AUTHZ_DENIED,
        source: 1,
        destination: 2,
        sourcePort: CLIENT_PORT,
        destinationPort: 80,
      });
      expect(addressFromKeyBytes(denial?.sourceAddress ?? new Uint8Array())).toBe(CLIENT);
      expect(addressFromKeyBytes(denial?.destinationAddress ?? new Uint8Array())).toBe(SERVER);
    } finally {
      object.close();
    }
  });

  it("nothing while the access log is off", async () => {
    const object = loadObject("tests/authz", rules);
    try {
      object.run("test_authorize", VerdictCase, caseOf({}));
      expect(await object.events(1, 200)).toEqual([]);
      expect(object.reasons()).toEqual(counted(Reason.AUTHZ_DENIED));
    } finally {
      object.close();
    }
  });
});
