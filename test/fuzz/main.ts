// Owns the command behind `make fuzz`: which targets run for how long, and what is said of what they find.
// Must not know what a target claims.
//
//     node build/fuzz/main.mjs [--seconds N] [--target NAME] [--input FILE] [--keep]

import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { Worker } from "node:worker_threads";
import { packageRoot } from "../../daemon/base/package-root.js";
import { type LoopOptions, type LoopResult, PRESENT_HEAD } from "./present.js";
import type { Target } from "./target.js";

const TARGETS = ["resources", "responses", "meshes", "policy-files"] as const;
/** No input takes longer on a machine of any speed. */
const HANG_MS = 20_000;
/** Of an input that is put into the corpus: it is to stay small. */
const KEPT_BYTES = 512;

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "60" },
    target: { type: "string" },
    input: { type: "string" },
    keep: { type: "boolean", default: false },
  },
});
const names = TARGETS.filter((name) => values.target === undefined || name === values.target);
if (names.length === 0) fail(`there is no target ${values.target}: use one of ${TARGETS.join(", ")}`);
if (values.input !== undefined) await runOne(names[0] ?? TARGETS[0], values.input);
else await searchAll(Number(values.seconds));

function moduleOf(name: string): string {
  return new URL(`./targets/${name}.mjs`, import.meta.url).href;
}

async function runOne(name: string, file: string): Promise<void> {
  if (values.target === undefined) fail("--input goes with --target");
  const { target } = (await import(moduleOf(name))) as { target: Target };
  target.run(readFileSync(file));
  console.log(`${name} stands ${file}`);
}

async function searchAll(seconds: number): Promise<void> {
  if (!(seconds > 0)) fail(`--seconds ${values.seconds} is no time`);
  const seed = Number(process.env.WEFT_SEED ?? Date.now() & 0x7fffffff);
  let found = 0;
  for (const name of names) {
    const {
      runs,
      functions,
      found: fresh,
      failure,
    } = await search(name, seed, (seconds * 1000) / names.length);
    console.log(
      `${name}: ${runs} inputs, ${fresh.length} of them led on to new code, ${functions} functions reached (seed ${seed})`,
    );
    if (values.keep)
      for (const input of fresh) if (input.length <= KEPT_BYTES) write(corpusDirectory(name), input);
    if (failure === undefined) continue;
    found++;
    console.error(`${name}: ${failure.message}`);
    console.error(
      `${name}: run it again with: make fuzz TARGET=${name} INPUT=${failed(name, failure.input)}`,
    );
  }
  process.exitCode = found === 0 ? 0 : 1;
}

function corpusDirectory(name: string): string {
  return join(packageRoot(), "test", "fuzz", "corpus", name);
}

function corpusOf(name: string): Uint8Array[] {
  const directory = corpusDirectory(name);
  if (!existsSync(directory)) return [];
  return readdirSync(directory).map((file) => readFileSync(join(directory, file)));
}

/** In a thread, whose end is not waited for when it does not come. */
async function search(name: string, seed: number, milliseconds: number): Promise<LoopResult> {
  const present = new SharedArrayBuffer(PRESENT_HEAD + 64 * 1024);
  const workerData: LoopOptions = {
    module: moduleOf(name),
    corpus: corpusOf(name),
    seed,
    milliseconds,
    present,
  };
  const worker = new Worker(new URL("./thread.mjs", import.meta.url), { workerData });
  const head = new Int32Array(present, 0, 2);
  let timer: NodeJS.Timeout | undefined;
  try {
    return await new Promise<LoopResult>((resolve, reject) => {
      let before = -1;
      timer = setInterval(() => {
        const runs = Atomics.load(head, 0);
        if (runs === before) {
          const input = new Uint8Array(present, PRESENT_HEAD, Atomics.load(head, 1)).slice();
          resolve({
            runs,
            functions: 0,
            found: [],
            failure: { input, message: `an input takes ${HANG_MS} ms` },
          });
        }
        before = runs;
      }, HANG_MS);
      worker.once("message", resolve).once("error", reject);
      worker.once("exit", (code) => reject(new Error(`${name}: the thread ended with ${code}`)));
    });
  } finally {
    clearInterval(timer);
    await worker.terminate();
  }
}

/** Writes an input that a target did not stand; gives the file. */
function failed(name: string, input: Uint8Array): string {
  return write(join(packageRoot(), "out", "fuzz"), input, `${name}-`);
}

function write(directory: string, input: Uint8Array, prefix = ""): string {
  mkdirSync(directory, { recursive: true });
  const hash = createHash("sha256").update(input).digest("hex").slice(0, 12);
  const file = join(directory, prefix + hash);
  writeFileSync(file, input);
  return file;
}

function fail(why: string): never {
  console.error(`fuzz: ${why}`);
  process.exit(2);
}
