// Owns what an operator is told of others that take this node's connections, too. Must not know how they are found.

import type { AttachedHook } from "../bpf/attached-hooks.js";
import { type CgroupProgram, makerOf } from "../bpf/other-programs.js";

export interface Neighbours {
  mesh(): string | undefined;
  programs(): readonly CgroupProgram[];
}

/** A sentence for each kind that there is; `own`: weft's hooks as they are attached now. */
export function neighbourWarnings(
  neighbours: Neighbours,
  own: readonly Pick<AttachedHook, "link">[],
): string[] {
  const mesh = neighbours.mesh();
  const ids = new Set(own.map(({ link }) => link?.programId));
  const others = neighbours.programs().filter(({ id }) => !ids.has(id));
  const say = (maker: string | undefined, what: string) => {
    const names = others.filter((program) => makerOf(program) === maker).map(({ name }) => name);
    return names.length === 0 ? [] : [`${names.join(", ")}: ${what}`];
  };
  return [
    ...(mesh === undefined ? [] : [`${mesh}; it and weft take the same connections`]),
    ...say(
      "Cilium",
      "Cilium chooses endpoints of Services at the same hooks, and what it has chosen is no service for weft any more: have it leave pods' sockets alone (socketLB.hostNamespaceOnly=true)",
    ),
    ...say(
      undefined,
      "programs of others are at the same hooks of the cgroup and may lead connections elsewhere; 'bpftool cgroup tree' shows them",
    ),
  ];
}
