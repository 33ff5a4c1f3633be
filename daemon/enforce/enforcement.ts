// Owns the building of the parts that enforce, each with what it needs of the others. Must not know what they do.

import type { Logger } from "../base/log.js";
import type { Dataplane } from "../bpf/dataplane.js";
import { EndpointFeed } from "../bpf/endpoint-feed.js";
import type { Compiler } from "../compile/compiler.js";
import { tellChanges } from "../events/changes.js";
import type { TellEvent } from "../events/event.js";
import { podCluster, podUid } from "../model/address-index.js";
import { createStore, type ReadableStore } from "../model/store.js";
import type { Delta } from "../model/update.js";
import type { Workload } from "../model/workload.js";
import type { Lookup } from "../names/lookup.js";
import { Names } from "../names/names.js";
import { ConnectionSweep, type ConnectionSweepOptions } from "./connection-sweep.js";
import { DatagramSweep, type DatagramSweepOptions } from "./datagram-sweep.js";
import { DisabledWatch, type DisabledWatchOptions } from "./disabled-watch.js";
import { GracePeriod } from "./grace-period.js";
import type { Kernel, Narrowed, PodKernel } from "./kernel.js";
import type { OutlierLimits } from "./outlier-detector.js";
import { Outliers } from "./outliers.js";
import { Pods } from "./pods.js";
import { Reconciler, type ReconcilerOptions } from "./reconciler.js";
import { Shortage, type ShortageOptions } from "./shortage.js";

export interface EnforcementOptions extends Pick<ReconcilerOptions, "onMapOperations"> {
  readonly compiler: Compiler;
  readonly kernel: Kernel &
    PodKernel &
    DatagramSweepOptions["kernel"] &
    ConnectionSweepOptions["kernel"] &
    DisabledWatchOptions["kernel"] &
    Pick<Dataplane, "openEvents" | "map" | "judge">;
  /** When endpoints that fail are set aside; undefined: never. */
  readonly outliers: OutlierLimits | undefined;
  /** Whether the nodes' hooks drop what they deny, and do not reset it. */
  readonly deniesSilently: boolean;
  /** Resolves when every hook that ran at its call has ended. */
  readonly waitForReaders: () => Promise<void>;
  /** Asks DNS for host names of endpoints. */
  readonly lookup: Lookup;
  readonly onMapWriteFailed: ShortageOptions["onMapWriteFailed"];
  readonly onGenerationFailed: ShortageOptions["onGenerationFailed"];
  readonly tellEvent: TellEvent;
  readonly log: Logger;
}

export interface Enforcement {
  readonly store: ReadableStore;
  readonly reconciler: Reconciler;
  readonly pods: Pods;
  readonly shortage: Shortage;
  readonly sweep: DatagramSweep;
  readonly names: Names;
  readonly outliers: Outliers;
  readonly disabled: DisabledWatch;
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
  const onDelta = (delta: Delta) => {
    outliers.follow(delta);
    // What comes before the first generation is no change but the beginning.
    if (options.kernel.installed) tellChanges(delta, options.tellEvent);
  };
  const onInstalled = (generation: number) => {
    const { workloads, services, policies } = store;
    const held = `${workloads.size} workloads, ${services.size} services, ${policies.size} policies`;
    const text = `generation ${generation} governs, with ${held}`;
    options.tellEvent({ type: "generation", subject: String(generation), what: "governs", text });
  };
  const said = { onBackendLost, onNarrowed, onWorkloads, onDelta, onInstalled };
  const reconciler = new Reconciler({ ...options, ...said, store, shortage, grace });
  const pods = new Pods({ ...options, tell: (enrolled) => reconciler.applyLocal({ pods: enrolled }) });
  const outliers = new Outliers({
    ...options,
    store,
    feed: new EndpointFeed(options.kernel),
    names: options.compiler.names,
    limits: options.outliers,
    podOf: (workload) => podOf(pods, workload),
    judge: (question) => options.kernel.judge(question),
    tell: (update) => reconciler.applyLocal(update),
  });
  const disabled = new DisabledWatch({ ...options, judgeAgain: () => reconciler.judgeAgain() });
  const stop = () => {
    outliers.stop();
    names.stop();
    reconciler.stop();
  };
  return { store, reconciler, pods, shortage, sweep, names, outliers, disabled, stop };
}

/** Cookie of the enrolled pod that a workload is. */
function podOf({ enrolled }: Pods, { uid }: Workload): bigint | undefined {
  const cluster = podCluster(uid);
  if (cluster === undefined) return undefined;
  return enrolled.find(({ namespace, name }) => podUid(cluster, namespace, name) === uid)?.cookie;
}
