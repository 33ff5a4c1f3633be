// Owns what a number of the kernel's maps stands for. Must not know how numbers are given.

import type { Policy } from "./policy.js";
import type { Service } from "./service.js";
import type { Workload } from "./workload.js";

/** Resources behind the ids of the BPF maps; lately removed ones too, since counters outlive them. Id 0 is nobody. */
export interface ResourcesById {
  workload(id: number): Workload | undefined;
  service(id: number): Service | undefined;
  policy(id: number): Policy | undefined;
}
