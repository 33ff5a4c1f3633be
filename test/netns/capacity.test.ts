import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { stringify } from "yaml";
import type { StatusResponse } from "../../daemon/admin/answers.js";
import { ADDRESS_TYPE, AUTHORIZATION_TYPE } from "../../daemon/xds/resource.js";
import { createLab, type Lab } from "../../lab/lab.js";
import { type LabMesh, meshWithPlane, startMesh } from "../../lab/mesh.js";
import { type Peer, startPeer } from "../../lab/peer.js";
import { until } from "../../lab/wait.js";
import { startScriptedPlane } from "../helpers/scripted-plane.js";
import { ipv4, policy, response, workload } from "../helpers/wire.js";

const hosts = { client: "10.77.0.11", web: "10.77.0.21", db: "10.77.0.22" } as const;
type PodName = keyof typeof hosts;
const vip = "10.96.1.1";
const targetPort = 8080;

/** Pods `client`, `web` and `db`; the latter two answer with their names. */
async function createPods(): Promise<{ lab: Lab; peers: Record<PodName, Peer> }> {
  const lab = await createLab();
  for (const [name, address] of Object.entries(hosts)) await lab.pod(`shop/${name}`, { ipv4: address });
  const started = await Promise.all([...lab.pods.values()].map((one) => startPeer(lab, one)));
  const [client, web, db] = started as [Peer, Peer, Peer];
  await web.call("serveTcp", { host: "::", port: targetPort, name: "web" });
  await db.call("serveTcp", { host: "::", port: targetPort, name: "db" });
  return { lab, peers: { client, web, db } };
}

const range = (count: number) => Array.from({ length: count }, (_, i) => i);
const principal = (account: string) => `cluster.local/ns/shop/sa/${account}`;

describe("maps of 16 entries", () => {
  const limit = 16;
  const flags = ["--authz-node-exempt", "false", "--map-limit", String(limit)];
  let lab: Lab;
  let mesh: LabMesh;
  let client: Peer;
  /** In no pod of weft's: a workload that the control plane may name. */
  let late: Peer;
  const lateHost = "10.77.0.31";

  /** What a mesh holds beyond the pods, a service of each, and a policy that lets only `client` into `db`. */
  interface More {
    readonly workloads?: readonly object[];
    readonly services?: readonly object[];
    readonly policies?: readonly object[];
  }
  function meshYaml({ workloads = [], services = [], policies = [] }: More = {}): string {
    const pods = Object.entries(hosts).map(([name, address]) => ({
      name,
      namespace: "shop",
      serviceAccount: name,
      addresses: [address],
    }));
    const ports = { 80: targetPort };
    return stringify({
      workloads: [...pods, ...workloads],
      services: [{ name: "web", namespace: "shop", vips: [vip], ports, endpoints: ["web"] }, ...services],
      policies: [
        {
          name: "db-for-client",
          namespace: "shop",
          action: "ALLOW",
          workloads: ["db"],
          rules: [{ principals: [principal("client")] }],
        },
        ...policies,
      ],
    });
  }

  const ask = async (host: string, port: number, from = client) => {
    const answer = await from.call("ask", { host, port });
    return answer.ok ? answer.reply : answer.code;
  };
  const askWeb = () => ask(hosts.web, targetPort);
  const askDb = () => ask(hosts.db, targetPort);
  const askVip = () => ask(vip, 80);
  const status = async () => (await mesh.admin("/status")) as StatusResponse;
  const refusals = (map: string) => mesh.metric("weft_bpf_map_write_failures_total", { map });

  /** Pushes too much for a map, and waits until the daemon says so in every way. */
  async function overfill(map: string, more: More): Promise<void> {
    const before = await refusals(map);
    mesh.edit(meshYaml(more));
    await until(`a refused write to ${map}`, async () => (await refusals(map)) > before);
    const said = `BPF map ${map} is full at ${limit} entries: raise --map-limit, or make the mesh smaller`;
    expect(mesh.log("weftd")).toContain(said);
    expect((await status()).warnings).toContain(said);
  }

  /** Takes the excess away; everything must be as it was. */
  async function recover(): Promise<void> {
    mesh.edit(meshYaml());
    await until("the end of all warnings", async () => (await status()).warnings.length === 0, {
      timeoutMs: 15_000,
    });
    await expectWell();
  }

  async function expectWell(): Promise<void> {
    expect([await askVip(), await askWeb(), await askDb()]).toEqual(["web", "web", "db"]);
    expect(await mesh.admin("/debug/config_dump/diff")).toEqual({ differences: [] });
    expect((await status()).ready).toBe(true);
  }

  beforeAll(async () => {
    const made = await createPods();
    lab = made.lab;
    client = made.peers.client;
    late = await startPeer(lab, await lab.pod("shop/late", { ipv4: lateHost, enrolled: false }));
    mesh = await startMesh(lab, { yaml: meshYaml(), flags });
    await expectWell();
  });
  afterEach(() => recover());
  afterAll(() => lab?.remove());

  test("addresses: whoever is known is judged, and whoever is not is denied where it matters who it is", async () => {
    const named = {
      name: "late",
      namespace: "shop",
      serviceAccount: "late",
      addresses: [lateHost],
    };
    const policies = [
      {
        name: "not-late",
        namespace: "shop",
        action: "DENY",
        workloads: ["web"],
        rules: [{ principals: [principal("late")] }],
      },
    ];
    const strangers = range(20).map((i) => ({ name: `x${i}`, namespace: "far", addresses: [`10.9.0.${i}`] }));
    expect(await ask(hosts.web, targetPort, late)).toBe("web");
    await overfill("addresses", { workloads: strangers, policies });
    await overfill("addresses", { workloads: [...strangers, named], policies });
    expect([await askVip(), await askWeb(), await askDb()]).toEqual(["web", "web", "db"]);
    expect(await ask(hosts.web, targetPort, late)).toBe("ECONNREFUSED");
    expect((await status()).ready).toBe(false);
  });

  test("virtual addresses: services that are there go on, and those that are not lead nowhere", async () => {
    const services = range(20).map((i) => ({
      name: `s${i}`,
      namespace: "shop",
      vips: [`10.96.2.${i}`],
      ports: { 80: targetPort },
      endpoints: ["web"],
    }));
    await overfill("addresses", { services });
    expect([await askVip(), await askWeb(), await askDb()]).toEqual(["web", "web", "db"]);
    const answers = await Promise.all(services.map((_, i) => ask(`10.96.2.${i}`, 80)));
    // What is not translated has no route; the node is slow to say so to many at once. A frontend without its
    // target refuses.
    const nowhere = new Set(["EHOSTUNREACH", "TIMEOUT", "ECONNREFUSED"]);
    const lost = answers.filter((answer) => nowhere.has(answer));
    expect(lost.length).toBeGreaterThan(0);
    expect(answers.filter((answer) => answer === "web").length).toBe(answers.length - lost.length);
  });

  test("slots: a run without its slots refuses and is counted, and never leads to another", async () => {
    const ports = Object.fromEntries(range(8).map((i) => [8001 + i, targetPort]));
    const wide = {
      name: "wide",
      namespace: "shop",
      vips: ["10.96.3.1"],
      ports,
      endpoints: ["db", "web", "client"],
    };
    const rest = {
      name: "rest",
      namespace: "shop",
      vips: ["10.96.3.2"],
      ports: { 80: targetPort },
      endpoints: ["db"],
    };
    await overfill("slots", { services: [wide, rest] });
    const missing = await decisions("slot_missing");
    const answers: string[] = [];
    for (const i of range(8)) for (const _ of range(6)) answers.push(await ask("10.96.3.1", 8001 + i));
    const refused = answers.filter((answer) => answer === "ECONNREFUSED").length;
    expect(refused).toBeGreaterThan(6);
    // `client` serves nothing: what is sent there is refused by its own stack.
    expect(new Set(answers)).toEqual(new Set(["web", "db", "ECONNREFUSED"]));
    expect((await decisions("slot_missing")) - missing).toBeGreaterThan(6);
    expect([await askVip(), await askWeb(), await askDb()]).toEqual(["web", "web", "db"]);
    expect(await ask("10.96.3.2", 80)).toMatch(/^(db|ECONNREFUSED)$/);
  });

  const guard = (rules: readonly object[]) => ({
    policies: [{ name: "guard", namespace: "shop", action: "DENY", workloads: ["web"], rules }],
  });
  const accounts = range(12).map((i) => `account-${i}`);
  const owners = accounts.map((serviceAccount, i) => ({
    name: `owner-${i}`,
    namespace: "shop",
    serviceAccount,
    addresses: [`10.9.1.${i}`],
  }));

  // None of these rules denies the client: it is refused because they cannot be known not to.
  test.each([
    ["authz_address", {}, [{ sourceIps: range(20).map((i) => `10.9.${i}.0/24`) }]],
    ["authz_port", {}, [{ destinationPorts: range(20).map((i) => 9000 + i) }]],
    [
      "authz_terms",
      {},
      // Rules that differ in two dimensions each cannot become one term.
      range(25).map((n) => ({
        principals: [principal(`nobody-${n % 5}`)],
        sourceIps: [`10.9.${Math.floor(n / 5)}.0/24`],
        destinationPorts: [9000 + (((n % 5) + Math.floor(n / 5)) % 5)],
      })),
    ],
    [
      "authz_identity",
      { workloads: owners },
      // Each account satisfies a set of terms of its own, so that each needs a row.
      accounts.map((account, i) => ({
        principals: [principal(account)],
        destinationPorts: [9000 + (i % 12)],
      })),
    ],
  ])("%s: the workloads of the table that does not fit deny, all others go on", async (map, more, rules) => {
    const others = map === "authz_identity" ? secondGuard() : [];
    const { policies } = guard(rules);
    await overfill(map, { ...more, policies: [...policies, ...others] });
    const answers = [await askWeb(), await askDb()];
    const refused = answers.filter((answer) => answer === "ECONNREFUSED").length;
    const [warning] = (await status()).warnings.filter((text) => text.includes("verdict tables"));
    expect(warning).toBe(`${refused} workloads deny everything: their verdict tables could not be stored`);
    // Of two tables that do not fit together it does not matter which one denies.
    if (map === "authz_identity") expect(refused).toBeGreaterThan(0);
    else expect([await askVip(), ...answers]).toEqual(["ECONNREFUSED", "ECONNREFUSED", "db"]);
    expect(await mesh.admin("/debug/config_dump/diff")).toEqual({ differences: [] });
  });

  /** The same for `db`: two tables of 12 rows each do not fit. */
  function secondGuard() {
    const rules = accounts.map((account, i) => ({
      principals: [principal(account)],
      destinationPorts: [9100 + i],
    }));
    return [{ name: "second", namespace: "shop", action: "DENY", workloads: ["db"], rules }];
  }

  test("a daemon with a larger limit takes everything in", async () => {
    await overfill("authz_port", guard([{ destinationPorts: range(20).map((i) => 9000 + i) }]));
    expect(await askWeb()).toBe("ECONNREFUSED");
    flags.push("--map-limit", "1024");
    await mesh.endDaemon("SIGTERM");
    await mesh.startDaemon();
    expect((await status()).warnings).toEqual([]);
    await expectWell();
  });

  const decisions = (reason: string) => mesh.metric("weft_bpf_decisions_total", { reason });
});

describe("a mesh that outgrows its maps", () => {
  test("gets larger ones, and no connection fails meanwhile", async () => {
    const { lab, peers } = await createPods();
    const plane = await startScriptedPlane();
    try {
      const mesh = await meshWithPlane(lab, plane.port);
      mesh.launchDaemon();
      const uid = (name: string) => `Kubernetes//Pod/shop/${name}`;
      const pods = Object.entries(hosts).map(([name, host]) =>
        workload(uid(name), "1", {
          name,
          namespace: "shop",
          serviceAccount: name,
          addresses: [Uint8Array.from(host.split(".").map(Number))],
        }),
      );
      await plane.send(response(ADDRESS_TYPE, pods));
      const only = policy("only-client", {
        scope: 0,
        rules: [
          {
            clauses: [
              { matches: [{ principals: [{ matchType: { $case: "exact", value: principal("client") } }] }] },
            ],
          },
        ],
      });
      await plane.send(response(AUTHORIZATION_TYPE, [only]));
      const capacity = () => mesh.metric("weft_bpf_map_capacity", { map: "addresses" });
      const before = await capacity();
      expect(await peers.client.call("ask", { host: hosts.db, port: targetPort })).toMatchObject({
        ok: true,
      });

      const allowed = peers.client.call("askFor", { host: hosts.db, port: targetPort, ms: 4000 });
      const denied = peers.web.call("askFor", { host: hosts.db, port: targetPort, ms: 4000 });
      const many = range(20_000).map((i) =>
        workload(`Kubernetes//Pod/far/x${i}`, "1", {
          namespace: "far",
          serviceAccount: `x${i % 500}`,
          addresses: [ipv4(10, 80, i >> 8, i & 255)],
        }),
      );
      expect((await plane.send(response(ADDRESS_TYPE, many))).errorDetail).toBeUndefined();
      expect(await capacity()).toBeGreaterThan(2 * before);

      const tally = await allowed;
      expect(tally.errors).toEqual({});
      expect(tally.replies.db).toBeGreaterThan(100);
      expect((await denied).replies).toEqual({});
      expect(await mesh.metric("weft_bpf_map_write_failures_total")).toBe(0);
      expect(await mesh.admin("/debug/config_dump/diff")).toEqual({ differences: [] });
    } finally {
      plane.close();
      lab.remove();
    }
  });
});
