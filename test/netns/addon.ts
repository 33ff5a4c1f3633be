// Owns a stand-in for the addon: the built one, some of whose functions a test replaces.
// Must not know why.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { packageRoot } from "../../daemon/base/package-root.js";
import { JOINED_OBJECTS, JOINT_OBJECT, type ObjectName } from "../../daemon/bpf/hooks.js";

/** Changes for withAddon(): the kernel refuses this object of ours, as `load`, an async JavaScript function, does. */
export function refusing(object: ObjectName, load = "async () => refuse()"): string {
  const refused = JOINED_OBJECTS.includes(object) ? [object, JOINT_OBJECT] : [object];
  return `{ openObject(path) {
    const opened = real.openObject(path);
    if (!${JSON.stringify(refused.map((name) => `/${name}.o`))}.some((end) => path.endsWith(end))) return opened;
    const { mapNames } = opened;
    return { mapNames, setMaxEntries() {}, reuseMap() {}, loadAsync: ${load}, close: () => opened.close() };
  } }`;
}

/**
 * Runs what starts weftd with an addon whose functions `changes` stand in for: a JavaScript object literal, which may
 * use `real`, `refuse()` and `testdata`, the directory of the addon's own test objects.
 */
export async function withAddon<T>(changes: string, action: () => Promise<T>): Promise<T> {
  const directory = mkdtempSync(join(tmpdir(), "weft-addon-"));
  const file = join(directory, "addon.cjs");
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
    return await action();
  } finally {
    delete process.env.WEFT_ADDON;
    rmSync(directory, { recursive: true });
  }
}
