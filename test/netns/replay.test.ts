// Owns the proof that a real istiod's streams, played to a running daemon, end in its model and in the kernel.
// Must not know how a resource becomes an entry.

import { afterEach, describe, expect, test } from "vitest";
import { type ControlPlane, startControlPlane } from "../../cmd/weft-xds/control-plane.js";
import type { Served } from "../../cmd/weft-xds/served.js";
import type { ConfigDumpResponse } from "../../daemon/admin/answers.js";
import { dumpPolicy, dumpService, dumpWorkload } from "../../daemon/admin/dump-config.js";
import { RESOURCE_TYPES } from "../../daemon/xds/resource.js";
import { createLab, type Lab } from "../../lab/lab.js";
import { type LabMesh, meshWithPlane } from "../../lab/mesh.js";
import { until } from "../../lab/wait.js";
import { DeltaDiscoveryResponse, Resource } from "../../proto/gen/discovery.js";
import { dumpOf, fixture, session } from "../conformance/replay.js";
import { startScriptedPlane } from "../helpers/scripted-plane.js";

/** A node of each recording, with pods that live there. What they are called is all that must be right. */
const nodes = {
  bookinfo: {
    node: "node-1",
    pods: [
      "default/productpage-v1-7c9f5d-10x",
      "default/cart-0",
      "default/details-v1-7c9f5d-17x",
      "default/ratings-v1-7c9f5d-18x",
      "vault/safe-0",
    ],
  },
  oddities: { node: "n1", pods: ["odd/x-1", "odd/twin-a", "odd/nolabels", "odd/hostnet-a", "odd/v4mapped"] },
  large: {
    node: "worker-085",
    pods: ["team-38/app-0038-6b5f9d7c4-00005", "team-28/app-0028-6b5f9d7c4-00005"],
  },
  reconnect: { node: "node-1", pods: ["shop/web-0", "shop/web-2"] },
} as const;
type Scenario = keyof typeof nodes;

let lab: Lab | undefined;
const open: { close(): unknown }[] = [];
afterEach(async () => {
  for (const plane of open.splice(0)) await plane.close();
  lab?.remove();
});

/** A daemon in a lab with the scenario's pods, whose control plane listens on `port`. */
async function launch(scenario: Scenario, port: number): Promise<LabMesh> {
  lab = await createLab();
  const { node, pods } = nodes[scenario];
  for (const [i, name] of pods.entries()) await lab.pod(name, { ipv4: `10.77.1.${i + 1}` });
  const mesh = await meshWithPlane(lab, port, { flags: ["--node-name", node] });
  mesh.launchDaemon();
  return mesh;
}

/** What the daemon believes and what the kernel holds are the same. */
async function expectNoDifference(mesh: LabMesh): Promise<void> {
  expect(await mesh.admin("/debug/config_dump/diff")).toEqual({ differences: [] });
}

/** The daemon's model is what istiod itself held. */
async function expectModel(mesh: LabMesh, scenario: Scenario, when: "start" | "end"): Promise<void> {
  const { workloads, services, policies } = dumpOf(scenario, when);
  const wanted: ConfigDumpResponse = {
    workloads: workloads.map(dumpWorkload),
    services: services.map(dumpService),
    policies: policies.map(dumpPolicy),
  };
  const held = (await mesh.admin("/debug/config_dump/workload")) as ConfigDumpResponse;
  expect(sorted(held)).toEqual(JSON.parse(JSON.stringify(sorted(wanted))));
}

function sorted({ workloads, services, policies }: ConfigDumpResponse): ConfigDumpResponse {
  const by = <T>(list: readonly T[], key: (item: T) => string) =>
    [...list].sort((a, b) => (key(a) < key(b) ? -1 : 1));
  return {
    workloads: by(workloads, ({ uid }) => uid),
    services: by(services, ({ namespace, hostname }) => `${namespace}/${hostname}`),
    policies: by(policies, ({ namespace, name }) => `${namespace}/${name}`),
  };
}

describe.each([
  ["bookinfo", "frames-1.bin"],
  ["oddities", "frames-1.bin"],
  ["large", "frames-1.bin.gz"],
] as const)("%s through weft-xds", (scenario, file) => {
  test("no push leaves a difference, and the model is istiod's at the start and at the end", async () => {
    const log: string[] = [];
    const plane = await startControlPlane({
      listen: "127.0.0.1:0",
      source: { replay: fixture(scenario, file) },
      log: (line) => void log.push(line),
    });
    open.push(plane);
    const mesh = await launch(scenario, Number(plane.address.split(":").at(-1)));
    const answered = () => log.filter((line) => /^(ACK|NACK)/.test(line)).length;
    const settled = (count: number) =>
      until(`the answer to push ${count}`, () => answered() >= count, { timeoutMs: 20_000 });

    await settled(2);
    await expectModel(mesh, scenario, "start");
    await expectNoDifference(mesh);
    for (let pushes = 3; plane.next(); pushes++) {
      await settled(pushes);
      await expectNoDifference(mesh);
    }
    expect(answered()).toBeGreaterThan(5);
    expect(log.filter((line) => line.startsWith("NACK"))).toEqual([]);
    await expectModel(mesh, scenario, "end");
    await expectNothingForTheSame(mesh, plane, scenario, file, () => settled(answered() + 2));
  }, 240_000);
});

/** Everything once more, with the versions that the daemon holds: the kernel is left alone. */
async function expectNothingForTheSame(
  mesh: LabMesh,
  plane: ControlPlane,
  scenario: Scenario,
  file: string,
  settled: () => Promise<unknown>,
): Promise<void> {
  // Sockets that are gone leave rows behind for a moment; the diff has waited for those.
  const before = await mesh.metric("weft_bpf_map_operations_total");
  expect(before).toBeGreaterThan(0);
  const answers = settled();
  for (const [type, resources] of lastOf(scenario, file)) plane.push({ type, resources, removed: [] });
  await answers;
  expect(await mesh.metric("weft_bpf_map_operations_total")).toBe(before);
  await expectNoDifference(mesh);
}

/** What a recording leaves: by type, the last state of each resource. */
function lastOf(scenario: Scenario, file: string) {
  const held = new Map(RESOURCE_TYPES.map((type) => [type, new Map<string, Served>()]));
  for (const frame of session(scenario, file).filter(({ response }) => response)) {
    const response = DeltaDiscoveryResponse.decode(frame.message);
    const resources = RESOURCE_TYPES.filter((type) => type === response.typeUrl).map((type) =>
      held.get(type),
    )[0];
    for (const bytes of response.resources) {
      const { name, version } = Resource.decode(bytes);
      resources?.set(name, { name, version, bytes });
    }
    for (const name of response.removedResources) resources?.delete(name);
  }
  return [...held].map(([type, resources]) => [type, [...resources.values()]] as const);
}

test("reconnect: streams are cut, and what was missed meanwhile is made good", async () => {
  const plane = await startScriptedPlane();
  open.push(plane);
  const mesh = await launch("reconnect", plane.port);
  const play = async (number: number) => {
    const frames = session("reconnect", `frames-${number}.bin`).filter(({ response }) => response);
    for (const [i, frame] of frames.entries()) {
      const { errorDetail } = await plane.send(DeltaDiscoveryResponse.decode(frame.message));
      expect(errorDetail).toBeUndefined();
      await expectNoDifference(mesh);
      if (number === 1 && i === 1) await expectModel(mesh, "reconnect", "start");
    }
  };
  await play(1);
  for (const number of [2, 3, 4, 5, 6]) {
    await plane.cut();
    await play(number);
  }
  await expectModel(mesh, "reconnect", "end");
  // Session 7 belongs to another kind of client, 8 comes back to an unchanged mesh.
  await plane.cut();
  await play(8);
  await expectModel(mesh, "reconnect", "end");
});
