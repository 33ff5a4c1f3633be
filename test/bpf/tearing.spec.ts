// Owns the proof that no verdict is a mix: one CPU judges while another rewrites all that the verdict hangs on.
// WEFT_TEAR_VERDICTS says how many verdicts; 10 million take some seconds.

import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { TableFlag, TermRow, VerdictTable } from "../../daemon/bpf/maps.gen.js";
import { tagOfCookie, tagOfKey, wordOf } from "../../daemon/compile/word.js";
import { toKeyBytes } from "../../daemon/model/address.js";
import { ownBpffs } from "./bpffs.js";
import { TearCase } from "./cases.gen.js";
import { entry, loadObject } from "./fixture.js";
import { startWriter } from "./writer.js";

const WANTED = BigInt(process.env.WEFT_TEAR_VERDICTS ?? 10_000_000);
const RUNS = 100_000;
/** Entries of the maps: keys share buckets, which is where the kernel passes a key by most often. */
const FEW = 4;
const ADMITTING = 0x1_0000_0007n;
const REFUSING = 0x1_0000_0008n;
const FRIEND = "10.0.0.1";
const NOBODY = { chunks: 0n, first: 0 };
const STRANGER = "10.0.0.9";

const bpffs = ownBpffs("weft-tearing");

const owner = (address: string) => {
  const key = toKeyBytes(address);
  return { key, tag: tagOfKey(key) };
};
const pod = (cookie: bigint) => ({ cookie, tag: tagOfCookie(cookie) });

/** What the writer cannot know by itself. */
const WRITTEN = {
  admitting: pod(ADMITTING),
  refusing: pod(REFUSING),
  friend: owner(FRIEND),
  stranger: owner(STRANGER),
  // What a number adds to its key's tag is the same for every key.
  mix: wordOf(1, 0).tag,
  // Admits whoever has a row of its own, and nobody else.
  tableValue: VerdictTable.encode({
    denyChunks: 0n,
    dryRunChunks: 0n,
    allowChunks: 1n,
    identity: NOBODY,
    address: NOBODY,
    port: NOBODY,
    destination: NOBODY,
    flags: TableFlag.HAS_ALLOW | TableFlag.BY_IDENTITY,
  }),
  rowValue: TermRow.encode({ chunks: 1n, first: 0 }),
};

it(`none of ${WANTED} verdicts is one that neither state gives`, { timeout: 300_000 }, async () => {
  const chunk = entry("authz_chunks", 0, { words: [1n, 0n, 0n, 0n] });
  const object = loadObject("tests/tearing", [chunk], () => FEW);
  const directory = join(bpffs.path, "maps");
  mkdirSync(directory);
  object.pinMaps(["pods", "addresses", "authz_tables", "authz_identity"], directory);
  const writer = await startWriter("tearing-writer.cjs", directory, WRITTEN);
  let state = {
    admitting: ADMITTING,
    refusing: REFUSING,
    friendAddress: toKeyBytes(FRIEND),
    strangerAddress: toKeyBytes(STRANGER),
    verdicts: 0n,
    wrongDenials: 0n,
    wrongAdmissions: 0n,
  };
  try {
    while (state.verdicts < WANTED) {
      state = object.run("test_tear", TearCase, state, RUNS);
      // The writer's thread needs this process' pool to wait for readers.
      await new Promise((resolve) => setImmediate(resolve));
    }
  } finally {
    const writes = await writer.stop();
    object.close();
    expect(writes).toBeGreaterThan(10_000);
  }
  expect([state.wrongDenials, state.wrongAdmissions]).toEqual([0n, 0n]);
});
