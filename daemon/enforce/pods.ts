// Owns which network namespaces are enrolled: the coming, moving and ending of pods, each with a line in the log.
// Must not know workloads, verdicts, nor how the kernel keeps what it is told.

import { describe, failed, ok, podUnknown, type Result } from "../base/errors.js";
import type { Logger } from "../base/log.js";
import type { Enrollment } from "../bpf/enrollment.js";
import type { EnrolledPod } from "../model/update.js";
import type { PodKernel } from "./kernel.js";

/** A pod as the operator names it. */
export interface WantedPod {
  readonly namespace: string;
  readonly name: string;
  /** Path of its network namespace. */
  readonly netns: string;
}

export interface PodsOptions {
  readonly kernel: PodKernel;
  /** Puts the set of enrolled pods in force. */
  readonly tell: (pods: readonly EnrolledPod[]) => Promise<void>;
  readonly log: Logger;
}

export class Pods {
  readonly #options: PodsOptions;
  readonly #enrolled = new Map<string, Enrollment>();

  constructor(options: PodsOptions) {
    this.#options = options;
  }

  get enrolled(): readonly Enrollment[] {
    return [...this.#enrolled.values()];
  }

  /** Takes over what earlier daemons enrolled; namespaces that are gone are forgotten. */
  async restore(): Promise<void> {
    for (const pod of this.#options.kernel.enrollments()) {
      this.#enrolled.set(nameOf(pod), pod);
      if (this.#options.kernel.isAlive(pod)) this.#say(pod, "pod enrolled: an earlier daemon did it");
    }
    this.#dropDead();
    await this.#tell();
  }

  /** Enrolls a namespace, or moves the pod of that name to it. From here on it is governed. */
  async enroll(wanted: WantedPod): Promise<Result<Enrollment>> {
    const { kernel } = this.#options;
    const cookie = kernel.cookieOf(nameOf(wanted), wanted.netns);
    if (!cookie.ok) return cookie;
    const pod = { ...wanted, cookie: cookie.value };
    const remembered = kernel.remember(pod);
    if (!remembered.ok) return remembered;
    this.#replace(pod);
    await this.#tell();
    const guarded = kernel.guard(pod);
    return guarded.ok ? ok(pod) : guarded;
  }

  async unenroll(namespace: string, name: string): Promise<Result<void>> {
    const pod = this.#enrolled.get(nameOf({ namespace, name }));
    if (pod === undefined) return failed(podUnknown(nameOf({ namespace, name })));
    this.#forget(pod, "pod unenrolled: asked for");
    await this.#tell();
    return ok(undefined);
  }

  /** Unenrolls pods whose namespace has ended. */
  async dropDead(): Promise<void> {
    if (this.#dropDead()) await this.#tell();
  }

  /** Puts the verdict hook on every pod that was enrolled before there was one. */
  guardAll(): void {
    for (const pod of this.#enrolled.values()) {
      const guarded = this.#options.kernel.guard(pod);
      if (!guarded.ok) this.#options.log.error({ pod: nameOf(pod) }, describe(guarded.error));
    }
  }

  /** A name and a namespace belong to one pod each. */
  #replace(pod: Enrollment): void {
    const known = this.#enrolled.get(nameOf(pod));
    if (known?.cookie === pod.cookie) {
      this.#enrolled.set(nameOf(pod), pod);
      return;
    }
    if (known !== undefined) this.#forget(known, "pod unenrolled: moved to another network namespace");
    for (const other of this.enrolled) {
      if (other.cookie === pod.cookie)
        this.#forget(other, `pod unenrolled: its network namespace is ${nameOf(pod)} now`, "keeps hook");
    }
    this.#enrolled.set(nameOf(pod), pod);
    this.#say(pod, "pod enrolled");
  }

  #dropDead(): boolean {
    const dead = this.enrolled.filter((pod) => !this.#options.kernel.isAlive(pod));
    for (const pod of dead) this.#forget(pod, "pod unenrolled: its network namespace has ended");
    return dead.length > 0;
  }

  #forget(pod: Enrollment, why: string, hook: "keeps hook" | "ends hook" = "ends hook"): void {
    if (hook === "ends hook") this.#options.kernel.forget(pod.cookie);
    this.#enrolled.delete(nameOf(pod));
    this.#say(pod, why);
  }

  #say({ netns, cookie, ...pod }: Enrollment, what: string): void {
    this.#options.log.info({ pod: nameOf(pod), netns, cookie: String(cookie) }, what);
  }

  #tell(): Promise<void> {
    return this.#options.tell(this.enrolled);
  }
}

function nameOf(pod: { readonly namespace: string; readonly name: string }): string {
  return `${pod.namespace}/${pod.name}`;
}
