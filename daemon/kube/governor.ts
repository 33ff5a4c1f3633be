// Owns which pods of the node are governed in Kubernetes: what labels say is what is enrolled, and pods are told so.
// Must not know how objects arrive, nor what enrolling does.

import { describe, failed, ok, podUnknown, type Result, type WeftError } from "../base/errors.js";
import type { Logger } from "../base/log.js";
import type { ApiServer } from "./api-server.js";
import type { NetnsFinder } from "./netns-finder.js";
import {
  cgroupIdOf,
  type NamespaceObject,
  nameOf,
  namespaceObject,
  type PodObject,
  podObject,
  REDIRECTION,
  standingOf,
} from "./objects.js";
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
    const namespace = await this.#namespaceOf(sandbox.namespace);
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

  /** Whether a sandbox is governed, if it is to be. */
  async check(sandbox: Sandbox): Promise<Result<void>> {
    const admitted = await this.admit(sandbox);
    return admitted.ok ? ok(undefined) : admitted;
  }

  /** The sandbox is being removed. Another one of the same name stays. */
  async release({ namespace, name, netns }: Sandbox): Promise<void> {
    const held = this.#options.keeper.all.find((pod) => pod.namespace === namespace && pod.name === name);
    if (held?.netns !== netns) return;
    this.#options.pods.unlearn(`${namespace}/${name}`);
    await this.#options.keeper.unenroll(namespace, name);
  }

  /** From the server itself: what is watched may be behind. */
  async #podOf({ namespace, name, uid }: Sandbox): Promise<Result<PodObject>> {
    const got = await this.#options.server.get(
      `/api/v1/namespaces/${encodeURIComponent(namespace)}/pods/${encodeURIComponent(name)}`,
    );
    if (!got.ok) return got;
    const pod = podObject.parse(got.value);
    if (uid !== undefined && pod.metadata.uid !== uid && cgroupIdOf(pod) !== uid)
      return failed(podUnknown(`${namespace}/${name} (uid ${uid})`));
    return ok(pod);
  }

  async #namespaceOf(name: string): Promise<Result<NamespaceObject>> {
    const got = await this.#options.server.get(`/api/v1/namespaces/${encodeURIComponent(name)}`);
    return got.ok ? ok(namespaceObject.parse(got.value)) : got;
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
    for (const { namespace, name } of keeper.all) {
      // Asked of each anew: while the one before left, another pod of that name may have come.
      const pod = pods.items.get(`${namespace}/${name}`);
      if (pod === undefined || !this.#isGoverned(pod)) await keeper.unenroll(namespace, name);
    }
    const governed = new Map([...pods.items].filter(([, pod]) => this.#isGoverned(pod)));
    await this.#enrollAll(governed);
    await this.#tellPods(governed);
  }

  #isGoverned(pod: PodObject): boolean {
    const namespace = this.#options.namespaces.items.get(`/${pod.metadata.namespace}`);
    // A namespace that the watch does not show yet: its pods stay as they are, the next change decides.
    if (namespace === undefined) return this.#held(nameOf(pod)) !== undefined;
    return standingOf(pod, namespace).isGoverned;
  }

  #held(name: string): HeldPod | undefined {
    return this.#options.keeper.all.find((pod) => `${pod.namespace}/${pod.name}` === name);
  }

  /** Those that were there before weftd was asked about them. */
  async #enrollAll(governed: ReadonlyMap<string, PodObject>): Promise<void> {
    const { keeper, finder, log } = this.#options;
    const missing = [...governed].filter(([name]) => this.#held(name)?.state !== "enrolled");
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
    for (const [name, pod] of this.#options.pods.items) {
      const isTold = pod.metadata.annotations[REDIRECTION] === "enabled";
      const isEnrolled = governed.has(name) && this.#held(name)?.state === "enrolled";
      if (isTold === isEnrolled) continue;
      const error = await this.#annotate(pod, isEnrolled ? "enabled" : null);
      if (error !== undefined) this.#options.log.warn({ pod: name }, describe(error));
    }
  }

  async #annotate({ metadata }: PodObject, value: string | null): Promise<WeftError | undefined> {
    const { namespace, name, uid } = metadata;
    const path = `/api/v1/namespaces/${encodeURIComponent(namespace)}/pods/${encodeURIComponent(name)}/status`;
    // With its uid: another pod of the same name is none of this one's business.
    const patched = await this.#options.server.patch(path, {
      metadata: { uid, annotations: { [REDIRECTION]: value } },
    });
    return patched.ok ? undefined : patched.error;
  }
}
