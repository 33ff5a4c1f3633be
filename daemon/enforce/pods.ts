// Owns which network namespaces are enrolled: the coming, moving and ending of pods, each with a line in the log.
// Must not know workloads, verdicts, nor how the kernel keeps what it is told.

import {
  describe,
  type ErrorCode,
  failed,
  ok,
  podUnknown,
  type Result,
  type WeftError,
} from "../base/errors.js";
import type { Logger } from "../base/log.js";
import type { Enrollment, PodPath } from "../bpf/enrollment.js";
import type { TellEvent } from "../events/event.js";
import type { EnrolledPod } from "../model/update.js";
import type { PodKernel } from "./kernel.js";

/** Milliseconds between two tries to enroll a pod whose namespace is there. */
const RETRY_MS = 5_000;

/** Failures that may pass by themselves: the pod stays wanted. */
const PASSING: ReadonlySet<ErrorCode> = new Set([
  "BPF_ATTACH_FAILED",
  "BPF_MAP_WRITE_FAILED",
  "PODS_FULL",
  "POD_NETNS_MISSING",
]);

/**
 * enrolled: governed. pending: its namespace is not there, and is enrolled when it comes. failed: its namespace is
 * there and could not be enrolled, which is tried again.
 */
export type PodState = "enrolled" | "pending" | "failed";

/** A pod that is to be governed. */
export interface Pod extends PodPath {
  readonly state: PodState;
  /** SO_NETNS_COOKIE, while it is enrolled. */
  readonly cookie: bigint | undefined;
  /** Why it is not enrolled. */
  readonly error: WeftError | undefined;
}

export interface PodsOptions {
  readonly kernel: PodKernel;
  /** Puts the set of enrolled pods in force. */
  readonly tell: (pods: readonly EnrolledPod[]) => Promise<void>;
  readonly tellEvent: TellEvent;
  readonly log: Logger;
}

/** How a pod is held here. */
interface Held {
  readonly pod: Pod;
  /** Of the namespace that is enrolled. */
  readonly inode: number | undefined;
  /** performance.now() from which on it may be tried again. */
  readonly retryAt: number;
}

export class Pods {
  readonly #options: PodsOptions;
  readonly #held = new Map<string, Held>();
  /** Enrolled since the last look into namespaces. */
  readonly #fresh = new Set<bigint>();

  constructor(options: PodsOptions) {
    this.#options = options;
  }

  /** All that are to be governed. */
  get all(): readonly Pod[] {
    return [...this.#held.values()].map(({ pod }) => pod);
  }

  /** Those that are. */
  get enrolled(): readonly Enrollment[] {
    return this.all.flatMap(({ cookie, namespace, name, netns }) =>
      cookie === undefined ? [] : [{ namespace, name, netns, cookie }],
    );
  }

  /** Takes over what earlier daemons enrolled; namespaces that are gone are forgotten. */
  async restore(): Promise<void> {
    const { kernel } = this.#options;
    for (const { cookie, namespace, name, netns } of kernel.enrollments()) {
      const path = { namespace, name, netns };
      const inode = kernel.inodeOf(cookie);
      const pod: Pod = { ...path, state: "enrolled", cookie, error: undefined };
      if (inode !== undefined) {
        this.#hold(pod, inode);
        this.#say(pod, "pod enrolled: an earlier daemon did it");
        continue;
      }
      kernel.forget(cookie);
      this.#say(pod, "pod unenrolled: its network namespace has ended");
      if (kernel.inodeAt(path.netns) !== undefined) this.#try(path);
    }
    await this.#tell();
  }

  /** Enrolls a pod, now or when its namespace comes. Fails when that cannot ever be. */
  async want(path: PodPath): Promise<Result<void>> {
    const tried = this.#try(path);
    await this.#tell();
    return tried.ok || PASSING.has(tried.error.code) ? ok(undefined) : tried;
  }

  /**
   * Enrolls a namespace, or moves the pod of that name to it; from here on it is governed. On failure nothing of it is
   * done; a hook that refuses is tried again all the same.
   */
  async enroll(path: PodPath): Promise<Result<Enrollment>> {
    const enrolled = this.#options.kernel.enroll(path);
    if (enrolled.ok) this.#replace(enrolled.value);
    else if (enrolled.error.code === "BPF_ATTACH_FAILED") this.#holdOff(path, enrolled.error);
    await this.#tell();
    return enrolled;
  }

  async unenroll(namespace: string, name: string): Promise<Result<void>> {
    const held = this.#held.get(nameOf({ namespace, name }));
    if (held === undefined) return failed(podUnknown(nameOf({ namespace, name })));
    this.#drop(held.pod, "pod unenrolled: asked for");
    await this.#tell();
    return ok(undefined);
  }

  /** Looks at every pod's path: what came is enrolled, what was made anew is moved to, what ended is waited for. */
  async look(): Promise<void> {
    if (this.#look(false)) await this.#tell();
  }

  /** As look(), and at every hook and into every namespace: what somebody took away is put back. */
  async check(): Promise<void> {
    if (this.#look(true)) await this.#tell();
    await this.#survey();
  }

  #look(thoroughly: boolean): boolean {
    let isChanged = false;
    for (const held of [...this.#held.values()]) isChanged = this.#lookAt(held, thoroughly) || isChanged;
    return isChanged;
  }

  /** Whether something changed. */
  #lookAt({ pod, inode, retryAt }: Held, thoroughly: boolean): boolean {
    const { kernel } = this.#options;
    const there = kernel.inodeAt(pod.netns);
    if (pod.cookie !== undefined) {
      const isSame = there !== undefined && there === inode;
      if (isSame && !thoroughly) return false;
      const isGuarded = kernel.inodeOf(pod.cookie) !== undefined;
      if (isSame && isGuarded) return false;
      // What has the namespace open keeps it although the path is gone.
      if (there === undefined && isGuarded) return false;
      if (!isSame && !isGuarded) {
        this.#await(pod);
        return true;
      }
    }
    if (there === undefined || performance.now() < retryAt) return false;
    return this.#try(pod).ok;
  }

  #try({ namespace, name, netns }: PodPath): Result<Enrollment> {
    const path = { namespace, name, netns };
    const enrolled = this.#options.kernel.enroll(path);
    if (enrolled.ok) this.#replace(enrolled.value);
    else if (PASSING.has(enrolled.error.code)) this.#holdOff(path, enrolled.error);
    return enrolled;
  }

  /** A name and a namespace belong to one pod each. */
  #replace(enrolled: Enrollment): void {
    const known = this.#held.get(nameOf(enrolled))?.pod;
    const isNew = known?.cookie !== enrolled.cookie;
    if (known?.cookie !== undefined && isNew)
      this.#drop(known, "pod unenrolled: moved to another network namespace");
    for (const other of this.all) {
      if (other.cookie !== enrolled.cookie || nameOf(other) === nameOf(enrolled)) continue;
      // The namespace keeps its hook, and its names are the new pod's already.
      this.#held.delete(nameOf(other));
      this.#say(other, `pod unenrolled: its network namespace is ${nameOf(enrolled)} now`);
    }
    const pod: Pod = { ...enrolled, state: "enrolled", error: undefined };
    this.#hold(pod, this.#options.kernel.inodeOf(enrolled.cookie));
    this.#fresh.add(enrolled.cookie);
    if (isNew) this.#say(pod, "pod enrolled");
  }

  /** Its namespace has ended; a new one under the same path will be enrolled. */
  #await(pod: Pod): void {
    this.#drop(pod, "pod unenrolled: its network namespace has ended; another at its path will be enrolled");
    this.#hold({ ...pod, state: "pending", cookie: undefined }, undefined);
  }

  /** What is enrolled under the name stays so; it is tried again. Said once. */
  #holdOff(path: PodPath, error: WeftError): void {
    const known = this.#held.get(nameOf(path));
    const isMissing = error.code === "POD_NETNS_MISSING";
    if (known?.pod.error?.message !== error.message) {
      if (isMissing) this.#say(path, "pod pending: its network namespace is not there yet");
      else this.#refuse(path, error);
    }
    const retryAt = isMissing ? 0 : performance.now() + RETRY_MS;
    const state = isMissing ? "pending" : "failed";
    if (known?.pod.cookie === undefined)
      this.#hold({ ...path, state, cookie: undefined, error }, undefined, retryAt);
    else this.#hold({ ...known.pod, error }, known.inode, retryAt);
  }

  #hold(pod: Pod, inode: number | undefined, retryAt = 0): void {
    this.#held.set(nameOf(pod), { pod, inode, retryAt });
  }

  #drop(pod: Pod, why: string): void {
    if (pod.cookie !== undefined) this.#options.kernel.forget(pod.cookie);
    this.#held.delete(nameOf(pod));
    this.#say(pod, why);
  }

  #say({ netns, cookie, ...pod }: PodPath & { readonly cookie?: bigint | undefined }, what: string): void {
    const known = cookie === undefined ? {} : { cookie: String(cookie) };
    this.#options.log.info({ pod: nameOf(pod), netns, ...known }, what);
    const [, state = "changed"] = /^pod (\w+)/.exec(what) ?? [];
    this.#options.tellEvent({
      type: "pod",
      subject: nameOf(pod),
      what: state,
      text: `${what.replace(/^pod/, `pod ${nameOf(pod)}`)} (${netns})`,
    });
  }

  #refuse(path: PodPath, error: WeftError): void {
    const subject = nameOf(path);
    this.#options.log.error({ pod: subject }, describe(error));
    this.#options.tellEvent({ type: "pod", subject, what: "failed", text: describe(error) });
  }

  async #tell(): Promise<void> {
    await this.#options.tell(this.enrolled);
    const fresh = new Set(this.#fresh);
    this.#fresh.clear();
    if (fresh.size > 0) await this.#survey(fresh);
  }

  async #survey(only?: ReadonlySet<bigint>): Promise<void> {
    for (const trouble of await this.#options.kernel.survey.look(only))
      this.#options.log.warn(describe(trouble));
  }
}

function nameOf(pod: { readonly namespace: string; readonly name: string }): string {
  return `${pod.namespace}/${pod.name}`;
}
