// Owns the writer of route-tearing.spec.ts: carries out the same changes again and again, without pause, until told to
// stop. Plain JavaScript, because a worker thread runs it as it is. Must not know what the changes mean.

const { workerData, parentPort } = require("node:worker_threads");

/** `rounds`: times that a phase is repeated, between grace periods. */
const { addon, directory, stop, fill, phases, rounds = 50 } = workerData;
const native = require(addon);
const stopped = new Int32Array(stop);
const maps = new Map();
for (const { map } of fill) if (!maps.has(map)) maps.set(map, native.openPinnedMap(`${directory}/${map}`));

let writes = 0;
let rewrites = 0;
function carryOut(operations) {
  for (const { kind, map, count, keys, values } of operations) {
    const opened = maps.get(map);
    if (kind === "delete") {
      opened.delete(keys);
      continue;
    }
    // However often the changes come: this number never does again.
    if (map === "rewrites") values.writeUInt32LE(++rewrites);
    const { error } = opened.updateBatch(keys, values, count);
    if (error !== undefined) throw error;
    writes += count;
  }
}

/** Structured cloning makes plain arrays of bytes of buffers. */
for (const operation of [fill, ...phases.flatMap(({ changes, back }) => [changes, back])].flat()) {
  for (const field of ["keys", "values"]) {
    const bytes = operation[field];
    if (bytes !== undefined) operation[field] = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  }
}

async function write() {
  carryOut(fill);
  parentPort.postMessage("ready");
  while (Atomics.load(stopped, 0) === 0) {
    for (const [index, { changes, back }] of phases.entries()) {
      for (let round = 0; round < rounds; round++) {
        carryOut(changes);
        carryOut(back);
      }
      // The next phase begins where this one ends, and uses again what nothing leads to then.
      if (index < phases.length - 1) carryOut(changes);
      await native.waitForReaders();
    }
    carryOut(fill);
    await native.waitForReaders();
  }
  for (const map of maps.values()) map.close();
  parentPort.postMessage(writes);
}

void write();
