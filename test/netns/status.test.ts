import { statSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import { check } from "../../lab/process.js";
import { createWorld, type World } from "./world.js";

let world: World;
beforeAll(async () => {
  world = await createWorld();
}, 60_000);
afterAll(() => world?.remove());

interface KernelLink {
  readonly id: number;
  readonly cgroup_id?: number;
}

test("a hook that somebody detached from the cgroup is missing, and a warning says so", async () => {
  const whole = await world.mesh.weftctl("status");
  expect(whole.stdout).not.toContain("missing");
  const cgroup = statSync(world.lab.cgroups.mesh).ino;
  const all = JSON.parse(await check(["bpftool", "-j", "link", "show"])) as KernelLink[];
  const link = all.find((each) => each.cgroup_id === cgroup);
  await check(["bpftool", "link", "detach", "id", String(link?.id)]);
  const { stdout } = await world.mesh.weftctl("status");
  expect(stdout).toMatch(/^warning: \w+ is not attached to /m);
  expect(stdout.match(/ missing /g)).toHaveLength(1);
});
