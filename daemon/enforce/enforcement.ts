// Owns the building of the parts that enforce, each with what it needs of the others. Must not know what they do.

import type { Logger } from "../base/log.js";
import type { Compiler } from "../compile/compiler.js";
import { createStore, type ReadableStore } from "../model/store.js";
import type { Lookup } from "../names/lookup.js";
import { Names } from "../names/names.js";
import { ConnectionSweep, type ConnectionSweepOptions } from "./connection-sweep.js";
import { DatagramSweep, type DatagramSweepOptions } from "./datagram-sweep.js";
import { GracePeriod } from "./grace-period.js";
import type { Kernel, Narrowed, PodKernel } from "./kernel.js";
import { Pods } from "./pods.js";
import { Reconciler, type ReconcilerOptions } from "./reconciler.js";
import { Shortage, type ShortageOptions } from "./shortage.js";

export interface EnforcementOptions extends Pick<ReconcilerOptions, "onMapOperations"> {
  readonly compiler: Compiler;
  readonly kernel: Kernel & PodKernel & DatagramSweepOptions["kernel"] & ConnectionSweepOptions["kernel"];
  /** Resolves when every hook that ran at its call has ended. */
  readonly waitForReaders: () => Promise<void>;
  /** Asks DNS for host names of endpoints. */
  readonly lookup: Lookup;
  readonly onMapWriteFailed: ShortageOptions["onMapWriteFailed"];
  readonly log: Logger;
}

export interface Enforcement {
  readonly store: ReadableStore;
  readonly reconciler: Reconciler;
  readonly pods: Pods;
  readonly shortage: Shortage;
  readonly sweep: DatagramSweep;
  readonly names: Names;
  stop(): void;
}

/** The parts, idle until they are told something. */
export function createEnforcement(options: EnforcementOptions): Enforcement {
  const store = createStore();
  const shortage = new Shortage(options);
  const grace = new GracePeriod(options.waitForReaders, options.log);
  const sweep = new DatagramSweep(options);
  const connections = new ConnectionSweep(options);
  const onBackendLost = () => sweep.start();
  const onNarrowed = (pods: Narrowed) => connections.start(pods);
  const names = new Names({ ...options, onAnswers: (answers) => void reconciler.applyLocal({ answers }) });
  const onWorkloads = () => names.want(store.wantedNames());
  const said = { onBackendLost, onNarrowed, onWorkloads };
  const reconciler = new Reconciler({ ...options, ...said, store, shortage, grace });
  const pods = new Pods({ ...options, tell: (enrolled) => reconciler.applyLocal({ pods: enrolled }) });
  const stop = () => {
    names.stop();
    reconciler.stop();
  };
  return { store, reconciler, pods, shortage, sweep, names, stop };
}
