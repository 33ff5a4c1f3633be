// Owns which programs run at the hooks of the governed cgroup, and whose those of others are, by their names.
// Must not know what follows from it.

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

/** Every program at these hooks, weft's own included; none where the cgroup has gone. */
export function programsOn(native: Pick<Native, "cgroupPrograms">, cgroup: string): CgroupProgram[] {
  try {
    const all = CGROUP_HOOKS.flatMap(({ attachType }) => native.cgroupPrograms(cgroup, attachType));
    return [...new Map(all.map((program) => [program.id, program])).values()];
  } catch (error) {
    if ((error as BpfError).code === "ENOENT") return [];
    throw error;
  }
}
