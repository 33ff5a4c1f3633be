// Owns weftd's xDS client with a store behind it, as specs run it. Must not know any server.

import { pino } from "pino";
import { createStore, type Store } from "../../daemon/model/store.js";
import type { Update } from "../../daemon/model/update.js";
import { createXdsClient, type XdsClient, type XdsClientOptions } from "../../daemon/xds/client.js";
import type { NodeIdentity } from "../../daemon/xds/node.js";
import { until } from "../../lab/wait.js";

export const NODE: NodeIdentity = {
  address: "127.0.0.1",
  name: "weftd",
  namespace: "weft",
  serviceAccount: "weft",
  nodeName: "node-1",
  clusterId: "Kubernetes",
  network: "",
  meshId: "",
  version: "0.1.0",
};

export class RunningClient {
  readonly store: Store = createStore();
  readonly updates: Update[] = [];
  /** What it logs, as `level: message`. */
  readonly log: string[] = [];
  readonly client: XdsClient;

  /** Starts at once. */
  constructor(options: Partial<XdsClientOptions> & { readonly address: string }) {
    const write = (line: string) => {
      const { level, msg } = JSON.parse(line) as { level: number; msg: string };
      this.log.push(`${pino.levels.labels[level]}: ${msg}`);
    };
    this.client = createXdsClient({
      node: NODE,
      log: pino({ level: "debug", base: null }, { write }),
      apply: async (update) => {
        this.updates.push(update);
        this.store.apply(update);
        return [];
      },
      ...options,
    });
    this.client.start();
  }

  get syncedTypes(): string[] {
    const { types } = this.client.state();
    return types.filter((type) => type.synced).map((type) => type.type);
  }

  /** Resolves when the first response of each type is applied. */
  async synced(): Promise<void> {
    await until("a complete configuration", () => this.syncedTypes.length === 2);
  }

  /** Resolves with the last error once there is one that matches. */
  async failure(pattern = /./): Promise<string> {
    return until("a failure to be told", () => {
      const { lastError } = this.client.state();
      return lastError !== null && pattern.test(lastError) ? lastError : undefined;
    });
  }

  /** Resolves when it is connected for the n-th time or later. */
  async connected(streams = 1): Promise<void> {
    await until(`stream ${streams}`, () => {
      const state = this.client.state();
      return state.connected && state.streams >= streams;
    });
  }

  stop(): Promise<void> {
    return this.client.stop();
  }
}
