// Owns the proof that every target stands the inputs that are known: those of the corpus, and those it begins with.

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { packageRoot } from "../../daemon/base/package-root.js";
import type { Target } from "./target.js";
import { target as meshes } from "./targets/meshes.js";
import { target as policyFiles } from "./targets/policy-files.js";
import { target as resources } from "./targets/resources.js";
import { target as responses } from "./targets/responses.js";

const targets: Readonly<Record<string, Target>> = {
  resources,
  responses,
  meshes,
  "policy-files": policyFiles,
};

describe.each(Object.entries(targets))("%s", (name, target) => {
  const directory = join(packageRoot(), "test", "fuzz", "corpus", name);
  const files = existsSync(directory) ? readdirSync(directory) : [];

  it.each(files)("stands %s", (file) => {
    target.run(readFileSync(join(directory, file)));
  });

  it("stands what it begins with, and that cut short", () => {
    const seeds = [new Uint8Array(), ...target.seeds()].map((seed) => seed.subarray(0, target.maxBytes));
    for (const seed of seeds.slice(0, 40)) {
      target.run(seed);
      target.run(seed.subarray(0, seed.length >> 1));
    }
    expect(seeds.length).toBeGreaterThan(0);
  });
});
