// Owns the whole answer to which weft this is: the build, and what it runs on. Must not know who asks.

import { createHash } from "node:crypto";
import { release } from "node:os";
import type { Native } from "../../native/index.js";
import type { VersionResponse } from "../admin/answers.js";
import { readBuild } from "../base/version.js";
import { maps } from "../bpf/maps.gen.js";
import { STATE_MAPS } from "../bpf/pins.js";

export function describeVersion(node: string, native: Native): VersionResponse {
  const layout = createHash("sha256");
  for (const name of STATE_MAPS) layout.update(`${name}:${maps[name].layout};`);
  return {
    ...readBuild(),
    node,
    kernel: release(),
    libbpf: native.libbpfVersion(),
    layout: layout.digest("hex").slice(0, 16),
  };
}
