// Owns the claim of these tests: istiod's own dump, the client's model, weftd's dump and the kernel say the same.
// Must not know what was changed.

import { isDeepStrictEqual } from "node:util";
import { pino } from "pino";
import { expect } from "vitest";
import type { ConfigDumpResponse } from "../../daemon/admin/answers.js";
import { dumpPolicy, dumpService, dumpWorkload } from "../../daemon/admin/dump-config.js";
import { createStore } from "../../daemon/model/store.js";
import { createXdsClient, type XdsClient } from "../../daemon/xds/client.js";
import type { LabMesh } from "../../lab/mesh.js";
import { until } from "../../lab/wait.js";
import { type HeldMesh as Held, sorted } from "../conformance/ambientz.js";
import type { Istiod } from "./istiod.js";

/** weftd's client and store in this process: every field of the model can be looked at. */
export class Follower {
  readonly #store = createStore();
  readonly #client: XdsClient;

  constructor(port: number) {
    this.#client = createXdsClient({
      address: `127.0.0.1:${port}`,
      node: {
        address: "127.0.0.1",
        name: "follower",
        namespace: "istio-system",
        serviceAccount: "ztunnel",
        nodeName: "node-1",
        clusterId: "Kubernetes",
        network: "",
        meshId: "",
        version: "test",
      },
      apply: async (update) => {
        this.#store.apply(update);
        return [];
      },
      log: pino({ level: "silent" }),
    });
    this.#client.start();
  }

  held(): Held {
    const { workloads, services, policies } = this.#store;
    return sorted({
      workloads: [...workloads.values()],
      services: [...services.values()],
      policies: [...policies.values()],
    });
  }

  /** Rejected resources so far, by class of fault. */
  faults(): Readonly<Record<string, number>> {
    return this.#client.state().faults;
  }

  stop(): Promise<void> {
    return this.#client.stop();
  }
}

/** What weftd prints of its model, in the order of `sorted`. */
export async function weftdDump(mesh: LabMesh): Promise<ConfigDumpResponse> {
  const { workloads, services, policies } = (await mesh.admin(
    "/debug/config_dump/workload",
  )) as ConfigDumpResponse;
  const by = <T>(list: readonly T[], key: (item: T) => string) =>
    [...list].sort((a, b) => (key(a) < key(b) ? -1 : 1));
  return {
    workloads: by(workloads, ({ uid }) => uid),
    services: by(services, ({ namespace, hostname }) => `${namespace}/${hostname}`),
    policies: by(policies, ({ namespace, name }) => `${namespace}/${name}`),
  };
}

/** What weftd would print of a mesh. */
export function asDumped({ workloads, services, policies }: Held): unknown {
  const dump: ConfigDumpResponse = {
    workloads: workloads.map(dumpWorkload),
    services: services.map(dumpService),
    policies: policies.map(dumpPolicy),
  };
  return JSON.parse(JSON.stringify(dump));
}

/** Longer than the longest pause between two attempts of a client to connect, 15 s. */
const patience = { timeoutMs: 30_000 } as const;

/**
 * Waits until istiod has pushed all and everybody holds what istiod holds; then the kernel must hold what weftd
 * believes. Throws with the first difference. Returns istiod's mesh.
 */
export async function expectAgreement(istiod: Istiod, mesh: LabMesh, follower?: Follower): Promise<Held> {
  await istiod.settle();
  const all = async () => {
    const wanted = await istiod.ambientz();
    return { wanted, held: follower?.held() ?? wanted, dumped: await weftdDump(mesh) };
  };
  await until(
    "weftd to hold what istiod holds",
    async () => {
      const { wanted, held, dumped } = await all();
      return isDeepStrictEqual(held, wanted) && isDeepStrictEqual(dumped, asDumped(wanted));
    },
    patience,
  ).catch(async () => {
    const { wanted, held, dumped } = await all();
    expect(held).toEqual(wanted);
    expect(dumped).toEqual(asDumped(wanted));
  });
  expect(await mesh.admin("/debug/config_dump/diff")).toEqual({ differences: [] });
  return istiod.ambientz();
}
