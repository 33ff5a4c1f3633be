// Owns the proof of what the reference says beside the verdict: which rule matched, and which came closest.

import { describe, expect, it } from "vitest";
import type { Inbound } from "./conditions.js";
import { matchingRule, nearestRule } from "./reference.js";
import { block, match, policy, text } from "./test-mesh.js";

const inbound: Inbound = {
  identity: { trustDomain: "cluster.local", namespace: "shop", serviceAccount: "cart" },
  source: "10.0.0.9",
  destination: "10.0.0.1",
  port: 8080,
};
const shop = match({ namespaces: [text("shop")] });
const port80 = match({ destinationPorts: [80] });
const both = match({
  namespaces: [text("default")],
  destinationPorts: [80],
  notSourceIps: [block("10.0.0.0/8")],
});

it("the rule that matches is the first that does", () => {
  expect(matchingRule(policy("p", [[[port80]], [[shop]], [[]]]), inbound)).toBe(1);
  expect(matchingRule(policy("p", [[[port80]]]), inbound)).toBeUndefined();
  expect(matchingRule(policy("p", []), inbound)).toBeUndefined();
});

describe("the rule that came closest", () => {
  const near = (...policies: Parameters<typeof nearestRule>[0]) => {
    const found = nearestRule(policies, inbound);
    return found && [found.policy.name, found.rule, found.failures.map(({ name }) => name)];
  };

  it("lacks the fewest conditions, counted over its clauses, in each by the nearest match", () => {
    expect(near(policy("p", [[[both]], [[port80]]]))).toEqual(["p", 1, ["destinationPorts"]]);
    expect(near(policy("p", [[[both]]]), policy("q", [[[both, port80], [shop]]]))).toEqual([
      "q",
      0,
      ["destinationPorts"],
    ]);
    expect(near(policy("p", [[[both]]]))).toEqual([
      "p",
      0,
      ["namespaces", "notSourceIps", "destinationPorts"],
    ]);
  });

  it("is none that can never match, nor one of a policy without rules", () => {
    expect(near(policy("p", [[[match()]], [[port80]]]))).toEqual(["p", 1, ["destinationPorts"]]);
    expect(near(policy("p", [[[match()]]]), policy("q", []))).toBeUndefined();
  });
});
