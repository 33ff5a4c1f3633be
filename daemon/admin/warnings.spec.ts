import { expect, it } from "vitest";
import type { StatusFacts } from "./responses.js";
import { facts, webPod } from "./test-operator-view.js";
import { warningsOf } from "./warnings.js";

it("has nothing to say of a daemon that is well", () => {
  expect(warningsOf(facts)).toEqual([]);
});

it("names each thing that is wrong, and what to do", () => {
  const ill: StatusFacts = {
    ...facts,
    xds: {
      ...facts.xds,
      state: "waiting",
      lastError: "ECONNREFUSED",
      types: [{ type: "Address", resources: 0, synced: true, responses: 1, nacks: 2 }],
    },
    hooks: facts.hooks.map((hook) => ({ ...hook, attached: false })),
    maps: [
      { name: "slots", entries: 32000, capacity: 32768 },
      { name: "sibling_flows", entries: 16384, capacity: 16384 },
      { name: "reasons", entries: 28, capacity: 28 },
      { name: "settings", entries: 1, capacity: 1 },
    ],
    pods: [{ ...webPod, workload: null }],
    accessLog: { enabled: true, file: null, written: 1, dropped: 3, dropReason: "nobody reads it" },
    eventsDropped: 4,
    authzEnforced: false,
    warnings: ["of the daemon itself"],
  };
  const texts = warningsOf(ill);
  expect(texts).toHaveLength(9);
  for (const expected of [
    "of the daemon itself",
    "no control plane at 127.0.0.1:15010",
    "2 Address responses",
    "connect4 is not attached",
    "map slots is 97 % full",
    "does not know pod default/web",
    "4 access log records",
    "3 access log lines did not reach standard output: nobody reads it",
    "authorization is not enforced",
  ]) {
    expect(
      texts.some((text) => text.includes(expected)),
      expected,
    ).toBe(true);
  }
});
