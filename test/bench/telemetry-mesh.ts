// Owns the meshes of the telemetry bench, and series by the thousand in the kernel's own map.
// Must not know what is measured.

import { readdirSync } from "node:fs";
import { join } from "node:path";
import { packageRoot } from "../../daemon/base/package-root.js";
import { LabelMap } from "../../daemon/bpf/label-map.js";
import { Direction, LabelKind, maps, Outcome } from "../../daemon/bpf/maps.gen.js";
import type { Lab } from "../../lab/lab.js";
import type { LabMesh } from "../../lab/mesh.js";
import { until } from "../../lab/wait.js";
import { type BpfMap, loadNative } from "../../native/index.js";

export const CLIENT = "10.77.0.11";
export const SERVER = "10.77.0.12";

/** A client and the server that it talks to. */
export const meshYaml = `workloads:
  - { name: client, namespace: mesh, serviceAccount: client, addresses: [${CLIENT}] }
  - { name: server, namespace: mesh, serviceAccount: server, addresses: [${SERVER}] }
`;

/** Series of Prometheus that one label set has: four counters under Kmesh's name, and under Istio's. */
export const SERIES_A_LABEL_SET = 8;

/** Parties of each side: every pair of them is a label set. */
const PARTIES = 100;
/** Numbers that the compiler gives nobody in so small a mesh. */
const FIRST_SOURCE = 0x4000_0000;
const FIRST_DESTINATION = FIRST_SOURCE + PARTIES;
const FIRST_SERVICE = FIRST_DESTINATION + PARTIES;

/** weftd looks every thirty seconds whether its maps have room. */
const GROWTH = { timeoutMs: 120_000, everyMs: 500 };

/** Says what the numbers stand for, with names as long as they are in clusters. Call while no weftd runs. */
export function nameParties(lab: Lab): void {
  const map = openState(lab, "labels");
  const labels = new LabelMap(() => map);
  const put = (kind: LabelKind, id: number, parts: readonly string[]) => {
    if (!labels.put({ kind, id, text: parts.join("\0") })) throw new Error("no room for a label");
  };
  const party = (name: string) => {
    return ["online-shop", name, name, "v1", "cluster.local", `${name}-account`, "Kubernetes"];
  };
  for (let index = 0; index < PARTIES; index++) {
    put(LabelKind.PARTY, FIRST_SOURCE + index, party(`frontend-${index}`));
    put(LabelKind.PARTY, FIRST_DESTINATION + index, party(`backend-${index}`));
    const name = `backend-${index}`;
    put(LabelKind.SERVICE, FIRST_SERVICE + index, [
      "online-shop",
      `${name}.online-shop.svc.cluster.local`,
      name,
    ]);
  }
  map.close();
}

/** Adds label sets to the map that weftd reads, from number `from` to before `to`; waits while it makes room. */
export async function addSeries(mesh: LabMesh, from: number, to: number): Promise<void> {
  for (let at = from; at < to; )
    at += await until("room for series", () => addSome(mesh.lab, at, to), GROWTH);
}

/** Gives how many found room. */
function addSome(lab: Lab, from: number, to: number): number {
  const map = openState(lab, "traffic");
  const { key, value } = maps.traffic;
  const usedNs = process.hrtime.bigint();
  let done = 0;
  while (from + done < to) {
    const [source, destination] = [Math.floor((from + done) / PARTIES), (from + done) % PARTIES];
    const of = {
      sourceParty: FIRST_SOURCE + source,
      destinationParty: FIRST_DESTINATION + destination,
      service: FIRST_SERVICE + destination,
      direction: Direction.OUTBOUND,
      outcome: Outcome.OK,
    };
    const counted = BigInt(1_000_000 + from + done);
    const counts = {
      opened: counted,
      closed: counted,
      failed: 0n,
      sentBytes: counted,
      receivedBytes: counted,
    };
    if (map.updateBatch(key.encode(of), value.encode({ usedNs, ...counts }), 1).done === 0) break;
    done++;
  }
  map.close();
  return done;
}

function openState(lab: Lab, name: string): BpfMap {
  const state = join(lab.bpffs, "weft", "state");
  // Maps that it has grown out of have a number behind the layout.
  const file = readdirSync(state).find((each) => new RegExp(`^${name}-[0-9a-f]+$`).test(each));
  if (file === undefined) throw new Error(`no map ${name} in ${state}`);
  return loadNative(packageRoot()).openPinnedMap(join(state, file));
}
