// Owns the proof that what is said of a route is the kernel's own decision, and that the resources as received are
// held against it. That both agree wherever nothing is wrong is resolution.spec.ts's matter.

import { afterEach, expect, it } from "vitest";
import type { ExplainedRoute } from "../../daemon/admin/route-answers.js";
import { ok } from "../../daemon/base/errors.js";
import { EXPLAIN_ROUTE } from "../../daemon/bpf/hooks.js";
import { type MapName, maps, RouteQuestion, U32 } from "../../daemon/bpf/maps.gen.js";
import { createCompiler } from "../../daemon/compile/compiler.js";
import { singly } from "../../daemon/compile/operation.js";
import { atOnce } from "../../daemon/compile/steps.js";
import { createStore } from "../../daemon/model/store.js";
import { pod, service } from "../../daemon/model/test-samples.js";
import { explainRoute } from "../../daemon/operator/explain-route.js";
import { type LoadedObject, loadObject } from "./fixture.js";

const CLIENT = { cookie: 7n, namespace: "default", name: "client", netns: "" };
const VIP = "10.96.0.1";

let kernel: LoadedObject | undefined;
afterEach(() => kernel?.close());

function mesh() {
  const loaded = loadObject("explain", []);
  kernel = loaded;
  const store = createStore();
  const compiler = createCompiler({ node: "node-a" });
  const serves = { "default/web": "80:8080" };
  const update = {
    services: [service("web", { vips: [VIP] })],
    workloads: ["a", "b"].map((name, index) => pod(name, { addresses: [`10.0.0.${index + 1}`], serves })),
    pods: [CLIENT],
  };
  const { operations } = compiler.compile(store.apply(update), store);
  const all = [...singly(operations)];
  loaded.apply(all);
  const dataplane = {
    route: (question: RouteQuestion) => ok(loaded.run(EXPLAIN_ROUTE, RouteQuestion, question)),
    map: (name: MapName) => loaded.map(name),
  };
  const explain = (to = `${VIP}:80`): ExplainedRoute => {
    const parts = { store, compiler, pods: { enrolled: [CLIENT] }, dataplane, outliers: { aside: [] } };
    const said = atOnce(explainRoute(parts, { from: "default/client", to }));
    const [route] = said.ok ? said.value.routes : [];
    if (route === undefined) throw new Error("nothing is said");
    return route;
  };
  return { loaded, explain };
}

it("says nothing of a difference where there is none, and counts nothing", () => {
  const { loaded, explain } = mesh();
  expect(explain()).toMatchObject({
    action: "rewrite",
    endpoints: [
      { address: "10.0.0.1:8080", share: 0.5 },
      { address: "10.0.0.2:8080", share: 0.5 },
    ],
    differences: [],
  });
  expect(loaded.reasons()).toEqual({});
});

it("tells a slot that is not the service's, by shares and by the run's hash", () => {
  const { loaded, explain } = mesh();
  const slots = loaded.map("slots");
  const second = slots.lookup(U32.encode(1));
  if (second === undefined) throw new Error("no slot 1");
  slots.update(U32.encode(0), second);
  const { endpoints, differences } = explain();
  expect(endpoints).toMatchObject([{ address: "10.0.0.2:8080", share: 1 }]);
  expect(differences).toEqual([
    "the kernel's slots are not those that the service's target means",
    "10.0.0.1:8080 gets 0.00 %, by the resources 50.00 %",
    "10.0.0.2:8080 gets 100.00 %, by the resources 50.00 %",
  ]);
});

it("tells an address that the kernel has lost, and a pod", () => {
  const { loaded, explain } = mesh();
  loaded.empty(["addresses"]);
  expect(explain()).toMatchObject({
    action: "pass",
    reason: "passthrough",
    service: null,
    differences: [
      "the kernel says pass (passthrough), the resources rewrite (routed)",
      "the kernel finds service none, the resources default/web",
    ],
  });
  loaded.map("pods").delete(maps.pods.key.encode(CLIENT.cookie));
  expect(explain()).toMatchObject({ action: "pass", reason: "not_enrolled" });
  expect(explain().differences).toEqual(["the kernel does not know the pod: its connections pass unrouted"]);
});
