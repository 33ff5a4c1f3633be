// Owns the process that loads objects into the kernel it runs on: directories of objects in, one JSON line each
// out, and one of what else the kernel has. Must not know which kernel that is.

import { closingMeans, hasTcx } from "../../daemon/bpf/program-types.js";
import { loadObjects } from "../bpf/verifier.js";

for (const directory of process.argv.slice(2)) {
  process.stdout.write(`${JSON.stringify(loadObjects(directory))}\n`);
}
process.stdout.write(`${JSON.stringify({ closesBy: closingMeans(), hasTcx: hasTcx() })}\n`);
