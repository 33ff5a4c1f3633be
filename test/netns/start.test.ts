import { mkdirSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { cgroupRoot } from "../../lab/cgroup.js";
import { createLab, type Lab } from "../../lab/lab.js";
import { freePort, program } from "../../lab/mesh.js";
import { type RunResult, run } from "../../lab/process.js";
import { builtHand } from "./sockets.js";

let lab: Lab;
beforeAll(async () => {
  lab = await createLab();
});
afterAll(() => lab?.remove());

/** Root by number, so that a clone below /root can be read, but without a single capability. */
const powerless = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--"];

/** Everything that weftd needs in the lab; what a test takes away comes after it. */
const ground = () => ["--bpffs", lab.bpffs, "--cgroup", lab.cgroups.mesh];

function expectOneLine({ code, stderr, stdout }: RunResult, exitCode: number, ...parts: string[]): void {
  expect(stderr.trimEnd().split("\n"), stderr).toHaveLength(1);
  for (const part of parts) expect(stderr).toContain(part);
  expect([code, stdout]).toEqual([exitCode, ""]);
}

describe("weftd says in one line what it lacks and how to mend it, and ends", () => {
  /** Runs in a mount namespace of its own, after a command that changes what is mounted there. */
  const without = (command: string, argv: readonly string[]) =>
    run(["unshare", "--mount", "sh", "-c", `${command} && exec "$@"`, "sh", ...argv]);

  test("type information of the kernel", async () => {
    const hidden = await without("mount -t tmpfs none /sys/kernel/btf", [...program("weftd"), ...ground()]);
    expectOneLine(hidden, 1, "NO_BTF", "/sys/kernel/btf/vmlinux", "CONFIG_DEBUG_INFO_BTF=y");
  });

  test("a cgroup v2 hierarchy", async () => {
    const argv = [...program("weftd"), "--bpffs", lab.bpffs];
    const hidden = await without("umount -a -t cgroup2", argv);
    expectOneLine(hidden, 1, "NO_CGROUP2", "no cgroup v2 hierarchy is mounted", "mount -t cgroup2");
  });

  test("the root of that hierarchy, where a cgroup namespace of its own hides it", async () => {
    const inOwn = 'echo $$ > "$0/cgroup.procs" && exec unshare --mount --cgroup sh -c "$1" sh "$@"';
    const shown = `umount -a -t cgroup2 && mount -t cgroup2 none ${cgroupRoot()} && shift && exec "$@"`;
    const weftd = [...program("weftd"), "--bpffs", lab.bpffs];
    const hidden = await run(["sh", "-c", inOwn, lab.cgroups.daemons, shown, ...weftd]);
    expectOneLine(hidden, 1, "NO_CGROUP2", cgroupRoot(), "not the root", "--cgroup");
  });

  test.each([
    ["not there", "/nowhere/at/all"],
    ["a file", "/etc/passwd/x"],
  ])("a BPF file system: the path is %s", async (_, path) => {
    const argv = [...program("weftd"), "--cgroup", lab.cgroups.mesh, "--bpffs", path];
    expectOneLine(await run(argv), 1, "NO_BPFFS", path, `mount -t bpf bpf ${path}`);
  });

  test("a BPF file system that can be written to", async () => {
    const argv = [...program("weftd"), ...ground()];
    const readOnly = await without(`mount -o remount,bind,ro ${lab.bpffs}`, argv);
    expectOneLine(readOnly, 1, "BPF_PIN_FAILED", `${lab.bpffs}/weft`, "writable");
  });

  test("the addon", async () => {
    const env = { ...process.env, WEFT_ADDON: "/nowhere/weft_native.node" };
    const lacking = await run([...program("weftd"), ...ground()], { env });
    expectOneLine(lacking, 1, "ADDON_UNUSABLE", "/nowhere/weft_native.node is missing", "make build");
    mkdirSync(join(lab.bpffs, "weft"), { recursive: true });
    const left = await run([...program("weftd"), "uninstall", "--bpffs", lab.bpffs], { env });
    expectOneLine(left, 1, "ADDON_UNUSABLE", "/nowhere/weft_native.node is missing");
  });

  test("libbpf", async () => {
    const hide = `mount --bind /dev/null "$(ldconfig -p | sed -n 's/.*libbpf[.]so[.]1 .*=> //p' | head -1)"`;
    const lacking = await without(hide, [...program("weftd"), ...ground()]);
    expectOneLine(lacking, 1, "ADDON_UNUSABLE", "libbpf.so.1: file too short", "install libbpf");
  });

  test("privileges to uninstall", async () => {
    const argv = [...powerless, ...program("weftd"), "uninstall", "--bpffs", lab.bpffs];
    expectOneLine(await run(argv), 1, "NO_PRIVILEGES", "CAP_NET_ADMIN");
  });

  test("a file for the access log", async () => {
    const argv = [...program("weftd"), ...ground(), "--access-log-file", "/nowhere/access.log"];
    expectOneLine(await run(argv), 1, "LOG_FILE_UNWRITABLE", "/nowhere/access.log", "--access-log-file");
  });

  describe("an address that is free", () => {
    let squatter: Server | undefined;
    afterEach(() => void squatter?.close());

    test.each(["admin", "metrics", "ready"])("for %s", async (what) => {
      const port = await freePort();
      squatter = createServer();
      await new Promise<void>((resolve) => squatter?.listen(port, "127.0.0.1", resolve));
      const addresses = ["admin", "metrics", "ready"].flatMap((name) => [
        `--${name}-address`,
        `127.0.0.1:${name === what ? port : 0}`,
      ]);
      const result = await run([...program("weftd"), ...ground(), "--log-level", "error", ...addresses]);
      expectOneLine(result, 1, "ADDRESS_IN_USE", `127.0.0.1:${port}`, `--${what}-address`);
    });
  });

  describe.each(["admin", "metrics", "ready"])("an address for %s", (what) => {
    const flag = `--${what}-address`;
    const argv = (address: string) => [
      ...program("weftd"),
      ...ground(),
      ...["--log-level", "error", "--admin-address", "127.0.0.1:0", "--metrics-address", "127.0.0.1:0"],
      ...["--ready-address", "127.0.0.1:0", flag, address],
    ];

    test("that it may listen on", async () => {
      const bindless = ["setpriv", "--bounding-set=-net_bind_service", "--inh-caps=-net_bind_service", "--"];
      // A network namespace of its own has the kernel's own first port for everybody.
      const inNew = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"];
      const refused = await run([...inNew, ...bindless, ...argv("127.0.0.1:81")]);
      expectOneLine(refused, 1, "ADDRESS_UNAVAILABLE", "127.0.0.1:81", "CAP_NET_BIND_SERVICE", flag);
    });

    test("that the kernel speaks", async () => {
      const refused = await run([builtHand("without-ipv6"), ...argv("[::1]:0")]);
      expectOneLine(
        refused,
        1,
        "ADDRESS_UNAVAILABLE",
        "[::1]:0",
        "does not speak this kind of address",
        flag,
      );
    });
  });

  test.each([
    [["--admin-address", "0.0.0.0:15200"], "admin-address in flag --admin-address"],
    [["--pod", "web"], "pod in flag --pod"],
    [["--sync-timeout", "30"], "sync-timeout in flag --sync-timeout"],
    [["--map-limit", "many"], "map-limit in flag --map-limit"],
    [["--access-log", "perhaps"], "access-log in flag --access-log"],
    [["--bpffs", "relative"], "bpffs in flag --bpffs"],
    [["--config", "/nowhere/weft.yaml"], "/nowhere/weft.yaml"],
    [["--colour"], "weftd: unknown option '--colour'"],
    [["--map-limit"], "--map-limit"],
  ])("%j: a value that means something", async (argv, named) => {
    expectOneLine(await run([...powerless, ...program("weftd"), ...argv]), 2, named);
  });

  test("an environment and a file whose values mean something", async () => {
    const env = { ...process.env, WEFT_MAP_LIMIT: "0" };
    expectOneLine(await run(program("weftd"), { env }), 2, "map-limit in environment WEFT_MAP_LIMIT");
  });
});

describe("--help needs no privileges and no daemon", () => {
  const verbs = ["version", "status", "dump", "diff", "log", "accesslog", "enroll", "unenroll", "completion"];
  test.each([
    ["weftd", ["--help"]],
    ["weftd", ["uninstall", "--help"]],
    ["weft-xds", ["--help"]],
    ["weftctl", ["--help"]],
    ...verbs.map((verb) => ["weftctl", [verb, "--help"]] as const),
  ] as const)("%s %j", async (name, argv) => {
    const { code, stdout, stderr } = await run([...powerless, ...program(name), ...argv]);
    expect([code, stderr]).toEqual([0, ""]);
    expect(stdout).toMatch(new RegExp(`^Usage: ${name}`));
    expect(stdout.split("\n").length).toBeGreaterThan(4);
  });

  test("a verb without a daemon says where it asked", async () => {
    const result = await run([...powerless, ...program("weftctl"), "--admin", "127.0.0.1:1", "status"]);
    expectOneLine(result, 3, "127.0.0.1:1", "--admin");
  });
});
