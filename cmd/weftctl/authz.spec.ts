// Owns the proof of what `weftctl authz` and `weftctl explain` print and accept.

import { expect, it } from "vitest";
import { explanation } from "../../daemon/admin/test-operator-view.js";
import { base, serveEachTest, view } from "../../daemon/admin/test-server.js";
import { ok } from "../../daemon/base/errors.js";
import { ExitCode } from "./failure.js";
import { runWeftctl } from "./test-terminal.js";

serveEachTest();

const weftctl = (...args: string[]) => runWeftctl(["--admin", base, ...args]);
const explain = (to = "default/web:8080") => weftctl("explain", "authz", "--from", "shop/cart", "--to", to);

it("explains a denial by the verdict, the parties, and what came closest to allowing it", async () => {
  const { code, out } = await explain();
  expect(code).toBe(ExitCode.ok);
  expect(out.split("\n")).toEqual([
    "DENIED",
    "from    10.0.0.9  Kubernetes//Pod/shop/cart",
    "as      cluster.local/ns/shop/sa/cart",
    "to      10.0.0.1:8080  Kubernetes//Pod/default/web",
    "reason  authz_no_allow",
    "",
    "closest to allowing it: rule 2 of default/viewers, but for",
    "  namespaces: it is shop, the rule wants default or a*",
    "",
    "ACTION  POLICY                  SCOPE      RULES  MATCHES",
    "ALLOW   default/viewers (held)  NAMESPACE      2  -",
    "",
  ]);
});

it("explains an admission, and a disagreement loudly", async () => {
  view.explainAuthz = () =>
    ok({ ...explanation, allowed: true, decidedBy: "default/viewers", closest: null, agrees: false });
  const { out } = await explain();
  expect(out).toMatch(/^ALLOWED\n/);
  expect(out).toContain("by      default/viewers\n");
  expect(out).toContain("come to another verdict: 'weftctl diff'");
});

it("gives the whole answer as JSON", async () => {
  const { out } = await weftctl("explain", "authz", "--from", "a/b", "--to", "default/web:1", "-o", "json");
  expect(JSON.parse(out)).toEqual(explanation);
});

it("says which pod is not enrolled, and which option is missing", async () => {
  const unknown = await explain("default/db:1");
  expect(unknown.code).toBe(ExitCode.failure);
  expect(unknown.err).toMatch(/^weftctl: pod default\/db is not enrolled/);
  const missing = await weftctl("explain", "authz", "--from", "shop/cart");
  expect(missing.code).toBe(ExitCode.usage);
  expect(missing.err).toContain("--to");
});

it("shows a pod's policies, and refuses what is no pod", async () => {
  const { code, out } = await weftctl("authz", "show", "default/web");
  expect(code).toBe(ExitCode.ok);
  expect(out).toBe(
    "ACTION  POLICY                  SCOPE      RULES\nALLOW   default/viewers (held)  NAMESPACE      2\n",
  );
  expect(await weftctl("authz", "show", "web")).toMatchObject({ code: ExitCode.usage });
  expect(await weftctl("authz", "show", "default/db")).toMatchObject({ code: ExitCode.failure });
  view.authzOf = () => ok({ pod: "default/web", known: true, policies: [] });
  expect((await weftctl("authz", "show", "default/web")).out).toContain("everybody is allowed");
  view.authzOf = () => ok({ pod: "default/web", known: false, policies: [] });
  expect((await weftctl("authz", "show", "default/web")).out).toContain("denies");
});

it("is the switch, and says the state after it", async () => {
  expect((await weftctl("authz")).out).toBe("authorization is enforced\n");
  const off = await weftctl("authz", "disable");
  expect(off).toMatchObject({ code: ExitCode.ok });
  expect(off.out).toContain("NOT enforced");
  expect(JSON.parse((await weftctl("authz", "status", "-o", "json")).out)).toEqual({ enforced: false });
  expect((await weftctl("authz", "enable")).out).toBe("authorization is enforced\n");
});
