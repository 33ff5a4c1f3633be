// Owns the proof that docs/house.md says what is so: every folder, and the import rules that are checked.
// Must not know what a folder is for.

import { readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { expect, it } from "vitest";
import { packageRoot } from "../../daemon/base/package-root.js";

interface ImportRule {
  readonly comment?: string;
}

/** Places of the house that hold rooms of their own. */
const FLOORS = ["daemon", "test"];
/** Made by tools, or not of the program. */
const NOT_OURS = ["build", "dist", "node_modules", "out"];

const root = packageRoot();

function foldersOf(path: string): string[] {
  return readdirSync(join(root, path), { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && !entry.name.startsWith("."))
    .map((entry) => join(path, entry.name));
}

/** Place to what it may import, as the table has it; undefined where the cell is empty. */
function housePlan(): Map<string, string | undefined> {
  const rows = readFileSync(join(root, "docs/house.md"), "utf8").matchAll(
    /^\| `([^`]+)` \|[^|]+\|([^|]*)\|$/gm,
  );
  return new Map(
    [...rows].map(([, place = "", imports = ""]) => [place, imports.replaceAll("`", "").trim() || undefined]),
  );
}

/** The same from the rules; places and files without what makes them patterns. */
function ruledPlan(): [string, string][] {
  const { forbidden } = createRequire(import.meta.url)(join(root, ".dependency-cruiser.cjs")) as {
    forbidden: readonly ImportRule[];
  };
  return forbidden.flatMap(({ comment = "" }) => {
    const [, place, imports = "itself only"] =
      /^(\S+) imports only itself(?:, (.*))?$/.exec(comment.replaceAll("\\", "").replace("(/|.ts)", "")) ??
      [];
    return place === undefined ? [] : [[place, imports]];
  });
}

it("names every folder that there is, and none that is not", () => {
  const folders = [...foldersOf("."), ...FLOORS.flatMap(foldersOf)].filter(
    (folder) => !NOT_OURS.includes(folder) && !FLOORS.includes(folder),
  );
  const named = [...housePlan().keys()].filter((place) => place.endsWith("/"));
  expect(
    folders.map((folder) => `${folder}/`).filter((folder) => !named.some((at) => at === folder)),
  ).toEqual([]);
  for (const place of named) expect(readdirSync(join(root, place)), place).not.toEqual([]);
});

it("says of each place what the import rules say", () => {
  const rules = ruledPlan();
  expect(rules.length).toBeGreaterThan(10);
  const plan = housePlan();
  expect(rules.map(([place]) => [place, plan.get(place)])).toEqual(rules);
});

it("has nothing beside rooms in the root of daemon/ but where the daemon begins", () => {
  const files = readdirSync(join(root, "daemon"), { withFileTypes: true }).filter((entry) => entry.isFile());
  expect(files.map((file) => file.name).sort()).toEqual(["main.ts"]);
});
