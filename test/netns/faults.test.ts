// Owns the proof that no step of a start, a growth or a swap is one at which weftd may not fail or die: each call into
// the kernel fails, or is weftd's last. A sample of the steps; FAULTS=all takes every one, and prints the table.

import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { parse, stringify } from "yaml";
import { maps } from "../../daemon/bpf/maps.gen.js";
import { program } from "../../lab/mesh.js";
import { check } from "../../lab/process.js";
import { sleep, slowness, until } from "../../lab/wait.js";
import { withAddon } from "./addon.js";
import { createWorld, moreServices, vip, type World, webPort, worldYaml } from "./world.js";

const modes = ["error", "kill"] as const;
type Mode = (typeof modes)[number];

/** Of each phase and mode, others at each run, unless all are asked for. */
const SAMPLE = 2;
const all = process.env.FAULTS === "all";
/** Of growths that failed, one in so many is waited for until it is made up for: it takes ten seconds. */
const MENDED_EACH = 10;

/** Calls that change nothing, or that cannot fail. */
const SAFE = [
  ...[
    "libbpfVersion",
    "possibleCpus",
    "trimMemory",
    "netnsCookie",
    "readNetns",
    "lockDirectory",
    "sendNotice",
  ],
  ...["lookup", "entries", "testRun", "close", "map", "program", "enableStats", "readIterator"],
];

/**
 * An addon that counts the calls into the kernel from the moment on that `from` exists, writes their names to `log`,
 * and fails the one that `at` names: with ENOMEM, or by SIGKILL before it.
 */
function failing(directory: string): string {
  return `...(() => {
    const fs = require("node:fs");
    const file = (name) => ${JSON.stringify(directory)} + "/" + name;
    const { at, mode } = JSON.parse(fs.readFileSync(file("plan"), "utf8"));
    const safe = new Set(${JSON.stringify(SAFE)});
    const raw = new WeakMap();
    let calls = 0;
    const unwrap = (value) => {
      if (raw.has(value)) return raw.get(value);
      if (Array.isArray(value?.maps)) return { ...value, maps: value.maps.map((m) => ({ ...m, map: unwrap(m.map) })) };
      return value;
    };
    const fault = (name) => {
      if (safe.has(name) || !fs.existsSync(file("from"))) return undefined;
      calls++;
      fs.appendFileSync(file("log"), name + "\\n");
      if (calls !== at) return undefined;
      if (mode === "kill") process.kill(process.pid, "SIGKILL");
      return Object.assign(new Error(name + ": ENOMEM"), { code: "ENOMEM", errno: 12 });
    };
    const wrapCall = (name, call) => (...given) => {
      const error = fault(name);
      if (error === undefined) return wrap(call(...given.map(unwrap)));
      if (name.endsWith("Batch")) return { done: 0, error };
      if (["waitForReaders", "destroySockets", "loadAsync"].includes(name)) return Promise.reject(error);
      throw error;
    };
    const wrap = (value) => {
      if (typeof value?.close !== "function" || Buffer.isBuffer(value)) return value;
      const proxy = new Proxy(value, {
        get(target, name) {
          const held = target[name];
          return typeof held === "function" ? wrapCall(String(name), held.bind(target)) : held;
        },
      });
      raw.set(proxy, value);
      return proxy;
    };
    return Object.fromEntries(Object.entries(real).map(([name, held]) =>
      [name, typeof held === "function" ? wrapCall(name, held) : held]));
  })()`;
}

const policies = [
  { name: "deny-other", action: "DENY", rules: [{ principals: ["cluster.local/ns/shop/sa/other"] }] },
];
const address = { host: vip.web.ipv4, port: webPort };

let world: World;
let faults: string;
/** What the clients have met since the beginning. */
const met = { tried: 0, failed: {} as Record<string, number>, admitted: 0 };
let over = false;
let traffic: Promise<void>;

/** One pod that may, and one that may not, all the while. */
async function talk(): Promise<void> {
  while (!over) {
    const { client, other } = world.peers;
    const [may, mayNot] = await Promise.all([
      client.call("askMany", { ...address, count: 5 }),
      other.call("askMany", { ...address, count: 5 }),
    ]);
    met.tried += 10;
    for (const [code, count] of Object.entries(may.errors))
      met.failed[code] = (met.failed[code] ?? 0) + count;
    met.admitted += Object.values(mayNot.replies).reduce((sum, count) => sum + count, 0);
    await sleep(20);
  }
}

beforeAll(async () => {
  world = await createWorld({ policies }, { accessLog: false });
  faults = join(world.lab.directory, "faults");
  mkdirSync(faults);
  traffic = talk();
});
afterAll(async () => {
  over = true;
  await traffic;
  world?.remove();
});

const weft = () => join(world.lab.bpffs, "weft");
const generations = () => readdirSync(weft()).filter((name) => name.startsWith("generation-"));
const calls = () =>
  existsSync(join(faults, "log")) ? readFileSync(join(faults, "log"), "utf8").split("\n").slice(0, -1) : [];
function plan(at: number, mode: Mode): void {
  writeFileSync(join(faults, "plan"), JSON.stringify({ at, mode }));
  for (const name of ["log", "from"]) rmSync(join(faults, name), { force: true });
}
const begin = () => writeFileSync(join(faults, "from"), "");
const isReady = () => world.mesh.isReady().catch(() => false);

/** weftd has ended or is ready, whichever comes. */
async function settled(): Promise<"ended" | "ready"> {
  return until("weftd ready or ended", async () => {
    if (!world.mesh.daemon.running) return "ended";
    return (await isReady()) && "ready";
  });
}

async function end(): Promise<void> {
  if (world.mesh.daemon.running) await world.mesh.endDaemon("SIGTERM");
}

interface Phase {
  readonly name: string;
  /** Brings about what is counted, from begin() on; gives once it is done or has failed. */
  readonly run: () => Promise<void>;
  /** Between two runs. */
  readonly reset: () => Promise<void>;
  /** Waits until what failed has been done again, without another start: seconds later. */
  readonly mended?: () => Promise<void>;
}

const larger = () => {
  const services = moreServices(maps.targets.maxEntries / 2);
  const mesh = parse(worldYaml({ policies })) as { services: object[] };
  return stringify({ ...mesh, services: [...mesh.services, ...services] });
};

const phases: readonly Phase[] = [
  {
    name: "a swap",
    async run() {
      begin();
      world.mesh.launchDaemon();
      await settled();
    },
    reset: end,
  },
  {
    name: "a growth",
    async run() {
      world.mesh.launchDaemon();
      await settled();
      const before = generations();
      const said = world.mesh.log("weftd").length;
      begin();
      world.mesh.edit(larger());
      await until("the growth tried", () => {
        if (!world.mesh.daemon.running) return true;
        const isDone = generations().every((name) => !before.includes(name));
        return isDone || world.mesh.log("weftd").slice(said).includes("ENOMEM");
      });
    },
    async reset() {
      await end();
      world.mesh.edit(worldYaml({ policies }));
    },
    async mended() {
      const { targets } = maps;
      const capacity = () => world.mesh.metric("weft_bpf_map_capacity", { map: "targets" });
      await until("the growth", async () => (await capacity()) > targets.maxEntries);
    },
  },
];

/**
 * Places among these calls: every one, or one anywhere in each part. Of the maps that one object is given the first and
 * the last: libbpf only takes note of them.
 */
function places(steps: readonly string[]): number[] {
  const isWithin = (name: string, index: number) =>
    name === "reuseMap" && steps[index - 1] === name && steps[index + 1] === name;
  if (all) return steps.flatMap((name, index) => (isWithin(name, index) ? [] : [index + 1]));
  const part = steps.length / SAMPLE;
  return Array.from({ length: SAMPLE }, (_, index) => 1 + Math.floor(part * (index + Math.random())));
}

test.each(phases)(
  "$name may fail, or weftd die, at any step: the former state governs, and the next start mends it",
  async ({ name, run, reset, mended }) => {
    await end();
    await withAddon(`{ ${failing(faults)} }`, async () => {
      plan(0, "error");
      await run();
      await until("no call any more", async () => {
        const count = calls().length;
        await sleep(300);
        return calls().length === count;
      });
      const steps = calls();
      expect(steps.length).toBeGreaterThan(20);
      await reset();
      for (const mode of modes) {
        for (const [index, at] of places(steps).entries()) {
          plan(at, mode);
          await run();
          if (mode === "error" && index % MENDED_EACH === 0) await mended?.();
          else await sleep(100);
          const outcome = world.mesh.daemon.running ? "goes on" : "ended";
          await reset();
          const line = `${name}, step ${at} (${steps[at - 1]}), ${mode}: weftd ${outcome}`;
          if (all) console.log(line);
          expect({ line, failed: met.failed, admitted: met.admitted }).toEqual({
            line,
            failed: {},
            admitted: 0,
          });
        }
      }
    });
    await world.mesh.startDaemon();
    await until("one generation", () => generations().length === 1);
    expect(await world.mesh.weftctl("diff")).toMatchObject({ code: 0, stdout: "" });
    expect(met).toMatchObject({ failed: {}, admitted: 0 });
  },
  (all ? 3_600_000 : 300_000) * slowness,
);

test(
  "a first start may fail, or weftd die, at any step: the next one governs",
  async () => {
    over = true;
    await traffic;
    const uninstall = () => check([...program("weftd"), "uninstall", "--bpffs", world.lab.bpffs]);
    await withAddon(`{ ${failing(faults)} }`, async () => {
      await end();
      await uninstall();
      plan(0, "error");
      begin();
      world.mesh.launchDaemon();
      await settled();
      const steps = calls();
      for (const mode of modes) {
        for (const at of places(steps)) {
          await end();
          await uninstall();
          plan(at, mode);
          begin();
          world.mesh.launchDaemon();
          const outcome = await settled();
          await end();
          // The next one meets no fault.
          plan(0, mode);
          await world.mesh.startDaemon();
          const line = `a first start, step ${at} (${steps[at - 1]}), ${mode}: weftd ${outcome}`;
          if (all) console.log(line);
          const { client, other } = world.peers;
          const may = await client.call("askMany", { ...address, count: 5 });
          const mayNot = await other.call("askMany", { ...address, count: 5 });
          expect({ line, may: may.errors, mayNot: mayNot.replies }).toEqual({ line, may: {}, mayNot: {} });
          expect(generations(), line).toHaveLength(1);
        }
      }
    });
  },
  (all ? 3_600_000 : 300_000) * slowness,
);
