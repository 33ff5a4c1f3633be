// Owns which programs run at the hooks of the governed cgroup, and whose those of others are, by their names.
// Must not know what follows from it.

import { join } from "node:path";
import type { BpfError, Native } from "../../native/index.js";
import { CGROUP_HOOKS } from "./hooks.js";

export interface CgroupProgram {
  readonly id: number;
  /** As the kernel keeps it: 15 characters at most. */
  readonly name: string;
}

export type Maker = "Cilium" | "Kmesh";

/** Cilium's socket programs are called cil_sock4_connect and so on, Kmesh's cgroup_connect4_prog. */
const MAKERS: readonly (readonly [Maker, RegExp])[] = [
  ["Cilium", /^cil_sock[46]_/],
  ["Kmesh", /^cgroup_connect[46]$/],
];

/** undefined: of nobody that weft knows. */
export function makerOf({ name }: Pick<CgroupProgram, "name">): Maker | undefined {
  return MAKERS.find(([, names]) => names.test(name))?.[0];
}

/** Below the node's root, as kubelets make them: what is attached to one of them runs before what is above. */
const POD_CGROUPS = ["kubepods", "kubepods.slice"];

/** Every program that runs at these hooks for the cgroup or for the pods in it, weft's own included. */
export function programsOn(native: Pick<Native, "cgroupPrograms">, cgroup: string): CgroupProgram[] {
  const cgroups = [cgroup, ...POD_CGROUPS.map((name) => join(cgroup, name))];
  const all = cgroups.flatMap((each) => programsAt(native, each));
  return [...new Map(all.map((program) => [program.id, program])).values()];
}

/** None where the cgroup is not there. */
function programsAt(native: Pick<Native, "cgroupPrograms">, cgroup: string): CgroupProgram[] {
  try {
    return CGROUP_HOOKS.flatMap(({ attachType }) => native.cgroupPrograms(cgroup, attachType));
  } catch (error) {
    if ((error as BpfError).code === "ENOENT") return [];
    throw error;
  }
}
