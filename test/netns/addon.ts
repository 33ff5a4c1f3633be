// Owns an addon of a lab's own: the built one, some of whose functions a test stands in for.
// Must not know why.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { packageRoot } from "../../daemon/base/package-root.js";
import type { Lab } from "../../lab/lab.js";

/**
 * Runs what starts weftd with an addon whose functions `changes` stand in for: a JavaScript object literal, which may
 * use `real`, `refuse()` and `testdata`, the directory of the addon's own test objects.
 */
export async function withAddon(lab: Lab, changes: string, action: () => Promise<void>): Promise<void> {
  const file = join(lab.directory, "addon.cjs");
  const root = packageRoot();
  writeFileSync(
    file,
    `const real = require(${JSON.stringify(join(root, "build", "weft_native.node"))});
     const testdata = ${JSON.stringify(join(root, "build", "native-testdata"))};
     const refuse = () => { throw Object.assign(new Error("load: EPERM"), { code: "EPERM", errno: 1 }); };
     module.exports = { ...real, ...${changes} };`,
  );
  process.env.WEFT_ADDON = file;
  try {
    await action();
  } finally {
    delete process.env.WEFT_ADDON;
  }
}
