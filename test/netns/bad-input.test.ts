import { afterAll, beforeAll, expect, test } from "vitest";
import type { StatusResponse } from "../../daemon/admin/answers.js";
import { ADDRESS_TYPE, AUTHORIZATION_TYPE } from "../../daemon/xds/resource.js";
import { createLab, type Lab } from "../../lab/lab.js";
import { type LabMesh, meshWithPlane } from "../../lab/mesh.js";
import { type Peer, startPeer } from "../../lab/peer.js";
import { until } from "../../lab/wait.js";
import { Action, type Authorization } from "../../proto/gen/authorization.js";
import { type DeepPartial, Resource } from "../../proto/gen/discovery.js";
import type { WorkloadStatus } from "../../proto/gen/workload.js";
import { type ScriptedPlane, startScriptedPlane } from "../helpers/scripted-plane.js";
import { ipv4, policy, resource, response, service, workload } from "../helpers/wire.js";

const vip = "10.96.1.1";
const targetPort = 8080;
const hosts = { client: "10.77.0.11", "web-a": "10.77.0.21", "web-b": "10.77.0.22" } as const;
type PodName = keyof typeof hosts;

let lab: Lab;
let plane: ScriptedPlane;
let mesh: LabMesh;
let client: Peer;

const uid = (name: string) => `Kubernetes//Pod/default/${name}`;
const bytes = (host: string) => Uint8Array.from(host.split(".").map(Number));
const serves = { "default/web": { ports: [{ servicePort: 80, targetPort }] } };
const pod = (name: PodName, version = "1", authorizationPolicies: string[] = []) =>
  workload(uid(name), version, {
    addresses: [bytes(hosts[name])],
    authorizationPolicies,
    serviceAccount: name,
    ...(name === "client" ? {} : { services: new Map(Object.entries(serves)) }),
  });
const web = service("web", "1", {
  addresses: [{ address: bytes(vip) }],
  ports: [{ servicePort: 80, targetPort }],
});

/** What `client` gets: a name, or how it failed. */
const ask = async (host: string, port: number) => {
  const answer = await client.call("ask", { host, port });
  return answer.ok ? answer.reply : answer.code;
};
const askWeb = (name: PodName) => ask(hosts[name], targetPort);

const addresses = (resources: Uint8Array[], removed: string[] = []) =>
  plane.send(response(ADDRESS_TYPE, resources, removed));
const policies = (resources: Uint8Array[], removed: string[] = []) =>
  plane.send(response(AUTHORIZATION_TYPE, resources, removed));

beforeAll(async () => {
  lab = await createLab();
  plane = await startScriptedPlane();
  for (const [name, address] of Object.entries(hosts)) await lab.pod(`default/${name}`, { ipv4: address });
  const peers = await Promise.all([...lab.pods.values()].map((one) => startPeer(lab, one)));
  client = peers[0] as Peer;
  for (const peer of peers.slice(1)) {
    const name = peer.pod.name.slice("default/".length);
    await peer.call("serveTcp", { host: "::", port: targetPort, name });
  }
  mesh = await meshWithPlane(lab, plane.port);
  mesh.launchDaemon();
});
afterAll(() => {
  plane?.close();
  lab?.remove();
});

test("the good resources of a response are in force, the bad ones refused by name", async () => {
  const unknown = 9 as WorkloadStatus;
  const serving = { services: new Map(Object.entries(serves)) };
  const { errorDetail } = await addresses([
    workload(uid("bad-short"), "1", { addresses: [new Uint8Array(5)], ...serving }),
    pod("client"),
    service("bad-port", "1", {
      addresses: [{ address: ipv4(10, 96, 6, 6) }],
      ports: [{ servicePort: 70_000, targetPort: 80 }],
    }),
    pod("web-a"),
    workload(uid("bad-odd"), "1", { addresses: [ipv4(10, 66, 0, 2)], status: unknown, ...serving }),
    pod("web-b"),
    resource(uid("bad-alias"), "1", ADDRESS_TYPE, contentOf(workload(uid("bad-other"), "1"))),
    resource(uid("bad-torn"), "1", ADDRESS_TYPE, Uint8Array.of(0x0a, 0x7f)),
    web,
  ]);
  const named = [...(errorDetail?.message ?? "").matchAll(/(?:^|; )(\S+): /g)].map(([, name]) => name);
  expect(named).toEqual([
    uid("bad-short"),
    "default/bad-port",
    uid("bad-odd"),
    uid("bad-alias"),
    uid("bad-torn"),
  ]);

  expect((await policies([])).errorDetail).toBeUndefined();
  const tally = await client.call("askMany", { host: vip, port: 80, count: 60 });
  expect(tally.errors).toEqual({});
  expect(Object.keys(tally.replies).sort()).toEqual(["web-a", "web-b"]);
  expect(await mesh.metric("weft_xds_rejected_resources_total")).toBe(5);
});

test("nothing of the bad ones has reached the kernel", async () => {
  expect(await mesh.admin("/debug/config_dump/diff")).toEqual({ differences: [] });
  const kernel = JSON.stringify(await mesh.admin("/debug/config_dump/bpf/workload"));
  for (const held of [vip, hosts["web-a"], "default/web"]) expect(kernel).toContain(held);
  for (const bad of ["10.96.6.6", "10.66.0.2", "70000", "bad-"]) expect(kernel).not.toContain(bad);
});

test("a bad version leaves the last good one in force", async () => {
  const before = await mesh.metric("weft_bpf_map_operations_total");
  const { errorDetail } = await addresses([
    service("web", "2", { addresses: [{ address: new Uint8Array(3) }], ports: [{ servicePort: 80 }] }),
    workload(uid("web-a"), "2", { addresses: [], status: 9 as WorkloadStatus }),
  ]);
  expect(errorDetail?.message).toMatch(/^default\/web: .*; Kubernetes\/\/Pod\/default\/web-a: /);
  expect(await mesh.metric("weft_bpf_map_operations_total")).toBe(before);
  expect(await ask(vip, 80)).toMatch(/^web-/);
});

const badPort = { destinationPorts: [70_000] };
const bad = (name: string, fields: DeepPartial<Authorization> = {}) =>
  policy(name, { scope: 1, rules: [{ clauses: [{ matches: [badPort] }] }], ...fields });

test("a DENY that was never good holds where it cannot be represented, under its name, until it is good", async () => {
  const { errorDetail } = await policies([bad("limits", { action: Action.DENY })]);
  expect(errorDetail?.message).toBe(
    "default/limits: rules[0].clauses[0].matches[0].destination_ports[0] is 70000, above 65535",
  );
  expect(await askWeb("web-a")).toBe("ECONNREFUSED");
  expect(await ask(vip, 80)).toBe("ECONNREFUSED");
  await until("the denial in the access log", () =>
    mesh.accessLog().some((line) => /event=denied, .*policy=default\/limits$/.test(line)),
  );
  await until(
    "both denials in the metrics",
    async () => (await mesh.metric("weft_policy_denials_total", { policy: "default/limits" })) === 2,
  );
  expect(await warnings()).toContain(
    "policy default/limits was rejected and has no good version: the nearest one that is not wider is in force",
  );
  expect(await mesh.admin("/debug/config_dump/diff")).toEqual({ differences: [] });

  const good = policy("limits", {
    scope: 1,
    rules: [{ clauses: [{ matches: [{ destinationPorts: [targetPort] }] }] }],
  });
  expect((await policies([good])).errorDetail).toBeUndefined();
  expect(await askWeb("web-a")).toBe("web-a");
  expect((await warnings()).filter((warning) => warning.includes("was rejected"))).toEqual([]);
});

test("a bad version of a good policy changes nothing", async () => {
  const { errorDetail } = await policies([bad("limits", { action: 5 as Action })]);
  expect(errorDetail?.message).toMatch(/^default\/limits: /);
  expect(await askWeb("web-a")).toBe("web-a");
  await policies([], ["default/limits"]);
});

test("an ALLOW that was never good admits nobody by it where it is named, and changes nothing elsewhere", async () => {
  await addresses([pod("web-a", "3", ["default/chosen"])]);
  await policies([bad("chosen", { scope: 2 })]);
  expect(await askWeb("web-a")).toBe("ECONNREFUSED");
  expect(await askWeb("web-b")).toBe("web-b");
  await addresses([pod("web-a", "4")]);
  await policies([], ["default/chosen"]);
  await until("the end of the denial", async () => (await askWeb("web-a")) === "web-a");
});

test("bytes that are no policy at all deny in the whole namespace", async () => {
  await policies([resource("default/torn", "", AUTHORIZATION_TYPE, Uint8Array.of(0x0a, 0x7f))]);
  expect(await askWeb("web-b")).toBe("ECONNREFUSED");
  await policies([], ["default/torn"]);
  await until("the end of the denial", async () => (await askWeb("web-b")) === "web-b");
});

/** The encoded content of a resource. */
function contentOf(bytes: Uint8Array): Uint8Array {
  return Resource.decode(bytes).resource?.value ?? new Uint8Array();
}

async function warnings(): Promise<readonly string[]> {
  return ((await mesh.admin("/status")) as StatusResponse).warnings;
}
