// Owns the proof of the CNI plugin: the built binary against weftd's socket, and its place in the node's files.

import { execFile } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { until } from "../../lab/wait.js";
import { failed, ok, podUnknown, type Result } from "../base/errors.js";
import { CniInstall, removeCni } from "./cni-install.js";
import { serveCni } from "./cni-server.js";
import type { Sandbox } from "./governor.js";

const BINARY = "build/cni/weft-cni";
const log = pino({ enabled: false });

let directory: string;
let socket: string;
const open: (() => unknown)[] = [];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "weft-cni-"));
  socket = join(directory, "run", "cni.sock");
});

afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close();
  rmSync(directory, { recursive: true });
});

const PREVIOUS = {
  cniVersion: "1.0.0",
  interfaces: [{ name: "eth0" }],
  ips: [{ address: "10.244.1.7/24" }],
  dns: {},
};

interface Ran {
  readonly code: number;
  readonly output: Record<string, unknown> | undefined;
  readonly errors: string;
}

/** Runs the plugin as a runtime does. */
function plugin(
  command: string,
  config: object = {},
  environment: Record<string, string> = {},
): Promise<Ran> {
  const env = {
    CNI_COMMAND: command,
    CNI_CONTAINERID: "c1",
    // As containerd has it.
    CNI_NETNS: "/var/run/netns/cni-1",
    CNI_IFNAME: "eth0",
    CNI_ARGS:
      "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web;K8S_POD_INFRA_CONTAINER_ID=c1;K8S_POD_UID=u-1",
    CNI_PATH: "/opt/cni/bin",
    ...environment,
  };
  const given = {
    cniVersion: "1.0.0",
    name: "net",
    type: "weft-cni",
    socket,
    prevResult: PREVIOUS,
    ...config,
  };
  return new Promise((resolve) => {
    const child = execFile(BINARY, { env }, (error, stdout, errors) => {
      const output = stdout === "" ? undefined : (JSON.parse(stdout) as Record<string, unknown>);
      resolve({ code: error === null ? 0 : Number(error.code), output, errors });
    });
    child.stdin?.end(JSON.stringify(given));
  });
}

async function serve(admit: (sandbox: Sandbox) => Promise<Result<"governed">>, trouble?: string) {
  const released: Sandbox[] = [];
  const governor = {
    admit,
    release: async (sandbox: Sandbox) => void released.push(sandbox),
  };
  open.push(await serveCni({ path: socket, governor, log, trouble: () => trouble }));
  return released;
}

describe("the plugin", () => {
  it("hands a pod to weftd, and passes on what the plugins before it gave", async () => {
    const asked: Sandbox[] = [];
    const released = await serve(async (sandbox) => {
      asked.push(sandbox);
      return ok("governed");
    });
    expect(await plugin("ADD")).toEqual({ code: 0, output: PREVIOUS, errors: "" });
    const sandbox = { namespace: "shop", name: "web", uid: "u-1", netns: "/run/netns/cni-1" };
    expect(asked).toEqual([sandbox]);
    expect(await plugin("CHECK")).toMatchObject({ code: 0 });
    expect(await plugin("STATUS", { cniVersion: "1.1.0" })).toMatchObject({ code: 0 });
    expect(await plugin("DEL")).toMatchObject({ code: 0 });
    expect(released).toEqual([sandbox]);
    expect(statSync(socket).mode & 0o777).toBe(0o600);
  });

  it("lets a pod wait, and says why, while weftd cannot govern it", async () => {
    await serve(async () => failed(podUnknown("shop/web")), "the API server is away");
    expect(await plugin("ADD")).toMatchObject({
      code: 1,
      output: {
        code: 11,
        msg: "weft cannot govern this pod yet",
        details: expect.stringContaining("POD_UNKNOWN"),
      },
    });
    expect(await plugin("STATUS", { cniVersion: "1.1.0" })).toMatchObject({
      code: 1,
      output: { code: 50, details: "the API server is away" },
    });
  });

  it("without weftd lets new pods wait or pass, as chosen, and lets every pod go", async () => {
    expect(await plugin("ADD")).toMatchObject({
      code: 1,
      output: { code: 11, details: `weftd does not answer at ${socket}: No such file or directory` },
    });
    const passed = await plugin("ADD", { failOpen: true });
    expect(passed).toMatchObject({ code: 0, output: PREVIOUS });
    expect(passed.errors).toContain("passes a pod ungoverned");
    expect(await plugin("DEL")).toMatchObject({ code: 0, output: undefined });
    expect(await plugin("GC", { cniVersion: "1.1.0" })).toMatchObject({ code: 0 });
  });

  it("says which versions it speaks, and what is wrong with its configuration", async () => {
    expect(await plugin("VERSION", { cniVersion: "1.1.0" })).toMatchObject({
      code: 0,
      output: { cniVersion: "1.1.0", supportedVersions: ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"] },
    });
    expect(await plugin("ADD", { prevResult: null })).toMatchObject({ code: 1, output: { code: 7 } });
    expect(await plugin("ADD", { failOpen: "yes" })).toMatchObject({ code: 1, output: { code: 7 } });
    expect(await plugin("ADD", { cniVersion: "9.0.0" })).toMatchObject({ code: 1, output: { code: 1 } });
    expect(await plugin("FLY")).toMatchObject({ code: 1, output: { code: 7 } });
  });

  it("asks nothing about what is no pod", async () => {
    await serve(async () => failed(podUnknown("nobody")));
    expect(await plugin("ADD", {}, { CNI_ARGS: "" })).toMatchObject({ code: 0, output: PREVIOUS });
  });
});

describe("its place on the node", () => {
  const FLANNEL = {
    name: "cbr0",
    cniVersion: "1.0.0",
    plugins: [{ type: "flannel", delegate: { hairpinMode: true } }],
  };
  let binDir: string;
  let confDir: string;

  beforeEach(() => {
    binDir = join(directory, "bin");
    confDir = join(directory, "net.d");
    mkdirSync(confDir);
  });

  function install(): CniInstall {
    const entry = { type: "weft-cni", socket, failOpen: false } as const;
    const installed = new CniInstall({ binary: BINARY, entry, binDir, confDir, log });
    open.push(installed.start());
    return installed;
  }

  const write = (name: string, value: unknown) => writeFileSync(join(confDir, name), JSON.stringify(value));
  const read = (name: string) =>
    JSON.parse(readFileSync(join(confDir, name), "utf8")) as Record<string, unknown>;
  const OURS = { type: "weft-cni", failOpen: false };

  it("is the last of the first list, and comes back when somebody rewrites that", async () => {
    write("10-flannel.conflist", FLANNEL);
    write("90-other.conflist", FLANNEL);
    expect(install().trouble).toBeUndefined();
    expect(read("10-flannel.conflist")).toEqual({
      ...FLANNEL,
      plugins: [...FLANNEL.plugins, { ...OURS, socket }],
    });
    expect(read("90-other.conflist")).toEqual(FLANNEL);
    expect(readFileSync(join(binDir, "weft-cni")).equals(readFileSync(BINARY))).toBe(true);
    write("10-flannel.conflist", FLANNEL);
    await until(
      "the entry to come back",
      () => (read("10-flannel.conflist").plugins as unknown[]).length === 2 || undefined,
    );
    removeCni({ binDir, confDir });
    expect(read("10-flannel.conflist")).toEqual(FLANNEL);
    expect(existsSync(join(binDir, "weft-cni"))).toBe(false);
  });

  it("has its binary put back, also when what somebody put there is as long", () => {
    write("10-flannel.conflist", FLANNEL);
    const installed = install();
    const place = join(binDir, "weft-cni");
    const isOurs = () => readFileSync(place).equals(readFileSync(BINARY));
    installed.look();
    expect(isOurs()).toBe(true);
    writeFileSync(place, Buffer.alloc(readFileSync(BINARY).length));
    expect(isOurs()).toBe(false);
    installed.look();
    expect(isOurs()).toBe(true);
    rmSync(place);
    installed.look();
    expect(isOurs()).toBe(true);
  });

  it("makes a list of a single plugin, and leaves its file as it was", () => {
    const bridge = { cniVersion: "0.4.0", name: "lab", type: "bridge", bridge: "cni0" };
    write("10-bridge.conf", bridge);
    install();
    expect(read("00-weft-10-bridge.conflist")).toEqual({
      cniVersion: "0.4.0",
      name: "lab",
      plugins: [
        { type: "bridge", bridge: "cni0" },
        { ...OURS, socket },
      ],
    });
    expect(read("10-bridge.conf")).toEqual(bridge);
    removeCni({ binDir, confDir });
    expect(readdirSync(confDir)).toEqual(["10-bridge.conf"]);
  });

  it("waits for a configuration, and touches nothing that is none", async () => {
    const installed = install();
    expect(installed.trouble).toMatch(/^no CNI configuration in /);
    writeFileSync(join(confDir, "10-broken.conflist"), "{");
    await until(
      "the file to be looked at",
      () => installed.trouble?.includes("neither a plugin nor a list") || undefined,
    );
    expect(readFileSync(join(confDir, "10-broken.conflist"), "utf8")).toBe("{");
    write("10-broken.conflist", FLANNEL);
    await until("the entry", () => installed.trouble === undefined || undefined);
  });
});
