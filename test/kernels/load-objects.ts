// Owns the process that loads objects into the kernel it runs on: directories of objects in, one JSON line each
// out. Must not know which kernel that is.

import { loadObjects } from "../bpf/verifier.js";

for (const directory of process.argv.slice(2)) {
  process.stdout.write(`${JSON.stringify(loadObjects(directory))}\n`);
}
