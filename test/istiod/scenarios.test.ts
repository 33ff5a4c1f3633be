// Owns the proof that after every change of the recorded scenarios, now made to a living istiod, istiod's own index,
// weftd's model and the kernel hold the same.

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createLab, type Lab } from "../../lab/lab.js";
import { type LabMesh, meshWithPlane } from "../../lab/mesh.js";
import { dumpOf } from "../conformance/replay.js";
import { expectAgreement, Follower } from "./agreement.js";
import { type Istiod, startIstiod } from "./istiod.js";
import { initialYaml, stepsOf } from "./script.js";

/** Pods are those that live to the end: weftd is not ready while an enrolled one is unknown to istiod. */
describe.each([
  {
    scenario: "bookinfo",
    node: "node-1",
    pods: ["default/productpage-v1-7c9f5d-10x", "default/details-v1-7c9f5d-17x", "vault/safe-0"],
  },
  { scenario: "oddities", node: "n1", pods: ["odd/x-1", "odd/nosa", "odd/v4mapped"] },
])("$scenario", ({ scenario, node, pods }) => {
  let lab: Lab | undefined;
  let istiod: Istiod;
  let mesh: LabMesh;
  let follower: Follower;

  beforeAll(async () => {
    lab = await createLab();
    istiod = await startIstiod(lab, initialYaml(scenario));
    for (const [i, name] of pods.entries()) await lab.pod(name, { ipv4: `10.77.1.${i + 1}` });
    mesh = await meshWithPlane(lab, istiod.ports.plain, { flags: ["--node-name", node] });
    follower = new Follower(istiod.ports.plain);
    await mesh.startDaemon();
  });
  afterAll(async () => {
    await follower?.stop();
    lab?.remove();
  });

  test("the start is the recorded one", async () => {
    expect(await expectAgreement(istiod, mesh, follower)).toEqual(dumpOf(scenario, "start"));
  });

  for (const step of stepsOf(scenario)) {
    test(step.map(({ verb, file }) => `${verb} ${file}`).join(", "), async () => {
      for (const { verb, yaml } of step) await istiod[verb](yaml);
      await expectAgreement(istiod, mesh, follower);
    });
  }

  test("the end is the recorded one, and nothing was refused", async () => {
    expect(await expectAgreement(istiod, mesh, follower)).toEqual(dumpOf(scenario, "end"));
    expect(follower.faults()).toEqual({});
    expect(await mesh.metric("weft_xds_responses_total", { answer: "nack" })).toBe(0);
  });

  test("a weftd that starts now ends in the same", async () => {
    await mesh.endDaemon("SIGKILL");
    await mesh.startDaemon();
    await expectAgreement(istiod, mesh, follower);
  });
});
