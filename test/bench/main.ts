// Owns the benches' command line. Must not know what a bench measures.

import { parseArgs } from "node:util";
import { datapath } from "./datapath.js";

const usage = `usage: main.ts [--alternations N] [--seconds S] datapath

Runs a bench, prints its table and writes out/bench/NAME.json; exit code 1 when a budget is not kept.
  --alternations N   pairs of turns a row (default 11)
  --seconds S        length of one turn, whole seconds (default 2)
`;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    alternations: { type: "string", default: "11" },
    seconds: { type: "string", default: "2" },
    help: { type: "boolean", short: "h" },
  },
});
const options = { alternations: Number(values.alternations), seconds: Number(values.seconds) };
if (values.help) {
  console.log(usage);
} else if (positionals.join() !== "datapath" || !(options.alternations >= 1) || !(options.seconds >= 1)) {
  console.error(usage);
  process.exitCode = 2;
} else {
  process.exitCode = (await datapath(options)) ? 0 : 1;
}
