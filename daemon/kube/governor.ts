// Owns which pods of the node are governed in Kubernetes: what labels say is what is enrolled, and pods are told so.
// Must not know how objects arrive, nor what enrolling does.

import { describe, failed, ok, podUnknown, type Result } from "../base/errors.js";
import type { Logger } from "../base/log.js";
import type { ApiServer } from "./api-server.js";
import type { NetnsFinder } from "./netns-finder.js";
import {
  cgroupIdOf,
  type NamespaceObject,
  namespaceObject,
  type PodObject,
  podObject,
  REDIRECTION,
  standingOf,
} from "./objects.js";
import { pathOf } from "./paths.js";
import { setRedirection } from "./redirection.js";
import type { Watched } from "./watched.js";

/** A pod as weftd holds it. */
export interface HeldPod {
  readonly namespace: string;
  readonly name: string;
  /** Path of its network namespace. */
  readonly netns: string;
  readonly state: "enrolled" | "pending" | "failed";
}

/** Enrolling, as enforce/pods does it. */
export interface PodKeeper {
  readonly all: readonly HeldPod[];
  enroll(pod: { namespace: string; name: string; netns: string }): Promise<Result<unknown>>;
  want(pod: { namespace: string; name: string; netns: string }): Promise<Result<void>>;
  unenroll(namespace: string, name: string): Promise<Result<void>>;
}

export interface GovernorOptions {
  readonly server: Pick<ApiServer, "get" | "patch">;
  /** The pods of this node. */
  readonly pods: Pick<Watched<PodObject>, "items" | "isComplete" | "learn" | "unlearn">;
  readonly namespaces: Pick<Watched<NamespaceObject>, "items" | "isComplete">;
  readonly keeper: PodKeeper;
  readonly finder: Pick<NetnsFinder, "find">;
  readonly log: Logger;
}

/** A sandbox that a container runtime makes or removes. */
export interface Sandbox {
  readonly namespace: string;
  readonly name: string;
  /** Absent where the runtime does not say it. */
  readonly uid: string | undefined;
  readonly netns: string;
}

/** Milliseconds that a running pod may be without a namespace: its runtime makes another one. */
const LOST_MS = 5_000;
const NOT_FOUND =
  "pod not governed: no process of it is seen, or its network namespace has no name in the node's directories";

function isLong(since: number): boolean {
  return performance.now() - since >= LOST_MS;
}

export class Governor {
  readonly #options: GovernorOptions;
  #isDue = false;
  #running: Promise<void> | undefined;
  /** Pods that are to be governed and whose namespace was not found, and since when: performance.now(). */
  #lost: ReadonlyMap<string, number> = new Map();
  /** Those of them that the log has. */
  #said: ReadonlySet<string> = new Set();

  constructor(options: GovernorOptions) {
    this.#options = options;
  }

  /** Names of pods that should be governed and are not, for longer than it takes to make a sandbox anew. */
  get lost(): readonly string[] {
    return [...this.#lost].filter(([, since]) => isLong(since)).map(([name]) => name);
  }

  /** Makes what is enrolled what the labels say, soon; calls that come meanwhile are one. */
  act(): void {
    this.#isDue = true;
    this.#running ??= this.#run();
  }

  /** Resolves when nothing is being done. */
  async settled(): Promise<void> {
    await this.#running;
  }

  /**
   * A pod's first namespace, before any process runs in it: enrolled when this resolves, if it is to be governed at
   * all. A failure means that the pod must wait.
   */
  async admit(sandbox: Sandbox): Promise<Result<"governed" | "passed">> {
    const pod = await this.#podOf(sandbox);
    if (!pod.ok) return pod;
    const namespace = await this.#options.server.get(pathOf(sandbox.namespace), namespaceObject);
    if (!namespace.ok) return namespace;
    const standing = standingOf(pod.value, namespace.value);
    if (!standing.isGoverned) return ok("passed");
    const { name, netns } = sandbox;
    // Before it is enrolled: whoever looks at the labels meanwhile must not take it for one that has gone.
    this.#options.pods.learn(pod.value);
    const enrolled = await this.#options.keeper.enroll({ namespace: sandbox.namespace, name, netns });
    if (!enrolled.ok) return enrolled;
    this.act();
    return ok("governed");
  }

  /** The sandbox is being removed. Another one of the same name stays. */
  async release({ namespace, name, netns }: Sandbox): Promise<void> {
    const key = `${namespace}/${name}`;
    if (this.#held().get(key)?.netns !== netns) return;
    this.#options.pods.unlearn(key);
    await this.#options.keeper.unenroll(namespace, name);
  }

  /** From the server itself: what is watched may be behind. */
  async #podOf({ namespace, name, uid }: Sandbox): Promise<Result<PodObject>> {
    const pod = await this.#options.server.get(pathOf(namespace, name), podObject);
    if (!pod.ok || uid === undefined || pod.value.metadata.uid === uid || cgroupIdOf(pod.value) === uid)
      return pod;
    return failed(podUnknown(`${namespace}/${name} (uid ${uid})`));
  }

  async #run(): Promise<void> {
    while (this.#isDue) {
      this.#isDue = false;
      await this.#actOnce();
    }
    this.#running = undefined;
  }

  async #actOnce(): Promise<void> {
    const { pods, namespaces, keeper } = this.#options;
    // Until both lists are there, nobody has said that a pod is not to be governed.
    if (!pods.isComplete || !namespaces.isComplete) return;
    for (const [key, { namespace, name }] of this.#held()) {
      // Asked of each anew: while the one before left, another pod of that name may have come.
      const pod = pods.items.get(key);
      if (pod === undefined || !this.#isGoverned(pod, true)) await keeper.unenroll(namespace, name);
    }
    const held = this.#held();
    const governed = new Map([...pods.items].filter(([key, pod]) => this.#isGoverned(pod, held.has(key))));
    await this.#enrollAll(governed);
    await this.#tellPods(governed);
  }

  /** `isHeld`: it is governed, or waited for, as things are. */
  #isGoverned(pod: PodObject, isHeld: boolean): boolean {
    const namespace = this.#options.namespaces.items.get(`/${pod.metadata.namespace}`);
    // A namespace that the watch does not show yet: its pods stay as they are, the next change decides.
    if (namespace === undefined) return isHeld;
    return standingOf(pod, namespace).isGoverned;
  }

  /** By `namespace/name`. */
  #held(): ReadonlyMap<string, HeldPod> {
    return new Map(this.#options.keeper.all.map((pod) => [`${pod.namespace}/${pod.name}`, pod]));
  }

  /** Those that were there before weftd was asked about them. */
  async #enrollAll(governed: ReadonlyMap<string, PodObject>): Promise<void> {
    const { keeper, finder, log } = this.#options;
    const held = this.#held();
    const missing = [...governed].filter(([name]) => held.get(name)?.state !== "enrolled");
    const paths = await finder.find(new Set(missing.map(([, pod]) => cgroupIdOf(pod))));
    const lost = new Map<string, number>();
    for (const [name, pod] of missing) {
      const netns = paths.get(cgroupIdOf(pod));
      if (netns !== undefined) {
        const wanted = await keeper.want({ ...pod.metadata, netns });
        if (!wanted.ok) log.error(describe(wanted.error));
      } else if (pod.status.phase === "Running" && pod.metadata.deletionTimestamp === undefined)
        lost.set(name, this.#lost.get(name) ?? performance.now());
    }
    this.#lost = lost;
    const long = this.lost;
    for (const name of long) if (!this.#said.has(name)) log.warn({ pod: name }, NOT_FOUND);
    this.#said = new Set(long);
  }

  /** istiod treats a pod as meshed by the annotation, clients then expect it to be. */
  async #tellPods(governed: ReadonlyMap<string, PodObject>): Promise<void> {
    const held = this.#held();
    for (const [name, pod] of this.#options.pods.items) {
      const isTold = pod.metadata.annotations[REDIRECTION] === "enabled";
      const isEnrolled = governed.has(name) && held.get(name)?.state === "enrolled";
      if (isTold === isEnrolled) continue;
      const told = await setRedirection(this.#options.server, pod, isEnrolled ? "enabled" : null);
      if (!told.ok) this.#options.log.warn({ pod: name }, describe(told.error));
    }
  }
}
