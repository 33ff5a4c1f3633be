import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { check } from "../../lab/process.js";
import { until } from "../../lab/wait.js";
import { createWorld, type World } from "./world.js";

let world: World;
beforeAll(async () => {
  world = await createWorld();
});
afterAll(() => world?.remove());

interface KernelLink {
  readonly id: number;
  readonly prog_id: number;
  readonly cgroup_id?: number;
  readonly netns_ino?: number;
}

/** Links that hang on the cgroup or on a pod of this lab, whoever made them. */
async function links(): Promise<KernelLink[]> {
  const cgroup = statSync(world.lab.cgroups.mesh).ino;
  const namespaces = new Set([...world.lab.pods.values()].map((pod) => statSync(pod.path).ino));
  const all = JSON.parse(await check(["bpftool", "-j", "link", "show"])) as KernelLink[];
  return all.filter((link) => link.cgroup_id === cgroup || namespaces.has(link.netns_ino ?? 0));
}

/** Where a node would have its CNI plugins. */
const cni = () => ["--cni-bin-dir", world.lab.directory, "--cni-conf-dir", world.lab.directory];

/** A list with weft's plugin in it, which only this test has put there: no daemon keeps it. Gives its path. */
function plantPlugin(): string {
  const list = join(world.lab.directory, "10-pods.conflist");
  const plugins = [{ type: "bridge" }, { type: "weft-cni", socket: "/run/weft/cni.sock", failOpen: false }];
  writeFileSync(list, JSON.stringify({ cniVersion: "1.0.0", name: "pods", plugins }));
  return list;
}

type Kind = "link" | "prog" | "map";

/** What bpftool lists of a kind, on the whole machine. */
async function listed(kind: Kind): Promise<ReadonlySet<number>> {
  const all = JSON.parse(await check(["bpftool", "-j", kind, "show"])) as { readonly id: number }[];
  return new Set(all.map(({ id }) => id));
}

/** Kinds and ids of all that weft has pinned. */
async function pinned(): Promise<readonly (readonly [Kind, number])[]> {
  const root = join(world.lab.bpffs, "weft");
  const files = readdirSync(root, { recursive: true, withFileTypes: true }).filter(
    (file) => !file.isDirectory(),
  );
  return Promise.all(
    files.map(async ({ name, parentPath }) => {
      const kind = parentPath.endsWith("/links") ? "link" : name.startsWith("weft_") ? "prog" : "map";
      const shown = await check(["bpftool", "-j", kind, "show", "pinned", join(parentPath, name)]);
      return [kind, (JSON.parse(shown) as { readonly id: number }).id] as const;
    }),
  );
}

test("a daemon that runs is not taken away from under itself, nor the CNI plugin that it would put back", async () => {
  const list = plantPlugin();
  const refused = await world.mesh.uninstall(...cni());
  expect(refused.code).toBe(1);
  expect(refused.stderr).toContain("ALREADY_RUNNING");
  expect(await links()).toHaveLength(9 + 5);
  expect(readFileSync(list, "utf8")).toContain("weft-cni");
});

test("links, programs, maps and pins are all gone, and again is no error", async () => {
  await world.mesh.endDaemon("SIGKILL");
  const held = await links();
  expect(held).toHaveLength(9 + 5);
  const programs = [...new Set(held.map((link) => link.prog_id))];
  const maps = new Set<number>();
  for (const id of programs) {
    const program = JSON.parse(await check(["bpftool", "-j", "prog", "show", "id", String(id)]));
    for (const map of (program as { map_ids: number[] }).map_ids) maps.add(map);
  }
  // Each pod has a stub of its own; the program behind them all hangs on a map, not on a link.
  expect(programs).toHaveLength(9 + 5);
  expect(maps.size).toBeGreaterThan(15);
  const before = [
    ...(await pinned()),
    ...programs.map((id) => ["prog", id] as const),
    ...[...maps].map((id) => ["map", id] as const),
  ];
  const left = async () => {
    const lists = { link: await listed("link"), prog: await listed("prog"), map: await listed("map") };
    return before.filter(([kind, id]) => lists[kind].has(id));
  };
  expect(await left()).toEqual(before);

  const list = plantPlugin();
  const uninstalled = await world.mesh.uninstall(...cni());
  expect(readFileSync(list, "utf8")).not.toContain("weft-cni");
  expect(uninstalled, uninstalled.stderr).toMatchObject({ code: 0, stderr: "" });
  expect(uninstalled.stdout).toContain("17 hooks detached");
  expect(await links()).toEqual([]);
  // maps.debug and progs.debug are the kernel's own (kernel/bpf/preload).
  expect(readdirSync(world.lab.bpffs).filter((name) => !name.endsWith(".debug"))).toEqual([]);
  // The kernel frees them after a grace period of its own.
  await until("the end of all that bpftool listed", async () => (await left()).length === 0);

  const again = await world.mesh.uninstall();
  expect(again).toMatchObject({ code: 0, stderr: "" });
  expect(again.stdout).toBe(
    `nothing of weft is at ${world.lab.bpffs}/weft: name another BPF file system with --bpffs\n`,
  );
});

test("an uninstalled machine can begin anew", async () => {
  await world.mesh.startDaemon();
  expect(await links()).toHaveLength(9 + 5);
  expect(await world.mesh.admin("/debug/config_dump/diff")).toEqual({ differences: [] });
});
