// Owns a chaos run: traffic, disturbances one after another by a seed, the result. Must not know either's details.
//
//   tsx test/chaos/main.ts OBJECTS        OBJECTS: BPF objects of another compiler, for upgrades
//   MINUTES=60 SEED=7                     how long (default 2), and which run to repeat
//
// A machine that is too slow to show enough in that time is given up to twice as long.

import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { packageRoot } from "../../daemon/base/package-root.js";
import { check } from "../../lab/process.js";
import { sleep, until } from "../../lab/wait.js";
import { createWorld, type World } from "../netns/world.js";
import { disturbances, meshOf, type Surroundings } from "./disturbances.js";
import { Load, type Outcome } from "./load.js";

/** What a run of two minutes or more is to show. */
const ENOUGH = { connections: 100_000, disturbances: 50 };

const minutes = Number(process.env.MINUTES ?? 2);
const seed = Number(process.env.SEED ?? Date.now() % 1_000_000);
const [objects] = process.argv.slice(2);
if (!(minutes > 0) || !Number.isInteger(seed) || objects === undefined) {
  console.error("usage: [MINUTES=2] [SEED=N] main.ts OBJECTS");
  process.exit(2);
}
process.exitCode = (await run(resolve(objects))) ? 0 : 1;

async function run(otherObjects: string): Promise<boolean> {
  const random = randomBy(seed);
  const flags: string[] = [];
  const directory = mkdtempSync(join(tmpdir(), "weft-chaos-"));
  const clock = join(directory, "clock");
  const through = ["env", `NODE_OPTIONS=--import=${shiftedClock(directory, clock)}`];
  const world = await createWorld({}, { accessLog: false, flags, through });
  try {
    const state = join(world.lab.directory, "state");
    mkdirSync(state);
    await check(["mount", "-t", "tmpfs", "-o", "size=16m", "weft-lab", state]);
    flags.push("--state-dir", state, "--sync-timeout", "1s");
    const other = otherBuild(join(world.lab.directory, "other"), otherObjects);
    const surroundings: Surroundings = { world, flags, state, clock, random, other };
    await world.mesh.endDaemon("SIGTERM");
    await world.mesh.startDaemon();
    world.mesh.edit(meshOf(surroundings));
    const { peers } = world;
    const stranger = () => peers.other.call("ask", { host: "10.77.0.21", port: 8080 });
    await until("the stranger denied", async () => !(await stranger()).ok);
    return await disturb(surroundings);
  } finally {
    await world.mesh.endDaemon("SIGTERM").catch(() => undefined);
    await check(["umount", "-l", join(world.lab.directory, "state")]).catch(() => undefined);
    world.remove();
    rmSync(directory, { recursive: true });
  }
}

async function disturb(surroundings: Surroundings): Promise<boolean> {
  const { world, random } = surroundings;
  console.log(`chaos: seed ${seed}, ${minutes} minutes; SEED=${seed} repeats it`);
  const load = new Load(world);
  load.start();
  await sleep(1_000);
  const kinds = Object.keys(disturbances);
  const done = new Map<string, number>();
  const began = performance.now();
  const isEnough = (disturbed: number) =>
    disturbed >= ENOUGH.disturbances && load.outcome.tried >= ENOUGH.connections;
  const goesOn = (disturbed: number) => {
    const passed = (performance.now() - began) / 60_000;
    return passed < minutes || (passed < 2 * minutes && !isEnough(disturbed));
  };
  let fault: unknown;
  for (let turn = 0; goesOn(turn) && fault === undefined; turn++) {
    // Each kind once, in an order of the seed, then whichever comes.
    const kind = kinds[turn < kinds.length ? (turn + seed) % kinds.length : random(kinds.length)] ?? "";
    const before = brief(load.outcome);
    fault = await disturbances[kind]?.(surroundings).then(
      () => undefined,
      (error: unknown) => error,
    );
    done.set(kind, (done.get(kind) ?? 0) + 1);
    const after = brief(load.outcome);
    console.log(`${String(turn + 1).padStart(4)}  ${kind}${before === after ? "" : `   ${after}`}`);
    await sleep(random(100));
  }
  await load.stop();
  return await tell(world, load.outcome, done, fault);
}

/** What must not be. */
function brief({ failed, admitted, unanswered, datagramsLost }: Outcome): string {
  return `failed ${JSON.stringify(failed)}, admitted ${admitted}, unanswered ${unanswered}, datagrams lost ${datagramsLost}`;
}

async function tell(
  world: World,
  outcome: Outcome,
  done: ReadonlyMap<string, number>,
  fault: unknown,
): Promise<boolean> {
  const disturbed = [...done.values()].reduce((sum, count) => sum + count, 0);
  const generations = world.mesh.log("weftd").match(/new generation governs/g)?.length ?? 0;
  const failed = Object.values(outcome.failed).reduce((sum, count) => sum + count, 0);
  const { admitted, unanswered, datagramsLost } = outcome;
  const isGood = fault === undefined && failed + admitted + unanswered + datagramsLost === 0;
  const rows = {
    disturbances: disturbed,
    "generations seen": generations,
    "connections tried": outcome.tried,
    "connections failed": failed,
    "denied connections tried": outcome.denied + admitted,
    "wrongly admitted": admitted,
    "questions on open connections": outcome.asked,
    "without an answer": unanswered,
    datagrams: outcome.datagrams,
    "datagrams lost": datagramsLost,
  };
  console.log("");
  for (const [what, count] of Object.entries(rows)) console.log(`${what.padEnd(32)}${count}`);
  if (fault !== undefined)
    console.error("ended early:", fault, `\nweftd says:\n${world.mesh.log("weftd").slice(-4000)}`);
  mkdirSync("out", { recursive: true });
  const result = {
    seed,
    minutes,
    ...rows,
    errors: outcome.failed,
    kinds: Object.fromEntries(done),
    passed: isGood,
  };
  writeFileSync(join("out", "chaos.json"), `${JSON.stringify(result, null, 2)}\n`);
  console.log(isGood ? "\nnobody noticed" : `\nFAILED: SEED=${seed} repeats it`);
  return isGood;
}

/** This package with other objects; gives the command of its weftd. */
function otherBuild(directory: string, otherObjects: string): string[] {
  const root = packageRoot();
  for (const name of ["package.json", "dist", "build/weft_native.node", "build/commit"])
    cpSync(join(root, name), join(directory, name), { recursive: true });
  cpSync(otherObjects, join(directory, "build", "bpf"), { recursive: true });
  return [process.execPath, join(directory, "dist", "cmd", "weftd.js")];
}

/** A module that weftd begins with: its clock is wrong by what the file says. Gives its path. */
function shiftedClock(directory: string, file: string): string {
  const path = join(directory, "clock.mjs");
  writeFileSync(file, "0");
  writeFileSync(
    path,
    `import { readFileSync } from "node:fs";
     const real = Date.now.bind(Date);
     const wrongBy = () => Number(readFileSync(${JSON.stringify(file)}, "utf8")) || 0;
     let shift = wrongBy();
     setInterval(() => { shift = wrongBy(); }, 100).unref();
     globalThis.Date = class extends Date {
       constructor(...given) { if (given.length === 0) super(real() + shift); else super(...given); }
       static now() { return real() + shift; }
     };`,
  );
  return path;
}

/** Mulberry32: whole numbers below a limit, the same for the same seed. */
function randomBy(start: number): (limit: number) => number {
  let state = start >>> 0;
  return (limit) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % limit;
  };
}
