import { afterEach, expect, test } from "vitest";
import { createLab, type Lab } from "../../lab/lab.js";
import { program } from "../../lab/mesh.js";
import { run } from "../../lab/process.js";
import { until } from "../../lab/wait.js";
import { createWorld, vip, type World, webPort } from "./world.js";

let world: World | undefined;
let lab: Lab | undefined;
afterEach(() => {
  world?.remove();
  lab?.remove();
});

test("a mesh file with a mistake changes nothing, and says line and reason", async () => {
  world = await createWorld();
  const { mesh, peers } = world;
  const before = await world.frontends();
  mesh.edit("workloads:\n  - name: broken\n    addresses: [10.0.0.300]\n");
  await until("weft-xds refusing", () => /mesh\.yaml:3.*10\.0\.0\.300/.test(mesh.log("weft-xds")));
  expect(await world.frontends()).toBe(before);
  const tally = await peers.client.call("askMany", { host: vip.web.ipv4, port: webPort, count: 30 });
  expect(tally.errors).toEqual({});
});

test.each([
  ["NO_BPFFS", "mount -t bpf", (l: Lab) => ["--bpffs", l.directory, "--cgroup", l.cgroups.mesh]],
  ["NO_CGROUP2", "--cgroup", (l: Lab) => ["--bpffs", l.bpffs, "--cgroup", l.directory]],
])("without its ground weftd says %s in one line and ends", async (code, advice, flags) => {
  lab = await createLab();
  const result = await run([...program("weftd"), ...flags(lab)]);
  expect(result.code).toBe(1);
  expect(result.stderr.trim().split("\n")).toHaveLength(1);
  expect(result.stderr).toContain(code);
  expect(result.stderr).toContain(advice);
});

test("without privileges weftd says so in one line, and still helps", async () => {
  lab = await createLab();
  // Still root by number, so that a clone below /root can be read, but without a single capability.
  const powerless = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--"];
  const result = await run([...powerless, ...program("weftd"), "--bpffs", lab.bpffs]);
  expect(result.code).toBe(1);
  expect(result.stderr.trim().split("\n")).toHaveLength(1);
  expect(result.stderr).toContain("NO_PRIVILEGES");
  const help = await run([...powerless, ...program("weftd"), "--help"]);
  expect(help.code, help.stderr).toBe(0);
});
