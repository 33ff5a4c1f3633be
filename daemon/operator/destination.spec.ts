// Owns the proof of what a destination that an operator names stands for.

import { expect, it } from "vitest";
import { describe as sentenceOf } from "../base/errors.js";
import type { NodeContext } from "../compile/node.js";
import type { Service } from "../model/service.js";
import { createStore } from "../model/store.js";
import { pod, service } from "../model/test-samples.js";
import { destinationOf } from "./destination.js";

const node: NodeContext = {
  node: "node-a",
  locality: { region: "", zone: "", subzone: "" },
  cluster: "Kubernetes",
  network: "net-1",
};

function named(
  name: string,
  namespace: string,
  fields: Partial<Service> & { vips?: string[] } = {},
): Service {
  return service(name, { namespace, hostname: `${name}.${namespace}.svc.cluster.local`, ...fields });
}

const elsewhere = service("far", { hostname: "far.org" });
const store = createStore();
store.apply({
  services: [
    named("web", "shop", { vips: ["10.96.0.1", "fd96::1"] }),
    named("web", "other", { vips: ["10.96.0.2"] }),
    named("private", "other", { vips: ["10.96.0.3"], visibility: "NAMESPACE" }),
    named("headless", "shop"),
    service("out", { hostname: "api.example.org", namespace: "other", vips: ["10.96.0.4"] }),
    service("out", { hostname: "api.example.org", namespace: "shop", vips: ["10.96.0.5"] }),
    service("block", { hostname: "block.org", vips: ["10.0.0.0/8"] }),
    { ...elsewhere, addresses: [{ network: "net-2", address: "10.96.0.6", prefixLength: 32 }] },
  ],
  workloads: [
    pod("db", {
      namespace: "shop",
      addresses: ["10.0.0.7"],
      serves: { "shop/headless.shop.svc.cluster.local": "80" },
    }),
  ],
});

const ask = (to: string, namespace = "shop") => {
  const found = destinationOf(store, node, to, namespace);
  return found.ok ? found.value.addresses.join() : sentenceOf(found.error);
};

it.each([
  ["10.1.2.3:80", "10.1.2.3"],
  ["[FD00::0:1]:80", "fd00::1"],
  ["web:80", "10.96.0.1,fd96::1"],
  ["web.other:80", "10.96.0.2"],
  ["web.other.svc:80", "10.96.0.2"],
  ["Web.other.svc.cluster.local.:80", "10.96.0.2"],
  ["other/web:80", "10.96.0.2"],
  ["other/web.other.svc.cluster.local:80", "10.96.0.2"],
  ["shop/db:80", "10.0.0.7"],
])("%s is what the pod's resolver would find: %s", (to, addresses) => {
  expect(ask(to)).toBe(addresses);
});

it("the same name is that of the client's own namespace", () => {
  expect(ask("web:80", "other")).toBe("10.96.0.2");
  expect(ask("api.example.org:80", "shop")).toBe("10.96.0.5");
  expect(ask("api.example.org:80", "other")).toBe("10.96.0.4");
});

it.each([
  ["web", '"web" is no HOST:PORT'],
  ["web:0", '"web:0" is no HOST:PORT'],
  ["web.:80", "knows no service or pod web."],
  ["nothing:80", "knows no service or pod nothing"],
  ["private.other:80", "is not visible from namespace shop"],
  ["headless:80", "such as 10.0.0.7: give one"],
  ["block.org:80", "one of 10.0.0.0/8"],
  ["far.org:80", "on other networks only"],
])("%s is refused: %s", (to, said) => {
  expect(ask(to)).toContain(said);
});
