// Owns the proof that istioctl ztunnel-config reads weftd: its tables say what a living istiod holds, and its JSON
// what weftd said. Must not know how weftd writes its dump.

import { existsSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { packageRoot } from "../../daemon/base/package-root.js";
import { isSingleAddress } from "../../daemon/model/address.js";
import { createLab, type Lab } from "../../lab/lab.js";
import { type LabMesh, meshWithPlane } from "../../lab/mesh.js";
import { check } from "../../lab/process.js";
import type { HeldMesh as Held } from "../conformance/ambientz.js";
import { expectAgreement } from "./agreement.js";
import { type Istiod, startIstiod } from "./istiod.js";
import { initialYaml, stepsOf } from "./script.js";

type Row = Readonly<Record<string, string>>;
type Rows = Readonly<Record<"workload" | "service" | "policy", readonly Row[]>>;

let lab: Lab | undefined;
let istiod: Istiod;
let mesh: LabMesh;

beforeAll(async () => {
  lab = await createLab();
  istiod = await startIstiod(lab, initialYaml("bookinfo"));
  mesh = await meshWithPlane(lab, istiod.ports.plain, { flags: ["--node-name", "node-1"] });
  await mesh.startDaemon();
});
afterAll(() => lab?.remove());

describe("at the start", () => {
  test("the tables are what istiod holds", expectTables);

  test.each([
    ["workload", "productpage-v1-7c9f5d-10x", "default 10.244.1.10 node-1 None HBONE"],
    ["workload", "gallery-a", "default 10.244.1.41,fd00:10:244:1::41 node-1 None HBONE"],
    ["workload", "weather", "default api.weather.example.org None TCP"],
    ["workload", "node-agent-x1", "kube-system 172.18.0.2 node-1 None TCP"],
    ["service", "reviews", "default 10.96.0.13 waypoint 3/3"],
    ["service", "extdb", "default 10.96.0.42 None 1/2"],
    ["service", "subnet", "default None 0/0"],
    ["policy", "root-deny", "istio-system Deny Global"],
    ["policy", "ns-allow", "default Allow Namespace"],
    ["policy", "ratings-deny-ip", "default Deny WorkloadSelector"],
  ] as const)("%s %s is %s", async (what, name, row) => {
    const found = (await table(what)).filter((fields) => nameOf(fields) === name);
    expect(found.map((fields) => valuesBeside(fields).join(" "))).toEqual([row]);
  });

  test("filters find by address, node and namespace", async () => {
    const names = async (...args: string[]) => (await table("workload", ...args)).map(nameOf);
    expect(await names("--address", "fd00:10:244:1::41")).toEqual(["gallery-a"]);
    expect(await names("--workload-node", "node-3", "--workload-namespace", "other")).toEqual([
      "backup-28991",
    ]);
    expect((await table("service", "--service-namespace", "vault")).map(nameOf)).toEqual(["safe"]);
    expect((await table("policy", "--policy-namespace", "vault")).map(nameOf)).toContain("nothing");
  });

  test("JSON keeps what weftd said of a workload", async () => {
    expect(await json("workload", "gallery-a")).toMatchObject({
      uid: "Kubernetes//Pod/default/gallery-a",
      workloadIps: ["10.244.1.41", "fd00:10:244:1::41"],
      serviceAccount: "gallery",
      workloadType: "pod",
      canonicalName: "art",
      canonicalRevision: "blue",
      clusterId: "Kubernetes",
      trustDomain: "cluster.local",
      locality: { region: "eu-1", zone: "eu-1a" },
      status: "Healthy",
      capacity: 1,
      authorizationPolicies: ["default/gallery-v6"],
    });
  });

  test("JSON keeps what weftd said of a service", async () => {
    const uid = "Kubernetes//Pod/default/gallery-a";
    const key = "default/gallery.default.svc.cluster.local";
    expect(await json("service", "gallery")).toMatchObject({
      vips: ["/10.96.0.21", "/fd00:10:96::21"],
      ports: { 80: 0 },
      ipFamilies: "Dual",
      endpoints: { [uid]: { workloadUid: uid, service: key, port: { 80: 8080 } } },
    });
    expect(await json("service", "subnet")).toMatchObject({
      cidrVips: ["/192.0.2.128/25"],
      loadBalancer: { mode: "Passthrough", routingPreferences: [], healthPolicy: "AllowAll" },
    });
    expect(await json("service", "details")).toMatchObject({
      loadBalancer: { mode: "Failover", routingPreferences: ["Network", "Region", "Zone"] },
    });
    expect(await json("service", "reviews")).toMatchObject({ waypoint: { destination: "/10.96.0.77" } });
  });

  test("JSON keeps the rules of a policy", async () => {
    expect(await json("policy", "cart-when")).toMatchObject({
      rules: [
        [
          [{ principals: [{ Presence: [] }] }],
          [{ notSourceIps: ["10.244.3.0/24", "fd00:10:244:3::/64"] }],
          [{ destinationPorts: [6379, 6380] }],
        ],
        [
          [
            {
              serviceAccounts: [
                { namespace: "default", serviceAccount: "cart" },
                { namespace: "other", serviceAccount: "sleep" },
              ],
            },
          ],
        ],
      ],
    });
    expect(await json("policy", "ns-allow")).toMatchObject({
      rules: [
        [
          [
            {
              namespaces: [
                { Exact: "default" },
                { Exact: "other" },
                { Prefix: "pref-" },
                { Suffix: "-suff" },
              ],
            },
          ],
        ],
        [[{ notDestinationPorts: [22, 3306] }]],
      ],
    });
  });

  test("there are no certificates, and all can be asked at once", async () => {
    expect(JSON.parse(await ztunnelConfig("certificate", "-o", "json"))).toEqual([]);
    const all = await ztunnelConfig("all");
    for (const what of ["workload", "service", "policy"] as const) {
      expect(all).toContain(await ztunnelConfig(what));
    }
  });
});

test("after all changes of the scenario the tables are what istiod holds", async () => {
  for (const { verb, yaml } of stepsOf("bookinfo").flat()) await istiod[verb](yaml);
  await expectTables();
  const [row] = (await table("service")).filter((fields) => nameOf(fields) === "productpage");
  expect(row?.ENDPOINTS).toBe("0/1");
});

test("a waypoint for workloads stands beside each of them by its name", async () => {
  const files = new Map(
    stepsOf("bookinfo")
      .flat()
      .map(({ file, yaml }) => [file, yaml]),
  );
  const gateway = files.get("m20-waypoint-back.yaml")?.replace("waypoint-for: service", "waypoint-for: all");
  await istiod.apply(`${gateway}\n---\n${files.get("m21-namespace-waypoint.yaml")}`);
  await expectTables();
  const beside = (await table("workload", "--address", "10.244.1.41")).map(({ WAYPOINT }) => WAYPOINT);
  expect(beside).toEqual(["waypoint"]);
});

/** All three tables have the rows that istiod's own dump makes. */
async function expectTables(): Promise<void> {
  const wanted = rowsOf(await expectAgreement(istiod, mesh));
  for (const what of ["workload", "service", "policy"] as const) {
    const rows = await table(what);
    expect(rows.length).toBeGreaterThan(8);
    // Rows of one name and node stand in no particular order.
    expect(rows.map(textOf).sort()).toEqual(wanted[what].map(textOf).sort());
  }
}

/** The rows as istioctl words them. The scenario has one waypoint, named `waypoint`. */
function rowsOf({ workloads, services, policies }: Held): Rows {
  const scopes = { GLOBAL: "Global", NAMESPACE: "Namespace", WORKLOAD_SELECTOR: "WorkloadSelector" };
  return {
    workload: workloads.map((workload) => ({
      NAMESPACE: workload.namespace,
      "POD NAME": workload.name,
      ADDRESS: workload.addresses.join(",") || workload.hostname,
      NODE: workload.node,
      WAYPOINT: workload.waypoint === undefined ? "None" : "waypoint",
      PROTOCOL: workload.tunnelProtocol === "HBONE" ? "HBONE" : "TCP",
    })),
    service: services.map((service) => {
      const endpoints = workloads.filter((workload) => workload.services.has(service.key));
      const healthy = endpoints.filter(({ status }) => status === "HEALTHY");
      const vips = service.addresses.filter(isSingleAddress);
      return {
        NAMESPACE: service.namespace,
        "SERVICE NAME": service.name,
        "SERVICE VIP": vips.map(({ address }) => address).join(","),
        WAYPOINT: service.waypoint === undefined ? "None" : "waypoint",
        ENDPOINTS: `${healthy.length}/${endpoints.length}`,
      };
    }),
    policy: policies.map((policy) => ({
      NAMESPACE: policy.namespace,
      "POLICY NAME": policy.name,
      ACTION: policy.action === "ALLOW" ? "Allow" : "Deny",
      SCOPE: scopes[policy.scope],
    })),
  };
}

/** A printed table as rows by heading: columns begin where their headings begin, and may be empty. */
async function table(what: keyof Rows, ...args: readonly string[]): Promise<Row[]> {
  const [head = "", ...lines] = (await ztunnelConfig(what, ...args)).trimEnd().split("\n");
  // One space may divide two columns as it divides the words of a heading.
  const headings = [...head.matchAll(/(?:POD|POLICY) NAME|SERVICE (?:NAME|VIP)|[A-Z]+/g)];
  return lines.map((line) =>
    Object.fromEntries(
      headings.map(({ 0: heading, index }, i) => [heading, line.slice(index, headings[i + 1]?.index).trim()]),
    ),
  );
}

/** The resource of this name in what istioctl prints as JSON. */
async function json(what: keyof Rows, name: string): Promise<unknown> {
  const list = JSON.parse(await ztunnelConfig(what, "-o", "json")) as { readonly name: string }[];
  const found = list.filter((resource) => resource.name === name);
  expect(found).toHaveLength(1);
  return found[0];
}

/** What `istioctl ztunnel-config` prints of weftd's dump at this moment. It must not find a cluster of the user's. */
async function ztunnelConfig(...args: readonly string[]): Promise<string> {
  const dump = await fetch(`${mesh.adminUrl}/config_dump`);
  expect(dump.status).toBe(200);
  const env = { HOME: mesh.lab.directory, KUBECONFIG: "/dev/null" };
  return check([program(), ...args, "--file", "-"], { input: await dump.text(), env });
}

/** The built command. Throws when it is not built. */
function program(): string {
  const file = join(packageRoot(), "build", "istioctl-ztunnel-config");
  if (!existsSync(file)) throw new Error(`${file} is missing: run make test-istiod`);
  return file;
}

function nameOf(row: Row): string | undefined {
  return row["POD NAME"] ?? row["SERVICE NAME"] ?? row["POLICY NAME"];
}

/** What stands in the other columns, empty ones left out. */
function valuesBeside(row: Row): string[] {
  return Object.entries(row)
    .filter(([heading, value]) => !heading.endsWith(" NAME") && value !== "")
    .map(([, value]) => value);
}

function textOf(row: Row): string {
  return JSON.stringify(row);
}
