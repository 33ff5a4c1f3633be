// Owns the proof that `weftctl authz try` foretells what policies do once they are pushed, and changes nothing by itself.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { stringify } from "yaml";
import type { AuthzPolicies, AuthzTrial } from "../../daemon/admin/answers.js";
import type { RunResult } from "../../lab/process.js";
import { until } from "../../lab/wait.js";
import { createWorld, type Endpoint, targetPort, type World } from "./world.js";

const principal = (name: string) => `cluster.local/ns/shop/sa/${name}`;
const allowBoth = {
  name: "allow-both",
  rules: [{ principals: [principal("client"), principal("other")] }],
};
const hosts = { "web-a": "10.77.0.21", "web-b": "10.77.0.22" } as const;
/** `outside` is no workload of the mesh. */
const CLIENTS = ["client", "other", "outside"] as const;
type Client = (typeof CLIENTS)[number];

let world: World;
beforeAll(async () => {
  world = await createWorld({ policies: [allowBoth] }, { accessLog: false });
});
afterAll(() => world?.remove());

const isLetIn = async (from: Client, to: keyof typeof hosts = "web-a") =>
  (await world.peers[from].call("ask", { host: hosts[to], port: targetPort })).ok;

/** Runs `weftctl authz try` with this as the file. */
function run(content: string | object, ...options: string[]): Promise<RunResult> {
  const file = join(world.lab.directory, "try.yaml");
  writeFileSync(file, typeof content === "string" ? content : stringify(content));
  return world.mesh.weftctl("authz", "try", file, ...options);
}

async function tried(content: string | object, ...options: string[]): Promise<AuthzTrial> {
  const { stdout, stderr } = await run(content, "-o", "json", ...options);
  expect(stderr).toBe("");
  return JSON.parse(stdout) as AuthzTrial;
}

/** The same without weftctl. */
async function askedFor(policies: readonly object[], removed: readonly string[] = []): Promise<AuthzTrial> {
  const body = JSON.stringify({ policies, removed });
  const response = await fetch(`${world.mesh.adminUrl}/debug/try/authz`, { method: "POST", body });
  expect(response.status).toBe(200);
  return (await response.json()) as AuthzTrial;
}

/** But what numbers of counters stand for, which weftd notes at its next look at them. */
const whole = async () => {
  const { maps } = (await world.mesh.admin("/debug/config_dump/bpf/workload")) as { maps: object };
  return { ...maps, labels: undefined };
};

test("who is known by counters only is told without a port, where a policy names none", async () => {
  expect([await isLetIn("client", "web-b"), await isLetIn("outside", "web-b")]).toEqual([true, false]);
  const deny = (match: object) => ({ name: "deny", namespace: "shop", action: "DENY", rules: [match] });
  const row = {
    from: { workload: "Kubernetes//Pod/shop/client" },
    to: { pod: "shop/web-b" },
    seen: "counted",
  };
  const { changes, looked } = await tried(deny({ principals: [principal("client")] }));
  expect(changes).toMatchObject([{ ...row, to: { port: null }, after: { decidedBy: "shop/deny" } }]);
  expect(looked).toMatchObject({ open: 0, logged: 0, logEnabled: false, counted: 1, unnamed: 1 });
  const byPort = await tried(deny({ principals: [principal("client")], destinationPorts: [targetPort] }));
  expect(byPort.changes).toMatchObject([{ ...row, to: { port: targetPort } }]);
  expect(byPort.counts).toEqual({ refused: 1, admitted: 0, stillAllowed: 1, stillRefused: 0 });
});

test("a policy that would refuse one client and admit a stranger is told as such, and nothing is changed", async () => {
  await world.mesh.weftctl("accesslog", "enable");
  await world.peers.client.call("hold", { host: hosts["web-a"], port: targetPort });
  expect([await isLetIn("other"), await isLetIn("outside")]).toEqual([true, false]);
  await until("both in the log", async () => (await askedFor([])).looked.logged === 2);
  const manifest = {
    apiVersion: "security.istio.io/v1",
    kind: "AuthorizationPolicy",
    metadata: { name: "allow-both", namespace: "shop" },
    spec: {
      rules: [
        {
          from: [{ source: { principals: [principal("client")] } }],
          to: [{ operation: { ports: ["8080"] } }],
        },
        { from: [{ source: { ipBlocks: ["10.77.0.91/32"] } }] },
      ],
    },
  };
  const before = await whole();
  const { changes, policies, counts, notes } = await tried(manifest);
  expect(await whole()).toEqual(before);
  expect(changes.filter(({ to }) => to.pod === "shop/web-a")).toMatchObject([
    {
      from: { address: "10.77.0.12", principal: principal("other") },
      to: { pod: "shop/web-a", address: hosts["web-a"], port: targetPort },
      seen: "logged",
      before: { allowed: true, reason: "authz_allowed", decidedBy: "shop/allow-both" },
      after: { allowed: false, reason: "authz_no_allow", decidedBy: null },
    },
    {
      from: { address: "10.77.0.91", workload: null },
      to: { pod: "shop/web-a" },
      seen: "logged",
      before: { allowed: false },
      after: { allowed: true, decidedBy: "shop/allow-both" },
    },
  ]);
  // And the client at web-b, of whose port only the log would have known.
  expect(counts).toMatchObject({ refused: 2, admitted: 1 });
  const pods = ["client", "other", "web-a", "web-b", "web-c"].map((name) => `shop/${name}`);
  expect(policies).toEqual([{ name: "shop/allow-both", isNew: false, scope: "NAMESPACE", pods }]);
  expect(notes).toEqual([]);
  expect([await isLetIn("client"), await isLetIn("other"), await isLetIn("outside")]).toEqual([
    true,
    true,
    false,
  ]);
  expect((await run(manifest)).stdout).toMatch(
    /^2 would be refused, 1 newly admitted, .*nothing was changed$/m,
  );
});

test("the absence of a policy is tried as well", async () => {
  const { stdout } = await world.mesh.weftctl("authz", "try", "--remove", "shop/allow-both");
  expect(stdout).toMatch(/^10\.77\.0\.91 +shop\/web-a +8080 +refused, no ALLOW matches +allowed +logged$/m);
});

test("a selector needs to be told whom it means, until pods name it", async () => {
  const selecting = { name: "picky", namespace: "shop", scope: "WORKLOAD_SELECTOR" };
  expect(await run(selecting)).toMatchObject({
    code: 1,
    stderr: expect.stringContaining("say it with --workload NAMESPACE/NAME"),
  });
  // Beside an ALLOW that matches, one that never does changes nothing.
  expect((await tried(selecting, "--workload", "shop/web-a")).changes).toEqual([]);
  const denying = { ...selecting, action: "DENY", rules: [{}] };
  const denied = (await tried(denying, "--workload", "shop/web-a")).changes;
  expect(denied.map(({ from, to }) => `${from.address} ${to.pod}`).sort()).toEqual([
    "10.77.0.11 shop/web-a",
    "10.77.0.12 shop/web-a",
  ]);
});

test("what is foretold is what happens when the policies are pushed", async () => {
  const client = { principals: [principal("client")] };
  const policy = (name: string, action: string, match: object, more: object = {}) => ({
    namespace: "shop",
    name,
    action,
    rules: [match],
    ...more,
  });
  let inForce = ["allow-both"];
  for (const policies of [
    [policy("a", "DENY", { ...client, destinationPorts: [targetPort] })],
    [policy("b", "ALLOW", { namespaces: ["shop"], notPrincipals: client.principals })],
    [
      policy("c", "ALLOW", { sourceIps: ["10.77.0.91"] }),
      policy("d", "DENY", { sourceIps: ["10.77.0.12/31"] }),
    ],
    [policy("e", "ALLOW", { destinationPorts: [9] })],
    [policy("f", "DENY", { serviceAccounts: ["other"] }, { workloads: ["web-a" satisfies Endpoint] })],
    [],
  ]) {
    const names = policies.map(({ name }) => name);
    const removed = inForce.map((name) => `shop/${name}`);
    const { changes } = await askedFor(policies, removed);
    const foretold: Partial<Record<Client, boolean>> = {};
    for (const name of CLIENTS) foretold[name] = await isLetIn(name);
    for (const { from, to, after } of changes)
      if (to.pod === "shop/web-a") foretold[clientAt(from.address)] = after.allowed;
    await world.push({ policies }, names.join(), async () => {
      const shown = (await world.mesh.admin("/authz/shop/web-a")) as AuthzPolicies;
      return (
        shown.policies
          .map(({ name }) => name.replace("shop/", ""))
          .sort()
          .join() === names.join()
      );
    });
    const happened: typeof foretold = {};
    for (const name of CLIENTS) happened[name] = await isLetIn(name);
    expect({ names, ...happened }).toEqual({ names, ...foretold });
    inForce = names;
  }
});

function clientAt(address: string): Client {
  const found = { "10.77.0.11": "client", "10.77.0.12": "other", "10.77.0.91": "outside" }[address];
  return found as Client;
}
