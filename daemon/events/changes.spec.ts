import { expect, it } from "vitest";
import type { Policy } from "../model/policy.js";
import { createStore } from "../model/store.js";
import { pod, service } from "../model/test-samples.js";
import type { Update } from "../model/update.js";
import { tellChanges } from "./changes.js";
import type { Told } from "./event.js";

const store = () => {
  const held = createStore();
  return (update: Update) => {
    const told: Told[] = [];
    tellChanges(held.apply(update), (event) => told.push(event));
    return told.map(({ type, subject, what, text }) => [type, subject, what, text]);
  };
};
const deny: Policy = {
  name: "no",
  namespace: "default",
  scope: "NAMESPACE",
  action: "DENY",
  rules: [{ clauses: [] }],
  dryRun: false,
};
const serves = { "default/web": "80:8080" };
const a = (more: object = {}) => pod("a", { addresses: ["10.0.0.1"], serves, ...more });
const { uid } = a();

it("tells of policies that come, change and go", () => {
  const apply = store();
  expect(apply({ policies: [deny] })).toEqual([
    ["policy", "default/no", "added", "policy default/no was added: DENY for namespace default, 1 rule"],
  ]);
  expect(apply({ policies: [{ ...deny, dryRun: true, rules: [] }] })).toEqual([
    [
      "policy",
      "default/no",
      "changed",
      "policy default/no was changed: DENY for namespace default, 0 rules, dry run",
    ],
  ]);
  expect(apply({ removedPolicies: ["default/no"] })).toEqual([
    ["policy", "default/no", "removed", "policy default/no was removed"],
  ]);
});

it("tells of endpoints that join, fall ill, move and leave, and whom a policy selects", () => {
  const apply = store();
  const events = (update: Update) => apply(update).map(([, , what, text]) => `${what}: ${text}`);
  expect(events({ services: [service("web")], workloads: [a()] })).toEqual([
    "added: service default/web was added",
    "joined: default/a (10.0.0.1) joined default/web",
  ]);
  expect(events({ workloads: [a().with({ status: "UNHEALTHY" })] })).toEqual([
    "unhealthy: default/a is said to be unhealthy: default/web passes it over",
  ]);
  expect(events({ workloads: [a({ addresses: ["10.0.0.2"] })] })).toEqual([
    "healthy: default/a is healthy again, for default/web",
    "moved: default/a of default/web moved from 10.0.0.1 to 10.0.0.2",
  ]);
  expect(events({ workloads: [a().with({ authorizationPolicies: ["default/no"] })] })).toEqual([
    "moved: default/a of default/web moved from 10.0.0.2 to 10.0.0.1",
    "selected: default/a is selected by default/no",
  ]);
  expect(events({ workloads: [pod("a", { addresses: ["10.0.0.1"] })] })).toEqual([
    "left: default/a (10.0.0.1) left default/web: it does not serve it any more",
    "unselected: default/a is not selected any more by default/no",
  ]);
  events({ workloads: [a()] });
  expect(events({ removedAddresses: [uid] })).toEqual([
    "left: default/a (10.0.0.1) left default/web: the workload was removed",
  ]);
});

it("counts what one update has too much of", () => {
  const workloads = Array.from({ length: 1000 }, (_, index) => pod(`w${index}`, { addresses: [], serves }));
  const told = store()({ workloads });
  expect(told).toHaveLength(33);
  expect(told.at(-1)).toEqual([
    "endpoint",
    "",
    "more",
    "and 968 more resources of this kind in the same update",
  ]);
});
