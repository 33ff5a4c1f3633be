import { existsSync, mkdirSync, rmdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { createLab, type Lab } from "../../lab/lab.js";
import { freePort, LabMesh, meshWithPlane, program } from "../../lab/mesh.js";
import { run } from "../../lab/process.js";
import { Hopeless, isListening, until } from "../../lab/wait.js";
import { refusing, withAddon } from "./addon.js";

let lab: Lab;
let mesh: LabMesh;
beforeEach(async () => {
  lab = await createLab();
  mesh = await meshWithPlane(lab, 1, { accessLog: false });
});
afterEach(() => lab?.remove());

/** The same lab with other flags of weftd; its control plane is weft-xds on `xds`. */
function withFlags(flags: readonly string[], xds = 1): LabMesh {
  rmSync(join(lab.directory, "mesh"), { recursive: true });
  return new LabMesh(lab, { accessLog: false, flags }, { ...mesh.ports, xds });
}

async function started(of: LabMesh): Promise<void> {
  const daemon = of.launchDaemon();
  await until("weftd serving", () => {
    if (!daemon.running) throw new Hopeless(of.log("weftd"));
    return isListening(daemon.pid, of.ports.ready);
  });
}

test("the access log's switch: what is said now wins, and what nobody says is as it was left", async () => {
  const isOn = async (flags: readonly string[]) => {
    const now = withFlags(flags);
    await started(now);
    const { enabled } = (await now.admin("/accesslog")) as { enabled: boolean };
    expect(await now.endDaemon("SIGTERM")).toBe(0);
    return enabled;
  };
  expect(await isOn([])).toBe(false);
  expect(await isOn(["--access-log"])).toBe(true);
  expect(await isOn([])).toBe(true);
  expect(await isOn(["--access-log", "false"])).toBe(false);
  expect(await isOn([])).toBe(false);
});

test("the log says what serves, and where, with ports that were left to the kernel", async () => {
  const now = withFlags(["--metrics-address", "127.0.0.1:0"]);
  await started(now);
  const line = await until("the line", () => /^.*weftd serves.*$/m.exec(now.log("weftd"))?.[0]);
  expect(line).toMatch(/ version=\d+\.\d+\.\d+ .*control_plane=127\.0\.0\.1:1 /);
  expect(line).toContain(`admin=127.0.0.1:${now.ports.admin} `);
  const metrics = /metrics=(127\.0\.0\.1:\d+)/.exec(line)?.[1];
  expect((await fetch(`http://${metrics}/metrics`)).status).toBe(200);
});

test("a first configuration that cannot govern is not acknowledged, and ends the daemon with one line", async () => {
  const cgroup = join(lab.cgroups.mesh, "gone");
  mkdirSync(cgroup);
  const now = withFlags(["--cgroup", cgroup], await freePort());
  await started(now);
  rmdirSync(cgroup);
  now.edit("workloads: []\n");
  await now.startXds();
  expect(await now.daemon.exited).toBe(1);
  const lines = now.log("weftd").trimEnd().split("\n");
  expect(lines.at(-1)).toMatch(/^weftd: .*\[BPF_ATTACH_FAILED\]$/);
  expect(lines.filter((line) => line.startsWith("    at "))).toEqual([]);
  await now.stopXds();
  const answers = now.log("weft-xds").match(/\b(SENT|ACK|NACK) /g) ?? [];
  expect(answers.filter((answer) => answer === "SENT ")).toHaveLength(2);
  expect(answers.filter((answer) => answer === "ACK ")).toHaveLength(1);
});

test("a kernel that refuses a type of program which is needed is told of in one line", async () => {
  const refuses = "{ loadProgram: (raw) => (raw.type === 30 ? refuse() : real.loadProgram(raw)) }";
  await withAddon(refuses, async () => {
    const ended = await run(mesh.daemonCommand());
    expect(ended.code).toBe(1);
    expect(ended.stderr).toMatch(
      /^weftd: .* of type sk_lookup, so no policy .*EPERM\) \[BPF_TYPE_REFUSED\]\n$/,
    );
  });
});

test("a kernel that refuses the iterators of sockets is governed all the same, and told of", async () => {
  const now = withFlags([], await freePort());
  now.edit("workloads: []\n");
  await now.startXds();
  await withAddon(refusing("sweep"), async () => void (await now.startDaemon()));
  const { warnings } = (await now.admin("/status")) as { warnings: string[] };
  const said = /BPF programs of the types iter\/tcp and iter\/udp: connections go on when .*\[KERNEL_LACKS\]/;
  expect(warnings.filter((warning) => said.test(warning))).toHaveLength(1);
  expect(
    now
      .log("weftd")
      .split("\n")
      .filter((line) => said.test(line)),
  ).toHaveLength(1);
  expect(await now.endDaemon("SIGTERM")).toBe(0);
});

test("what the verifier said of a program is in the log at level debug, and nothing of it above", async () => {
  const broken = refusing("sockops", '() => real.openObject(testdata + "/broken.bpf.o").loadAsync()');
  const now = withFlags(["--log-level", "bpf:debug"], await freePort());
  now.edit("workloads: []\n");
  await now.startXds();
  await withAddon(broken, async () => {
    now.launchDaemon();
    expect(await now.daemon.exited).toBe(1);
  });
  const lines = now.log("weftd").trimEnd().split("\n");
  expect(lines.at(-1)).toMatch(/^weftd: .*verifier refused .*sockops\.o.*Linux 6\.1.*\[BPF_LOAD_FAILED\]$/);
  const verifier = lines.filter((line) => / DEBUG bpf +verifier: /.test(line));
  expect(verifier.length).toBeGreaterThan(1000);
  expect(verifier.join("\n")).toContain("R0 invalid mem access 'map_value_or_null'");
});

test("uninstalling looks where environment and file say that the daemon pins", async () => {
  await started(mesh);
  expect(await mesh.endDaemon("SIGTERM")).toBe(0);
  const file = join(lab.directory, "weft.yaml");
  writeFileSync(file, `bpffs: ${lab.bpffs}\n`);
  expect(existsSync(join(lab.bpffs, "weft"))).toBe(true);
  // Neither type information nor a cgroup hierarchy is there.
  const without = ["unshare", "--mount", "sh", "-c"];
  const hide = 'mount -t tmpfs none /sys/kernel/btf && umount -a -t cgroup2 && exec "$@"';
  const argv = [...without, hide, "sh", ...program("weftd"), "uninstall", "--config", file];
  const removed = await run(argv);
  expect(removed, removed.stderr).toMatchObject({ code: 0, stderr: "" });
  expect(removed.stdout).toBe(`weft is uninstalled: 0 hooks detached, ${lab.bpffs}/weft removed\n`);
  const env = { ...process.env, WEFT_BPFFS: lab.bpffs };
  const nothing = await run([...program("weftd"), "uninstall"], { env });
  expect(nothing.stdout).toContain(`nothing of weft is at ${lab.bpffs}/weft`);
});
