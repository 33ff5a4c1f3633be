// Owns the proof that what is enforced for a policy that cannot be represented is not wider than it, and hardly narrower.
// WEFT_SEED repeats a run; the seed stands in the name of the test.

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import * as wire from "../../proto/gen/authorization.js";
import type { Inbound } from "../compile/authz/conditions.js";
import { decide } from "../compile/authz/reference.js";
import type { Policy } from "../model/policy.js";
import { decodePolicy, standInFor } from "./decode-policy.js";

const seed = Number(process.env.WEFT_SEED ?? Date.now() & 0x7fffffff);
const BAD_PORT = 70_000;
const badAddress = { address: Uint8Array.of(10, 0), length: 8 };
const noType: wire.StringMatch = { matchType: undefined };
const exactly = (value: string): wire.StringMatch => ({ matchType: { $case: "exact", value } });

const match = (fields: Partial<wire.Match>) => wire.Match.fromPartial(fields);

function policy(action: wire.Action, rules: wire.Match[][][], more: Partial<wire.Authorization> = {}) {
  return wire.Authorization.fromPartial({
    name: "p",
    namespace: "default",
    action,
    rules: rules.map((clauses) => ({ clauses: clauses.map((matches) => ({ matches })) })),
    ...more,
  });
}

/** Rules in short: fields that say nothing are left out. */
function rulesOf(message: wire.Authorization): unknown {
  const said = (fields: object) =>
    Object.fromEntries(Object.entries(fields).filter(([, list]) => list.length > 0));
  return standInFor("default/p", message)?.rules.map(({ clauses }) =>
    clauses.map((matches) => matches.map(said)),
  );
}

describe("a DENY of which a part cannot be represented", () => {
  const deny = (rules: wire.Match[][][]) => rulesOf(policy(wire.Action.DENY, rules));

  it.each<[string, Partial<wire.Match>, object]>([
    [
      "one port of two",
      { destinationPorts: [80, BAD_PORT], namespaces: [exactly("a")] },
      { namespaces: [{ kind: "exact", value: "a" }] },
    ],
    ["one excluded port of two", { notDestinationPorts: [80, BAD_PORT] }, { notDestinationPorts: [80] }],
    ["an address", { sourceIps: [badAddress], destinationPorts: [80] }, { destinationPorts: [80] }],
    [
      "a principal without type",
      { principals: [noType], destinationPorts: [80] },
      { destinationPorts: [80] },
    ],
  ])("holds where that is %s, and keeps the rest", (_, fields, rest) => {
    expect(deny([[[match(fields)]]])).toEqual([[[rest]]]);
  });

  it("holds whole where that is all of a match, also beside others and beside an empty one", () => {
    const bad = match({ destinationPorts: [BAD_PORT] });
    const other = match({ destinationPorts: [80] });
    expect(deny([[[bad]]])).toEqual([[]]);
    expect(deny([[[bad, other], [other]]])).toEqual([[[{ destinationPorts: [80] }]]]);
    expect(deny([[[match({}), bad]]])).toEqual([[]]);
    expect(deny([[[match({ notDestinationPorts: [BAD_PORT] })]]])).toEqual([[]]);
  });

  it("matches nothing by a match that was empty from the start", () => {
    expect(deny([[[match({})]]])).toEqual([[[{}]]]);
  });
});

describe("an ALLOW of which a part cannot be represented", () => {
  const allow = (rules: wire.Match[][][]) => rulesOf(policy(wire.Action.ALLOW, rules));

  it("keeps the values that can be", () => {
    expect(allow([[[match({ destinationPorts: [80, BAD_PORT] })]]])).toEqual([
      [[{ destinationPorts: [80] }]],
    ]);
  });

  it.each<[string, Partial<wire.Match>]>([
    ["the only port", { destinationPorts: [BAD_PORT] }],
    ["one excluded port of two", { notDestinationPorts: [80, BAD_PORT] }],
    ["the only address", { sourceIps: [badAddress] }],
    ["an excluded address", { notSourceIps: [badAddress] }],
    ["a namespace without type", { namespaces: [noType] }],
  ])("does not match where that is %s", (_, fields) => {
    const other = match({ destinationPorts: [443] });
    expect(allow([[[match(fields)]]])).toEqual([]);
    expect(allow([[[match(fields), other]]])).toEqual([[[{ destinationPorts: [443] }]]]);
    expect(allow([[[match(fields)], [other]], [[other]]])).toEqual([[[{ destinationPorts: [443] }]]]);
  });

  it("is not opened by an empty match beside it, nor by a clause without matches", () => {
    const bad = match({ destinationPorts: [BAD_PORT] });
    expect(allow([[[match({}), bad]]])).toEqual([[[{}]]]);
    expect(allow([[[], [bad]]])).toEqual([]);
    expect(allow([[[]]])).toEqual([[[]]]);
  });
});

const PORTS = [80, 81, 82];
const SOURCES = ["10.0.0.1", "10.0.0.2", "10.0.1.3"];
/** Values that are damaged on their way: what is enforced must hold whatever they meant. */
const LOST_PORT = 82;
const LOST_SOURCE = 2;

const few = <T>(value: fc.Arbitrary<T>) =>
  fc.oneof(fc.constant<T[]>([]), fc.array(value, { minLength: 1, maxLength: 2 }));
const ports = few(fc.constantFrom(...PORTS));
const sources = few(
  fc.constantFrom({ host: 1, length: 32 }, { host: LOST_SOURCE, length: 32 }, { host: 0, length: 24 }),
);
const matches = fc
  .record({ destinationPorts: ports, notDestinationPorts: ports, sourceIps: sources, notSourceIps: sources })
  .map(({ sourceIps, notSourceIps, ...rest }) => {
    const blocks = (list: typeof sourceIps) =>
      list.map(({ host, length }) => ({ address: Uint8Array.of(10, 0, 0, host), length }));
    return match({ ...rest, sourceIps: blocks(sourceIps), notSourceIps: blocks(notSourceIps) });
  });
const messages = fc
  .record({
    action: fc.constantFrom(wire.Action.ALLOW, wire.Action.DENY),
    rules: fc.array(fc.array(fc.array(matches, { maxLength: 3 }), { maxLength: 3 }), { maxLength: 3 }),
  })
  .map(({ action, rules }) => policy(action, rules));

function damage(message: wire.Authorization): wire.Authorization {
  const damaged = structuredClone(message);
  for (const { matches } of damaged.rules.flatMap(({ clauses }) => clauses)) {
    for (const each of matches) {
      for (const list of [each.destinationPorts, each.notDestinationPorts])
        list.forEach((port, i) => {
          if (port === LOST_PORT) list[i] = BAD_PORT;
        });
      for (const list of [each.sourceIps, each.notSourceIps])
        for (const block of list) if (block.address[3] === LOST_SOURCE) block.length = 33;
    }
  }
  return damaged;
}

it(`never allows what the policy would not, and is the policy where all of it came (seed ${seed})`, () => {
  fc.assert(
    fc.property(messages, (message) => {
      const written = decodePolicy(message, "default/p");
      const damaged = damage(message);
      const received = decodePolicy(damaged, "default/p");
      const enforced = standInFor("default/p", damaged);
      if (!written.ok || enforced === undefined) throw new Error("no policy");
      if (received.ok) expect(enforced).toEqual(received.value);
      for (const inbound of connections())
        if (allowedBy(enforced, inbound))
          expect(allowedBy(written.value, inbound), JSON.stringify(inbound)).toBe(true);
    }),
    { seed, numRuns: 5_000 },
  );
});

function allowedBy(policy: Policy, inbound: Inbound): boolean {
  return decide([policy], inbound).allowed;
}

function* connections(): Generator<Inbound> {
  for (const port of PORTS)
    for (const source of SOURCES) yield { identity: undefined, source, destination: "10.0.9.9", port };
}
