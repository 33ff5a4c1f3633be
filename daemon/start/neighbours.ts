// Owns who else takes this node's connections, told by what only the node's owner can put there.
// Must not know what follows from it, but that a start beside another mesh is refused.

import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Native } from "../../native/index.js";
import { failed, ok, type Result, WeftError } from "../base/errors.js";
import type { Environment } from "../bpf/environment.js";
import { type CgroupProgram, makerOf, programsOn } from "../bpf/other-programs.js";
import type { Config } from "../config/schema.js";
import { type CniObject, pluginsOf } from "../kube/cni-config.js";
import { readConfigs } from "../kube/cni-install.js";

/** Where Kmesh's two modes keep their maps on the BPF file system. */
const KMESH_PINS = ["bpf_kmesh", "bpf_kmesh_workload"];

/** Where runtimes look for CNI configurations unless they are told otherwise. */
const CNI_CONF_DIR = "/etc/cni/net.d";

/** Each looks anew. */
export interface Neighbours {
  /** A clause that names another mesh and what shows that it is there; undefined: there is none. */
  mesh(): string | undefined;
  /** At the hooks of the governed cgroup, weft's own included. */
  programs(): CgroupProgram[];
}

/** Fails where there is another mesh and nobody insists. */
export function checkNeighbours(
  native: Pick<Native, "cgroupPrograms">,
  { bpffs, cgroup }: Environment,
  { cniConfDir = CNI_CONF_DIR, besideOtherMesh }: Pick<Config, "cniConfDir" | "besideOtherMesh">,
): Result<Neighbours> {
  const programs = () => programsOn(native, cgroup);
  const mesh = () => {
    const found = kmeshPins(bpffs) ?? kmeshProgram(programs(), cgroup) ?? cniOfMesh(cniConfDir);
    return found && `${found[0]} is on this node: ${found[1]}`;
  };
  const found = mesh();
  if (found === undefined || besideOtherMesh) return ok({ mesh, programs });
  return failed(
    new WeftError(
      "OTHER_MESH",
      `${found}; it and weft would take the same connections: remove it (docs/migrate.md), or insist with --beside-other-mesh`,
    ),
  );
}

/** Name of a mesh, and a clause on what shows it. */
type Found = readonly [string, string] | undefined;

function kmeshPins(bpffs: string): Found {
  const path = KMESH_PINS.map((name) => join(bpffs, name)).find((each) => existsSync(each));
  return path === undefined ? undefined : ["Kmesh", `its maps are pinned at ${path}`];
}

function kmeshProgram(programs: readonly CgroupProgram[], cgroup: string): Found {
  const program = programs.find((each) => makerOf(each) === "Kmesh");
  return program && ["Kmesh", `its program ${program.name} (id ${program.id}) is attached to ${cgroup}`];
}

function cniOfMesh(confDir: string): Found {
  for (const { path, config } of readConfigs(confDir)) {
    const mesh = pluginsOf(config).map(meshOf).find(Boolean);
    if (mesh !== undefined) return [mesh, `${path} has its CNI plugin`];
  }
  return undefined;
}

/** Without `ambient_enabled` istio-cni serves sidecars, whose pods weft leaves alone. */
function meshOf({ type, ambient_enabled: isAmbient }: CniObject): string | undefined {
  if (type === "istio-cni" && isAmbient === true) return "ztunnel";
  return type === "kmesh-cni" ? "Kmesh" : undefined;
}
