// Owns when the daemon is ready: each component's state, and a clause that says why.
// Must not know who asks.

import type { ComponentStatus } from "../admin/answers.js";
import type { Parts } from "./parts.js";

export function componentsOf(
  parts: Pick<Parts, "store" | "pods" | "dataplane" | "kubernetes"> & {
    readonly xds: Pick<Parts["xds"], "state">;
  },
): ComponentStatus[] {
  const { address, connected, types } = parts.xds.state();
  const isSynced = (name: string) => types.every(({ type, synced }) => type !== name || synced);
  const whereabouts = connected ? "connected" : "not connected at present";
  return [
    isSynced("Address")
      ? { name: "xds", ready: true, detail: `${whereabouts}, ${address}` }
      : { name: "xds", ready: false, detail: `no addresses yet from ${address}` },
    policies(parts, isSynced("Authorization"), address),
    programs(parts),
    pods(parts),
    ...kubernetes(parts),
  ];
}

/** Not ready: pods are governed that should not be, or new ones wait. */
function kubernetes({ kubernetes }: Pick<Parts, "kubernetes">): ComponentStatus[] {
  if (kubernetes === undefined) return [];
  const trouble = kubernetes.trouble();
  return [
    { name: "kubernetes", ready: trouble === undefined, detail: trouble ?? "pods are governed as labelled" },
  ];
}

function policies(
  { store, dataplane }: Pick<Parts, "store" | "dataplane">,
  synced: boolean,
  address: string,
): ComponentStatus {
  const name = "policies";
  if (dataplane.settings.authzLocked !== 0) {
    const detail =
      "addresses could not be stored: policies deny those that they do not know by them; see the log of bpf";
    return { name, ready: false, detail };
  }
  if (!synced) return { name, ready: false, detail: `none received yet from ${address}` };
  return { name, ready: true, detail: `${store.policies.size} in force` };
}

function programs({ dataplane }: Pick<Parts, "dataplane">): ComponentStatus {
  const { installed, generation } = dataplane;
  const waiting = "waiting for the control plane; what an earlier daemon attached goes on";
  return {
    name: "programs",
    ready: installed,
    detail: installed ? `generation ${generation} governs` : waiting,
  };
}

/** A pod that the control plane does not know, or whose namespace is not there, is a warning: nothing is open. */
function pods(parts: Pick<Parts, "pods">): ComponentStatus {
  const failed = parts.pods.all.filter(({ state }) => state === "failed");
  const names = failed.map(({ namespace, name }) => `${namespace}/${name}`);
  return {
    name: "pods",
    ready: failed.length === 0,
    detail:
      failed.length === 0
        ? `${parts.pods.enrolled.length} enrolled`
        : `not enrolled although their namespaces are there: ${names.join(", ")}`,
  };
}
