// Owns the thread that searches: one of its own, so that an input which never ends can be told. Must not know any target.

import { parentPort, workerData } from "node:worker_threads";
import { Loop } from "./loop.js";
import type { LoopOptions } from "./present.js";
import type { Target } from "./target.js";

const options = workerData as LoopOptions;
const { target } = (await import(options.module)) as { target: Target };
// All that is ours is in one file with the target.
parentPort?.postMessage(new Loop(target, options, (url) => url === options.module).run());
