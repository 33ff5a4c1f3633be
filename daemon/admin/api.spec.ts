import { describe, expect, it } from "vitest";
import { createLogs } from "../base/log.js";
import { api, type Call, type CallName } from "./api.js";
import { adminRoutes } from "./routes.js";
import { ask, post, serveEachTest, serveInstead, view } from "./test-server.js";

serveEachTest();

describe("the audit", () => {
  it("says who asked for what change, and what came of it", async () => {
    const lines: Record<string, unknown>[] = [];
    const output = {
      write: (line: string) => void lines.push(JSON.parse(line)),
      written: 0,
      dropped: 0,
      close: async () => undefined,
    };
    const logs = createLogs({ levels: { default: "info", subsystems: new Map() }, format: "json", output });
    await serveInstead(
      adminRoutes(view, logs.logger("admin"), async function* () {
        yield "";
      }),
    );
    await ask("/pods");
    await ask("/accesslog?enable=true", { method: "POST" });
    await ask("/pods/default/none", { method: "DELETE" });
    logs.setLevel("default", "silent");
    const spec = { namespace: "default", name: "db", netns: "/run/netns/db" };
    await ask("/pods", post(spec));
    await ask("/debug/loggers", post({ name: "xds" }));
    // A question, whatever its method.
    await ask("/debug/try/authz", post({ policies: [] }));
    await until(() => lines.length === 4);
    const peer = expect.stringMatching(/^127\.0\.0\.1:\d+$/);
    expect(lines).toMatchObject([
      { msg: "change asked for", peer, call: "switchAccessLog", query: { enable: "true" }, status: 200 },
      { call: "unenroll", params: { namespace: "default", name: "none" }, status: 404, error: "POD_UNKNOWN" },
      { call: "enroll", body: spec, status: 201 },
      { call: "setLogger", status: 400, error: "bad request" },
    ]);
  });
});

describe("a request with a body larger than others may have", () => {
  const ports = Array.from({ length: 20_000 }, (_, index) => index);
  const large = { policies: [{ name: "p", rules: [{ destinationPorts: ports }] }] };

  it("is taken where its row says so, up to what it says", async () => {
    expect((await ask("/debug/try/authz", post(large))).status).toBe(200);
    expect((await ask("/debug/loggers", post(large))).status).toBe(413);
    const tooLarge = { policies: [{ name: "p".repeat(1024 * 1024) }] };
    expect((await ask("/debug/try/authz", post(tooLarge))).status).toBe(413);
  });

  it("is refused with the place of what is wrong in it", async () => {
    const { status, body } = await ask(
      "/debug/try/authz",
      post({ policies: [{ name: "p" }, { name: "q", rules: [{ sourceIps: ["10.0.0.0/33"] }] }] }),
    );
    expect(status).toBe(400);
    expect(body).toMatchObject({ reason: expect.stringContaining("policies: 1: rules: 0: sourceIps: 0: ") });
  });
});

describe("what is answered", () => {
  it.each(Object.entries(api))("%s is of the shape that its row tells", async (name, call: Call) => {
    const given: Partial<Record<CallName, [string, RequestInit?]>> = {
      setLogger: ["", post({ name: "xds", level: "info" })],
      switchAccessLog: ["?enable=false", { method: "POST" }],
      switchAuthz: ["?enable=false", { method: "POST" }],
      names: ["?kind=service"],
      explainAuthz: ["?from=shop/cart&to=default/web:8080"],
      explainRoute: ["?from=shop/cart&to=10.96.0.1:80"],
      tryAuthz: ["", post({ policies: [{ name: "p", rules: [{}] }] })],
      enroll: ["", post({ namespace: "default", name: "db", netns: "/run/netns/db" })],
      unenroll: ["", { method: "DELETE" }],
    };
    const [query = "", init] = given[name as CallName] ?? [];
    const path = call.path.replace(":namespace", "default").replace(":name", "web");
    if (call.isEndless) return expect(["tailAccessLog", "followEvents"]).toContain(name);
    for (const each of [path, ...(call.alsoAt ?? [])]) {
      const { status, body } = await ask(each + query, init);
      expect(status).toBe(call.status ?? 200);
      expect(call.answer.parse(body)).toEqual(body);
    }
  });
});

async function until(condition: () => boolean): Promise<void> {
  for (let round = 0; round < 200 && !condition(); round++)
    await new Promise((resolve) => setTimeout(resolve, 5));
  expect(condition()).toBe(true);
}
