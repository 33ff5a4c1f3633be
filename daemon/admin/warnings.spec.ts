import { expect, it } from "vitest";
import type { StatusFacts } from "./answers.js";
import { facts, webPod } from "./test-operator-view.js";
import { warningsByKey, warningsOf } from "./warnings.js";

it("has nothing to say of a daemon that is well", () => {
  expect(warningsOf(facts)).toEqual([]);
});

it("has nothing to say of what was lost or refused long ago", () => {
  const old: StatusFacts = {
    ...facts,
    xds: {
      ...facts.xds,
      types: [{ type: "Address", resources: 3, synced: true, responses: 9, nacks: 2 }],
    },
    accessLog: { enabled: true, file: null, written: 1, dropped: 3, dropReason: "nobody reads it" },
    eventsDropped: 4,
  };
  expect(warningsOf(old)).toEqual([]);
});

it("has one warning of an export that fails, whatever the reason is by now", () => {
  const failing = (error: string): StatusFacts => ({
    ...facts,
    exportFailures: [{ signal: "metrics", since: "2024-09-14T08:00:00.000Z", error }],
  });
  const keys = ["nobody there", "too large"].map((error) => [...warningsByKey(failing(error)).keys()]);
  expect(keys).toEqual([["export of metrics"], ["export of metrics"]]);
});

it("names each thing that is wrong, and what to do", () => {
  const ill: StatusFacts = {
    ...facts,
    xds: {
      ...facts.xds,
      state: "waiting",
      lastError: "ECONNREFUSED",
    },
    hooks: facts.hooks.map((hook) => ({ ...hook, attached: false })),
    maps: [
      { name: "slots", entries: 32000, capacity: 32768 },
      { name: "sibling_flows", entries: 16384, capacity: 16384 },
      { name: "reasons", entries: 28, capacity: 28 },
      { name: "settings", entries: 1, capacity: 1 },
    ],
    pods: [{ ...webPod, workload: null }],
    accessLog: { enabled: true, file: null, written: 1, dropped: 30, dropReason: "nobody reads it" },
    recent: { minutes: 10, eventsDropped: 4, linesDropped: 3, nacks: { Address: 2, Authorization: 0 } },
    exportFailures: [{ signal: "logs", since: "2024-09-14T08:00:00.000Z", error: "nobody there" }],
    disabled: true,
    authzEnforced: false,
    warnings: ["of the daemon itself"],
  };
  const texts = warningsOf(ill);
  expect(texts).toHaveLength(11);
  for (const expected of [
    "weft is DISABLED",
    "of the daemon itself",
    "no control plane at 127.0.0.1:15010",
    "2 Address responses in the last 10 minutes",
    "connect4 is not attached",
    "map slots is 97 % full",
    "does not know pod default/web",
    "4 access log records in the last 10 minutes",
    "3 access log lines in the last 10 minutes did not reach standard output: nobody reads it",
    "the OTLP collector has taken no logs since 2024-09-14T08:00:00.000Z (nobody there)",
    "authorization is not enforced",
  ]) {
    expect(
      texts.some((text) => text.includes(expected)),
      expected,
    ).toBe(true);
  }
});
