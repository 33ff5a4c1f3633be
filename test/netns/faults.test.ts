// Owns the proof that no step of a start, a growth or a swap is one at which weftd may not fail or die: each call into
// the kernel fails, or is weftd's last. A sample of the steps; STEPS=places takes each place in the source, STEPS=all
// each call.

import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
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

/** Of each phase and mode, others at each run, where nobody asks for more. */
const SAMPLE = 2;
/** Every call; or of each place in the source the first and the last; or a sample. */
const asked = process.env.STEPS ?? "sample";
if (!["all", "places", "sample"].includes(asked))
  throw new Error(`STEPS=${asked}: want all, places or sample`);
/** Of growths that failed, one in so many is waited for until it is made up for: it takes ten seconds. */
const MENDED_EACH = 10;
/** What has been seen: read it while the rest runs. */
const table = join("out", "faults.txt");
const TIMEOUT_MS = { all: 6 * 3_600_000, places: 2 * 3_600_000, sample: 300_000 }[asked] ?? 0;

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

/** A call into the kernel: the function and its map, the place in weftd that calls it, how often that did before. */
interface Step {
  readonly name: string;
  readonly place: string;
  readonly before: number;
  /** The functions of the place, for people. */
  readonly within: string;
}

/**
 * An addon that tells `log` of the calls into the kernel from the moment on that `from` exists, and fails the one
 * that the plan names: with ENOMEM, or by SIGKILL before it.
 */
function failing(directory: string): string {
  return `...(() => {
    const fs = require("node:fs");
    const file = (name) => ${JSON.stringify(directory)} + "/" + name;
    const { at, mode } = JSON.parse(fs.readFileSync(file("plan"), "utf8"));
    const safe = new Set(${JSON.stringify(SAFE)});
    const raw = new WeakMap();
    const seen = new Map();
    Error.stackTraceLimit = 20;
    const unwrap = (value) => {
      if (raw.has(value)) return raw.get(value);
      if (Array.isArray(value?.maps)) return { ...value, maps: value.maps.map((m) => ({ ...m, map: unwrap(m.map) })) };
      return value;
    };
    const stepOf = (name) => {
      const frames = new Error().stack.split("\\n").slice(1).filter((line) => !line.includes(__filename));
      // Beyond it lies who happened to let it go on.
      const beyond = frames.findIndex((line) => /at (async|inSlices)/.test(line));
      const place = frames.slice(0, beyond < 0 ? undefined : beyond).map((line) => line.trim()).join("|");
      const within = frames.slice(0, 3).map((line) => /at (?:async )?(?:new )?([^ ]+) \\(/.exec(line)?.[1] ?? "?");
      const key = name + place;
      const before = seen.get(key) ?? 0;
      seen.set(key, before + 1);
      return { name, place, before, within: within.join(" < ") };
    };
    const fault = (call, map) => {
      if (safe.has(call) || !fs.existsSync(file("from"))) return undefined;
      const step = stepOf(map === undefined ? call : call + " " + map);
      fs.appendFileSync(file("log"), JSON.stringify(step) + "\\n");
      if (step.name !== at?.name || step.place !== at.place || step.before !== at.before) return undefined;
      fs.writeFileSync(file("met"), "");
      if (mode === "kill") process.kill(process.pid, "SIGKILL");
      return Object.assign(new Error(call + ": ENOMEM"), { code: "ENOMEM", errno: 12 });
    };
    const wrapCall = (name, call, map) => (...given) => {
      const error = fault(name, map);
      if (error === undefined) return wrap(call(...given.map(unwrap)));
      if (name.endsWith("Batch")) return { done: 0, error };
      if (["waitForReaders", "destroySockets", "loadAsync"].includes(name)) return Promise.reject(error);
      throw error;
    };
    const written = (target, name) => (/^(update|delete)/.test(name) ? target.info?.name : undefined);
    const wrap = (value) => {
      if (typeof value?.close !== "function" || Buffer.isBuffer(value)) return value;
      const proxy = new Proxy(value, {
        get(target, name) {
          const held = target[name];
          if (typeof held !== "function") return held;
          return wrapCall(String(name), held.bind(target), written(target, String(name)));
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

beforeAll(() => {
  mkdirSync("out", { recursive: true });
  rmSync(table, { force: true });
});

const weft = () => join(world.lab.bpffs, "weft");
const generations = () => readdirSync(weft()).filter((name) => name.startsWith("generation-"));
const wasMet = () => existsSync(join(faults, "met"));
function steps(): Step[] {
  if (!existsSync(join(faults, "log"))) return [];
  const lines = readFileSync(join(faults, "log"), "utf8").split("\n").slice(0, -1);
  return lines.map((line) => JSON.parse(line) as Step);
}
/** Without a step nothing fails. */
function plan(at: Step | undefined, mode: Mode): void {
  writeFileSync(join(faults, "plan"), JSON.stringify({ at, mode }));
  for (const name of ["log", "from", "met"]) rmSync(join(faults, name), { force: true });
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

/** One step anywhere in each of so many parts. */
function sampleOf(all: readonly Step[], parts: number): Step[] {
  const part = all.length / parts;
  const places = Array.from({ length: parts }, (_, index) => Math.floor(part * (index + Math.random())));
  return places.flatMap((place) => all[place] ?? []);
}

/** Of each place the first and the last. */
function ends(all: readonly Step[]): Step[] {
  const last = new Map(all.map((step) => [step.name + step.place, step.before]));
  return all.filter((step) => step.before === 0 || last.get(step.name + step.place) === step.before);
}

/** Those of these steps that are to fail. */
function chosen(all: readonly Step[]): Step[] {
  if (asked === "all") return [...all];
  return asked === "places" ? ends(all) : sampleOf(ends(all), SAMPLE);
}

/** Of what weftd looks at now and then, it may be done before. */
const MISSED = "did not come there";

/** What became of weftd, which said this: an exception that nobody took is no way to end. */
function outcome(said: string): string {
  if (!wasMet()) return MISSED;
  if (world.mesh.daemon.running) return "goes on";
  const last = said.trimEnd().split("\n").at(-1) ?? "";
  const [, code] = /^weftd: .* \[([A-Z_]+)\]$/.exec(last) ?? [];
  return code === undefined ? "dies" : `ends, ${code}`;
}

/** Lets each of these steps fail in each mode, and has every line of the table as `judge` says that it is. */
async function failEach(
  phase: string,
  all: readonly Step[],
  attempt: (mode: Mode, index: number) => Promise<string>,
  judge: () => Promise<object>,
  mayNotEnd = false,
): Promise<void> {
  expect(all.length).toBeGreaterThan(20);
  const bad: object[] = [];
  for (const mode of modes) {
    const queue = chosen(all);
    let missed = 0;
    for (const [index, step] of queue.entries()) {
      plan(step, mode);
      const came = await attempt(mode, index).catch(async (error: unknown) => {
        await end();
        return `does neither: ${String(error)}`;
      });
      const trouble = await judge();
      const isWrong =
        came.startsWith("does neither") ||
        (mode === "error" && (came === "dies" || (mayNotEnd && came.startsWith("ends"))));
      const isBad = isWrong || Object.keys(trouble).length > 0;
      if (came === MISSED) missed++;
      if (came === MISSED && asked === "sample" && queue.length < 5 * SAMPLE)
        queue.push(...sampleOf(ends(all), 1));
      const line = `${isBad ? "BAD " : came === MISSED ? "--  " : "ok  "}${phase}, ${step.name} (${step.within}, ${step.before}), ${mode}: weftd ${came}`;
      appendFileSync(table, `${line}${isBad ? ` ${JSON.stringify(trouble)}` : ""}\n`);
      if (isBad) bad.push({ line, ...trouble, said: world.mesh.log("weftd").slice(-3000) });
    }
    expect(missed, "steps that did not come again").toBeLessThan(
      asked === "sample" ? queue.length : queue.length / 2,
    );
  }
  expect(bad).toEqual([]);
}

/** What clients met since the last call that they must not meet. */
async function metSince(): Promise<object> {
  const { failed, admitted } = met;
  Object.assign(met, { failed: {}, admitted: 0 });
  return { ...failed, ...(admitted > 0 && { admitted }) };
}

test.each(phases)(
  "$name may fail, or weftd die, at any step: the former state governs, and the next start mends it",
  async ({ name, run, reset, mended }) => {
    await end();
    await withAddon(`{ ${failing(faults)} }`, async () => {
      plan(undefined, "error");
      await run();
      await until("no call any more", async () => {
        const count = steps().length;
        await sleep(300);
        return steps().length === count;
      });
      const all = steps();
      await reset();
      const attempt = async (mode: Mode, index: number) => {
        const before = world.mesh.log("weftd").length;
        await run();
        if (mode === "error" && index % MENDED_EACH === 0 && world.mesh.daemon.running) await mended?.();
        else await sleep(100);
        const came = outcome(world.mesh.log("weftd").slice(before));
        await reset();
        return came;
      };
      await failEach(name, all, attempt, metSince, mended !== undefined);
    });
    await world.mesh.startDaemon();
    await until("one generation", () => generations().length === 1);
    expect(await world.mesh.weftctl("diff")).toMatchObject({ code: 0, stdout: "" });
    expect(await metSince()).toEqual({});
  },
  TIMEOUT_MS * slowness,
);

test(
  "a first start may fail, or weftd die, at any step: the next one governs",
  async () => {
    over = true;
    await traffic;
    const uninstall = () => check([...program("weftd"), "uninstall", "--bpffs", world.lab.bpffs]);
    await withAddon(`{ ${failing(faults)} }`, async () => {
      const start = async () => {
        await end();
        await uninstall();
        begin();
        world.mesh.launchDaemon();
        await settled();
      };
      plan(undefined, "error");
      await start();
      const all = steps();
      const attempt = async (mode: Mode) => {
        const before = world.mesh.log("weftd").length;
        await start();
        const came = outcome(world.mesh.log("weftd").slice(before));
        await end();
        // The next one meets no fault.
        plan(undefined, mode);
        await world.mesh.startDaemon();
        return came;
      };
      const judge = async () => {
        const { client, other } = world.peers;
        const may = await client.call("askMany", { ...address, count: 5 });
        const mayNot = await other.call("askMany", { ...address, count: 5 });
        const count = generations().length;
        return { ...may.errors, ...mayNot.replies, ...(count !== 1 && { generations: count }) };
      };
      await failEach("a first start", all, attempt, judge);
    });
  },
  TIMEOUT_MS * slowness,
);
