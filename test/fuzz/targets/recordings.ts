// Owns where the recorded streams lie that targets take their first inputs from.

import { join } from "node:path";
import { packageRoot } from "../../../daemon/base/package-root.js";

export function recordings(): string[] {
  return ["oddities/frames-1.bin", "bookinfo/frames-1.bin", "reconnect/frames-6.bin"].map((path) =>
    join(packageRoot(), "test", "fixtures", "istiod", path),
  );
}
