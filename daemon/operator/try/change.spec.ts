// Owns the proof of what policies that somebody tries are taken to mean, and of what is refused.

import { expect, it } from "vitest";
import { trialRequest } from "../../admin/api.js";
import { policy } from "../../compile/authz/test-mesh.js";
import { createStore } from "../../model/store.js";
import { pod } from "../../model/test-samples.js";
import { changeOf, renamed } from "./change.js";

const store = createStore();
store.apply({
  workloads: [
    pod("web", { authorizationPolicies: ["default/picky", "default/other"] }),
    pod("db", { authorizationPolicies: ["default/picky"] }),
    pod("afar"),
    pod("entry").with({ uid: "x/WorkloadEntry/default/entry" }),
  ],
  policies: [policy("picky", [], { namespace: "default", scope: "WORKLOAD_SELECTOR" })],
});
const enrolled = ["web", "db"].map((name, index) => ({ cookie: BigInt(index), namespace: "default", name }));
const parts = { store, pods: { enrolled }, config: { rootNamespace: "root" } } as unknown as Parameters<
  typeof changeOf
>[0];

const change = (request: object) => changeOf(parts, trialRequest.parse(request));
const selecting = { scope: "WORKLOAD_SELECTOR" };
function changed(request: object) {
  const result = change(request);
  if (!result.ok) throw result.error;
  return result.value;
}

it("a policy without a scope is for its namespace, in the root namespace for all", () => {
  const { policies } = changed({ policies: [{ name: "a" }, { name: "b", namespace: "root" }] });
  expect(policies.map(({ namespace, scope }) => `${namespace} ${scope}`)).toEqual([
    "default NAMESPACE",
    "root GLOBAL",
  ]);
});

it("a selector means the workloads that are listed, by name or uid, and from then on no other", () => {
  const workloads = ["db", "default/afar", "x/WorkloadEntry/default/entry"];
  const found = changed({ policies: [{ name: "picky", workloads }], removed: [] });
  expect([...(found.naming.get("default/picky") ?? [])]).toEqual([
    "Kubernetes//Pod/default/db",
    "Kubernetes//Pod/default/afar",
    "x/WorkloadEntry/default/entry",
  ]);
  expect(found.notes).toEqual([]);
  const named = (name: string) =>
    renamed(pod(name, { authorizationPolicies: ["default/picky", "a/b"] }), found);
  expect(named("db").authorizationPolicies).toEqual(["a/b", "default/picky"]);
  expect(named("web").authorizationPolicies).toEqual(["a/b"]);
});

it("one that is in force means the pods that name it, and it is said who they are", () => {
  const { naming, notes } = changed({ policies: [{ name: "picky", ...selecting }] });
  expect([...(naming.get("default/picky") ?? [])].length).toBe(2);
  expect(notes).toEqual([
    "policy default/picky selects by labels: taken to mean those that name it now, which is default/web, default/db",
  ]);
});

it("a policy that is gone is named by nobody", () => {
  const found = changed({ removed: ["default/picky"] });
  const workload = pod("web", { authorizationPolicies: ["default/picky", "default/other"] });
  expect(renamed(workload, found).authorizationPolicies).toEqual(["default/other"]);
});

it.each<[string, object, string]>([
  ["a new selector", { policies: [{ name: "new", ...selecting }] }, "say it with --workload NAMESPACE/NAME"],
  [
    "an unknown workload",
    { policies: [{ name: "new", workloads: ["nobody"] }] },
    "policy default/new is for workload nobody, which the control plane does not know",
  ],
  ["an unknown removal", { removed: ["default/none"] }, "there is no policy default/none to remove"],
  ["a name twice", { policies: [{ name: "a" }, { name: "a" }] }, "policy default/a is there twice"],
  [
    "one that is given and gone",
    { policies: [{ name: "picky", workloads: [] }], removed: ["default/picky"] },
    "policy default/picky is there twice",
  ],
])("%s is refused", (_, request, said) => {
  expect(change(request)).toMatchObject({
    ok: false,
    error: { code: "POLICY_UNCLEAR", message: expect.stringContaining(said) },
  });
});
