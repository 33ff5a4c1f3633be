// Owns the proof of what `weftctl authz` and `weftctl explain` print and accept.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { explanation, trial } from "../../daemon/admin/test-authz.js";
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

it("tries policies, and says who would be refused and who admitted, by what, and what was looked at", async () => {
  const { code, out } = await runWeftctl(["--admin", base, "authz", "try", "-"], {
    input:
      "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: no-cart}\nspec: {action: DENY, rules: [{to: [{operation: {paths: [/x], ports: ['8080']}}]}]}\n",
  });
  expect(code).toBe(ExitCode.ok);
  expect(out.split("\n")).toEqual([
    "FROM       TO             PORT  NOW                         THEN                        SEEN",
    "shop/cart  default/web    8080  allowed by default/viewers  refused by default/no-cart  open",
    "192.0.2.1  default/web  others  refused, no ALLOW matches   allowed                     counted",
    "",
    "default/no-cart (new) would guard default/web",
    "note: default/no-cart: spec.rules[0].to[0].operation.paths: L7, left out: what else the rule says is denied",
    "note: policy default/no-cart is assumed",
    "pairs seen: 2 by open connections, 1 more by the access log since 2024-09-14T08:00:00.000Z, which is off: 'weftctl accesslog enable' makes attempts and their ports known; 1 more by counters, without a port",
    "not judged: 1 of the node itself, which pass in any case",
    "1 would be refused, 1 newly admitted, 2 allowed and 0 refused as before; nothing was changed",
    "",
  ]);
  expect(view.tried).toEqual([
    {
      policies: [
        expect.objectContaining({
          name: "no-cart",
          namespace: "default",
          action: "DENY",
          rules: [{ clauses: [[expect.objectContaining({ destinationPorts: [8080] })]] }],
        }),
      ],
      removed: [],
    },
  ]);
});

it("tries a file, whom its selector means, and what to do without; --exit-code tells a script", async () => {
  const directory = mkdtempSync(join(tmpdir(), "weftctl-"));
  try {
    const file = join(directory, "policy.yaml");
    writeFileSync(file, "name: a\nscope: WORKLOAD_SELECTOR\n---\nname: b\n");
    const tried = await weftctl(
      "authz",
      "try",
      file,
      "--workload",
      "default/web",
      "-o",
      "json",
      "--exit-code",
    );
    expect(tried.code).toBe(ExitCode.failure);
    expect(tried.err).toContain("verdicts would change for 2 of the pairs");
    expect(JSON.parse(tried.out)).toEqual(trial);
    expect(view.tried[0]?.policies).toMatchObject([{ name: "a", workloads: ["default/web"] }, { name: "b" }]);
    const gone = await weftctl("authz", "try", "--remove", "default/x");
    expect(gone).toMatchObject({
      code: ExitCode.failure,
      err: "weftctl: there is no policy default/x [POLICY_UNCLEAR]\n",
    });
    writeFileSync(file, "name: a\nactoin: DENY\n");
    const wrong = await weftctl("authz", "try", file);
    expect(wrong).toMatchObject({ code: ExitCode.usage, err: `weftctl: ${file}:2:1: actoin: unknown key\n` });
  } finally {
    rmSync(directory, { recursive: true });
  }
});

it.each([
  [["authz", "try"], "give a FILE"],
  [["authz", "try", "/nowhere/x.yaml"], "cannot read /nowhere/x.yaml"],
  [["authz", "try", "--remove", "x"], '"x" is no NAMESPACE/NAME'],
  [["authz", "try", "-", "--workload", "web"], '"web" is no NAMESPACE/NAME'],
  [["authz", "try", "-", "--workload", "a/b"], "none here has one"],
])("%j is wrong usage", async (args, said) => {
  const { code, err } = await runWeftctl(["--admin", base, ...args], { input: "name: a" });
  expect(code).toBe(ExitCode.usage);
  expect(err).toContain(said);
});
