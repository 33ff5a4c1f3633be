// Owns which failures of endpoints count, and how the decision to set one aside reaches the store and the log.
// Must not know when enough of them have failed, how that is counted, nor which endpoints a service goes on using.

import type { Result } from "../base/errors.js";
import type { Logger } from "../base/log.js";
import { formatHostPort } from "../base/parse.js";
import type { EndpointFeed } from "../bpf/endpoint-feed.js";
import type { AuthzQuestion, EndpointEvent } from "../bpf/maps.gen.js";
import { authzQuestion } from "../bpf/questions.js";
import { applies } from "../compile/authz/reference.js";
import type { TellEvent } from "../events/event.js";
import { addressFromKeyBytes } from "../model/address.js";
import { isAnotherLife } from "../model/aside.js";
import type { ResourcesById } from "../model/resource-ids.js";
import type { ReadableStore } from "../model/store.js";
import type { Change, Delta, Update } from "../model/update.js";
import type { Workload } from "../model/workload.js";
import { OutlierDetector, type OutlierLimits, type Return, type SetAside } from "./outlier-detector.js";

const ECONNREFUSED = 111;

/** Milliseconds for which nothing counts that is said of an endpoint which is another than before: what began then
 * fails within a second, when its SYN is not answered. */
const NEW_MS = 2_000;

/** Milliseconds after a change of policies for which another node may deny by what was before. */
const POLICY_MS = 10_000;

/** Milliseconds between two looks whether those who failed reach others. */
const LOOK_MS = 100;

export interface OutliersOptions {
  readonly feed: Pick<EndpointFeed, "open" | "close" | "turnOff" | "forget" | "reachedNs">;
  readonly store: ReadableStore;
  readonly names: Pick<ResourcesById, "workload">;
  /** undefined: nothing is ever set aside. */
  readonly limits: OutlierLimits | undefined;
  /** Whether hooks of other nodes may drop what they deny, so that it looks as if nobody answered. */
  readonly deniesSilently: boolean;
  /** Cookie of the pod of this node that a workload is. */
  readonly podOf: (workload: Workload) => bigint | undefined;
  readonly judge: (question: AuthzQuestion) => Result<AuthzQuestion>;
  /** Puts what is set aside in force. */
  readonly tell: (update: Pick<Update, "aside">) => Promise<void>;
  readonly tellEvent: TellEvent;
  readonly log: Logger;
  /** Milliseconds that only grow. */
  readonly now?: () => number;
}

/** Why one is back, for an operator. */
const RETURNS: Readonly<Record<Return, string>> = {
  time: "its time was up",
  reached: "a connection to it succeeded",
  changed: "it is another one now, or it may only have denied",
};

/** As an operator is told of it. */
export interface AsideStatus extends SetAside {
  /** Milliseconds since 1970. */
  readonly backAt: number;
}

export class Outliers {
  readonly #options: OutliersOptions;
  readonly #detector: OutlierDetector;
  readonly #now: () => number;
  /** When workloads became others than they were, the oldest first; those of the last NEW_MS. */
  readonly #fresh = new Map<string, number>();
  /** Ids of workloads that the kernel counts failures of, with those. */
  readonly #counted = new Map<string, EndpointEvent["endpoint"][]>();
  #policiesAt = Number.NEGATIVE_INFINITY;
  #timer: NodeJS.Timeout | undefined;
  #looking: NodeJS.Timeout | undefined;
  #started = false;
  #listens = false;

  constructor(options: OutliersOptions) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
    const limits = options.limits ?? { consecutive: 0, baseMs: 0, mostMs: 0 };
    this.#detector = new OutlierDetector(limits, (source, service) =>
      options.feed.reachedNs(source, service),
    );
  }

  /** Whether outliers are looked for at all. */
  get enabled(): boolean {
    return this.#options.limits !== undefined;
  }

  /** Endpoints that are set aside, in the order in which they were. */
  get aside(): readonly AsideStatus[] {
    return this.#detector.aside.map((aside) => this.#statusOf(aside));
  }

  /** How often endpoints were set aside, and came back, since the daemon started. */
  get counts(): Readonly<Record<"set_aside" | Return, number>> {
    return this.#detector.counts;
  }

  /**
   * Begins to listen; idempotent, and may be called again where it throws. What an earlier daemon had set aside is back
   * with this one's first generation.
   */
  start(): void {
    const { feed } = this.#options;
    if (this.#started) return;
    if (this.enabled) feed.open((event) => this.#take(event));
    else feed.turnOff();
    this.#started = true;
    this.#listens = this.enabled;
  }

  stop(): void {
    this.#listens = false;
    clearTimeout(this.#timer);
    clearTimeout(this.#looking);
    this.#options.feed.close();
  }

  /** Hears of each change of the model, before anything follows from it. */
  follow(delta: Delta): void {
    if (!this.#listens) return;
    const now = this.#now();
    this.#expire(now);
    const others = new Set<string>();
    for (const change of delta.workloads) {
      if (namesOthers(change)) this.#policiesAt = now;
      if (isAnotherLife(change)) others.add(change.key);
    }
    for (const uid of others) {
      this.#fresh.delete(uid);
      this.#fresh.set(uid, now);
      for (const endpoint of this.#counted.get(uid) ?? []) this.#options.feed.forget(endpoint);
      this.#counted.delete(uid);
    }
    if (delta.policies.length > 0) this.#policiesAt = now;
    const back = this.#detector.forget(others);
    if (this.#policiesAt === now) back.push(...this.#detector.excuse((uid) => this.#mayDeny(uid)));
    if (back.length > 0) this.#publish(back, "changed");
  }

  // ---- what counts ----

  #take(event: EndpointEvent): void {
    const now = this.#now();
    const workload = this.#options.names.workload(event.endpoint.workload);
    const address = addressFromKeyBytes(event.endpoint.address);
    if (workload === undefined) {
      this.#options.feed.forget(event.endpoint);
      return;
    }
    const endpoint = { uid: workload.uid, address, port: event.endpoint.port };
    if (event.error === 0) {
      this.#remember(workload.uid, event.endpoint, false);
      const back = this.#detector.reached(endpoint, now);
      if (back !== undefined) this.#publish([back], "reached");
      this.#lookAgain();
      return;
    }
    this.#remember(workload.uid, event.endpoint, true);
    if (!this.#counts(event, workload, address, now)) return;
    const failure = {
      source: event.source,
      service: event.service,
      refused: event.error === ECONNREFUSED,
      atNs: event.timeNs,
    };
    const aside = this.#detector.failed(endpoint, failure, now);
    if (aside !== undefined) this.#publish([aside], "set_aside");
    this.#lookAgain();
  }

  /** Soon and again, as long as it is open whether those who failed reach others. */
  #lookAgain(): void {
    clearTimeout(this.#looking);
    const { aside, again } = this.#detector.lookAgain(this.#now());
    if (aside.length > 0) this.#publish(aside, "set_aside");
    if (!again) return;
    this.#looking = setTimeout(() => this.#lookAgain(), LOOK_MS).unref();
  }

  /** Whether a failure speaks of the endpoint as it is now, and may not be a denial. */
  #counts(event: EndpointEvent, { uid }: Workload, address: string, now: number): boolean {
    const workload = this.#options.store.workloadsAt(address).find((one) => one.uid === uid);
    if (workload === undefined) return false;
    this.#expire(now);
    return !this.#fresh.has(uid) && !this.#isDenial(event, workload, now);
  }

  /** A pod of this node is asked for, as the kernel judges it. Of another's refusals nobody knows whose they are. */
  #isDenial(event: EndpointEvent, workload: Workload, now: number): boolean {
    const { deniesSilently, podOf, judge } = this.#options;
    if (event.error !== ECONNREFUSED && !deniesSilently) return false;
    const pod = podOf(workload);
    if (pod === undefined) return now - this.#policiesAt < POLICY_MS || this.#mayDeny(workload.uid);
    const judged = judge(questionOf(pod, event));
    return !judged.ok || judged.value.allowed !== 1;
  }

  /** Whether some policy that is enforced applies to a pod of another node. A name that nobody has may be one soon. */
  #mayDeny(uid: string): boolean {
    const { store, podOf } = this.#options;
    const workload = store.workloads.get(uid);
    if (workload === undefined) return true;
    if (podOf(workload) !== undefined) return false;
    if (workload.authorizationPolicies.some((name) => !store.policies.has(name))) return true;
    for (const policy of store.policies.values())
      if (!policy.dryRun && applies(policy, workload)) return true;
    return false;
  }

  // ---- what follows ----

  #publish(changed: readonly SetAside[], why: "set_aside" | Return): void {
    const { log, tell, tellEvent } = this.#options;
    for (const { uid, address, port, cause, failures, sources, times, since, until } of changed) {
      const endpoint = formatHostPort({ host: address, port });
      const facts = { workload: uid, endpoint };
      const seconds = Math.round((until - since) / 1000);
      if (why === "set_aside")
        log.warn(
          { ...facts, cause, failures, pods: sources, times, seconds },
          "endpoint set aside: connections to it fail",
        );
      else log.info({ ...facts, why }, "endpoint is not set aside any more");
      const text =
        why === "set_aside"
          ? `${endpoint} of ${uid} is set aside for ${seconds} s: ${failures} connects of ${sources} pods failed (${cause})`
          : `${endpoint} of ${uid} is not set aside any more: ${RETURNS[why]}`;
      tellEvent({ type: "outlier", subject: uid, what: why, text });
    }
    void tell({ aside: this.#detector.aside });
    this.#schedule();
  }

  #schedule(): void {
    clearTimeout(this.#timer);
    const { due } = this.#detector;
    if (due === undefined) return;
    const pass = () => {
      const back = this.#detector.pass(this.#now());
      if (back.length > 0) this.#publish(back, "time");
      else this.#schedule();
    };
    this.#timer = setTimeout(pass, Math.max(0, due - this.#now()) + 1).unref();
  }

  /** Forgets what is not new any more. */
  #expire(now: number): void {
    for (const [uid, at] of this.#fresh) {
      if (now - at < NEW_MS) return;
      this.#fresh.delete(uid);
    }
  }

  /** The kernel has an entry of the endpoint, or has it no more. */
  #remember(uid: string, endpoint: EndpointEvent["endpoint"], isCounted: boolean): void {
    const isOther = ({ port, address }: EndpointEvent["endpoint"]) =>
      port !== endpoint.port || Buffer.compare(address, endpoint.address) !== 0;
    const counted = (this.#counted.get(uid) ?? []).filter(isOther);
    if (isCounted) counted.push(endpoint);
    if (counted.length > 0) this.#counted.set(uid, counted);
    else this.#counted.delete(uid);
  }

  #statusOf(aside: SetAside): AsideStatus {
    return { ...aside, backAt: Date.now() + aside.until - this.#now() };
  }
}

/** Whether other policies are said to select a workload than before. */
function namesOthers({ before, after }: Change<Workload>): boolean {
  if (before === undefined || after === undefined) return false;
  return before.authorizationPolicies.join() !== after.authorizationPolicies.join();
}

function questionOf(pod: bigint, event: EndpointEvent): AuthzQuestion {
  return authzQuestion({
    pod,
    sourceAddress: event.sourceAddress,
    destinationAddress: event.endpoint.address,
    sourcePort: event.sourcePort,
    port: event.endpoint.port,
  });
}
