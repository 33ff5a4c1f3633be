// Owns the benches' command line. Must not know what a bench measures.

import { parseArgs } from "node:util";
import { authz } from "./authz.js";
import { datapath } from "./datapath.js";
import { l7 } from "./l7.js";
import { restart } from "./restart.js";
import { route } from "./route.js";
import { sync } from "./sync.js";
import { telemetry } from "./telemetry.js";

const usage = `usage: main.ts [--alternations N] [--seconds S] datapath
       main.ts [--runs N] [--sizes N,N] sync
       main.ts [--runs N] [--workloads N] restart
       main.ts [--alternations N] authz
       main.ts [--alternations N] [--seconds S] route
       main.ts [--alternations N] [--seconds S] l7
       main.ts [--alternations N] [--seconds S] telemetry

Runs a bench, prints its table and writes out/bench/NAME.json; exit code 1 when a row is over its budget
with its whole interval.
  --alternations N   pairs of turns a row (default 11)
  --seconds S        length of one turn, whole seconds (default 2)
  --runs N           fresh daemons a size (default 3)
  --sizes N,N        workloads in the mesh (default 1000,10000,100000)
  --workloads N      workloads in the snapshot (default 100000)
`;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    alternations: { type: "string", default: "11" },
    seconds: { type: "string", default: "2" },
    runs: { type: "string", default: "3" },
    sizes: { type: "string", default: "1000,10000,100000" },
    workloads: { type: "string", default: "100000" },
    help: { type: "boolean", short: "h" },
  },
});
const alternations = Number(values.alternations);
const seconds = Number(values.seconds);
const runs = Number(values.runs);
const sizes = values.sizes.split(",").map(Number);
const workloads = Number(values.workloads);
const isValid =
  workloads >= 100 && alternations >= 1 && seconds >= 1 && runs >= 1 && sizes.every((size) => size >= 100);
const benches: Readonly<Record<string, () => Promise<boolean>>> = {
  datapath: () => datapath({ alternations, seconds }),
  sync: () => sync({ runs, sizes }),
  restart: () => restart({ runs, workloads }),
  route: () => route({ alternations, seconds }),
  l7: () => l7({ alternations, seconds }),
  telemetry: () => telemetry({ turns: alternations, seconds }),
  authz: () => authz({ turns: alternations }),
};
const bench = benches[positionals.join()];
if (values.help) {
  console.log(usage);
} else if (bench === undefined || !isValid) {
  console.error(usage);
  process.exitCode = 2;
} else {
  process.exitCode = (await bench()) ? 0 : 1;
}
