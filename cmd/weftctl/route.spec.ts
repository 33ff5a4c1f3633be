// Owns the proof of what `weftctl explain route` prints and accepts.

import { expect, it } from "vitest";
import type { ExplainedRoute } from "../../daemon/admin/route-answers.js";
import { route } from "../../daemon/admin/test-route.js";
import { base, serveEachTest, view } from "../../daemon/admin/test-server.js";
import { ok } from "../../daemon/base/errors.js";
import { ExitCode } from "./failure.js";
import { runWeftctl } from "./test-terminal.js";

serveEachTest();

const explain = (...args: string[]) =>
  runWeftctl(["--admin", base, "explain", "route", "--from", "shop/cart", "--to", "web:80", ...args]);

const [sample] = route.routes as [ExplainedRoute];

function answerWith(...routes: Partial<ExplainedRoute>[]): void {
  view.explainRoute = async () => ok({ ...route, routes: routes.map((each) => ({ ...sample, ...each })) });
}

it("says where it goes, which service decides and why, who shares it, and who does not", async () => {
  const { code, out } = await explain();
  expect(code).toBe(ExitCode.ok);
  expect(out.split("\n")).toEqual([
    "ROUTED to one of 2 endpoints",
    "from      shop/cart  Kubernetes//Pod/shop/cart",
    "to        10.96.0.1:80 tcp  for web:80, which is shop/web.shop.svc.cluster.local",
    "service   shop/web.shop.svc.cluster.local",
    "port      80 to 8080, unless an endpoint says other",
    "balancing FAILOVER REGION, ZONE; by weight",
    "",
    "AT         SERVICE                          WHICH",
    "10.96.0.1  shop/web.shop.svc.cluster.local  decides",
    "10.96.0.1  default/web                      comes after one of the client's own namespace",
    "",
    " SHARE  ENDPOINT       WORKLOAD",
    "75.0 %  10.0.0.2:8080  Kubernetes//Pod/shop/web-b",
    "25.0 %  10.0.0.1:8080  unknown (by way of Kubernetes/ServiceEntry/web)",
    "",
    "NOT USED                    ADDRESSES  WHY",
    "Kubernetes//Pod/shop/web-c  10.0.0.3   unhealthy",
    "",
  ]);
});

it("says a refusal with its reason, a destination that is left alone, and a disagreement loudly", async () => {
  const none = { candidates: [], service: null, port: null, balancing: null, endpoints: [], unused: [] };
  answerWith(
    { action: "refuse", reason: "no_healthy_endpoint", endpoints: [] },
    { ...none, action: "pass", reason: "passthrough", notes: ["weft leaves it"] },
    { differences: ["the kernel says a, the resources b"] },
  );
  const { out } = await explain();
  expect(out).toMatch(/^REFUSED \(no_healthy_endpoint\)\n/);
  expect(out).toContain("\n\nLEFT ALONE (passthrough)\n");
  expect(out).toContain("found     nothing: the mesh does not know this address\nnote      weft leaves it\n");
  expect(out).toContain("DIFFER: 'weftctl diff' compares them\n  the kernel says a, the resources b\n");
});

it("shows a dozen of many endpoints, and with -o wide those that the daemon lists", async () => {
  const endpoints = Array.from({ length: 40 }, (_, index) => ({
    address: `10.0.0.${index}:80`,
    workload: null,
    share: 1 / 5040,
    through: [],
  }));
  answerWith({ endpoints, omitted: { endpoints: 5000, unused: 0 } });
  const { out } = await explain();
  expect(out).toMatch(/^ROUTED to one of 5040 endpoints\n/);
  expect(out).toContain("0.020 %  10.0.0.11:80  unknown\nand 5028 more: -o wide shows up to a thousand\n");
  expect((await explain("-o", "wide")).out).toContain("10.0.0.39:80  unknown\nand 5000 more\n");
});

it("gives the whole answer as JSON, and asks for a datagram with --udp", async () => {
  const asked: unknown[] = [];
  view.explainRoute = async (query) => {
    asked.push(query);
    return ok(route);
  };
  expect(JSON.parse((await explain("-o", "json", "--udp")).out)).toEqual(route);
  await explain();
  expect(asked).toEqual([
    { from: "shop/cart", to: "web:80", protocol: "udp" },
    { from: "shop/cart", to: "web:80", protocol: "tcp" },
  ]);
});

it("says which pod is not enrolled, and which option is missing", async () => {
  const unknown = await runWeftctl(["--admin", base, "explain", "route", "--from", "a/b", "--to", "web:80"]);
  expect(unknown).toMatchObject({ code: ExitCode.failure });
  expect(unknown.err).toMatch(/^weftctl: pod a\/b is not enrolled/);
  const missing = await runWeftctl(["--admin", base, "explain", "route", "--from", "a/b"]);
  expect(missing).toMatchObject({ code: ExitCode.usage });
  expect(missing.err).toContain("--to");
});
