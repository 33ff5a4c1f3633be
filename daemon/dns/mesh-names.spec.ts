// Owns the proof of what host names of the mesh stand for.

import { expect, it } from "vitest";
import { createStore } from "../model/store.js";
import { pod, service } from "../model/test-samples.js";
import { addressesOf } from "./mesh-names.js";

const store = createStore();
const apiKey = "shop/api.example.org";
store.apply({
  services: [
    service("api", { hostname: "api.example.org", namespace: "shop", vips: ["240.240.0.1", "2001:2::1"] }),
    service("api", {
      hostname: "api.example.org",
      namespace: "other",
      vips: ["240.240.0.2"],
      canonical: false,
    }),
    service("hidden", {
      hostname: "hidden.example.org",
      namespace: "other",
      vips: ["240.240.0.3"],
      visibility: "NAMESPACE",
    }),
    service("wild", { hostname: "*.wild.example.org", vips: ["240.240.0.4"] }),
    service("wider", { hostname: "*.example.org", vips: ["240.240.0.5"] }),
    service("block", { hostname: "block.org", vips: ["10.0.0.0/8"] }),
    service("headless", { hostname: "headless.org" }),
    {
      ...service("far", { hostname: "far.org" }),
      addresses: [{ network: "net-2", address: "240.240.0.6", prefixLength: 32 }],
    },
  ],
  workloads: [
    pod("a", { addresses: ["10.0.0.1", "fd00::1"], serves: { "default/headless.org": "80" } }),
    pod("b", { addresses: ["10.0.0.2"], serves: { "default/headless.org": "80" }, status: "UNHEALTHY" }),
  ],
});

const ask = (hostname: string, namespace = "shop") => {
  const found = addressesOf({ store, isLocal: (network) => network === "" }, hostname, namespace);
  return found && [...found.ipv4, ...found.ipv6].join(" ");
};

it.each([
  ["api.example.org", "240.240.0.1 2001:2::1"],
  ["API.Example.Org.", "240.240.0.1 2001:2::1"],
  ["x.wild.example.org", "240.240.0.4"],
  ["y.x.wild.example.org", "240.240.0.4"],
  ["elsewhere.example.org", "240.240.0.5"],
  ["headless.org", "10.0.0.1 fd00::1"],
])("%s: %s", (hostname, addresses) => {
  expect(ask(hostname)).toBe(addresses);
});

it("is the client's own namespace's before another's, and of those the canonical one", () => {
  expect(ask("api.example.org", "other")).toBe("240.240.0.2");
  expect(ask("api.example.org", "third")).toBe("240.240.0.1 2001:2::1");
});

it("is unknown where nobody says it, or not to this namespace", () => {
  expect(ask("example.org")).toBeUndefined();
  expect(ask("org")).toBeUndefined();
  expect(ask("hidden.example.org", "other")).toBe("240.240.0.3");
  // The wildcard that is everybody's stands for it elsewhere.
  expect(ask("hidden.example.org")).toBe("240.240.0.5");
});

it("has no address where there are blocks alone, or another network's", () => {
  expect([ask("block.org"), ask("far.org")]).toEqual(["", ""]);
});

it("follows the services that come and go", () => {
  store.apply({ removedAddresses: [apiKey] });
  expect(ask("api.example.org")).toBe("240.240.0.2");
  store.apply({ removedAddresses: ["other/api.example.org"] });
  expect(ask("api.example.org")).toBe("240.240.0.5");
});
