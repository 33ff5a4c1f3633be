// Owns `make kube`: the cluster of the tests with istiod and the tests' namespace, to look around in until Ctrl-C.
// Must not know weft: it is installed by whoever looks.

import process from "node:process";
import { writeShell } from "./shell.js";
import { openTestCluster } from "./shop.js";

const { cluster } = await openTestCluster();

const enter = writeShell(cluster);
process.stdout.write(`kubectl and weftctl are in: ${enter}\nCtrl-C ends the cluster\n`);
setInterval(() => undefined, 2 ** 30);
