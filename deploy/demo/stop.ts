// Owns ending a demo that was kept running. Must not know what is in it.

import { removeLab } from "../../test/helpers/lab.js";
import { demoPrefix } from "./build.js";

removeLab(demoPrefix);
console.log("the demo is stopped and removed");
