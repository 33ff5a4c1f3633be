// Owns the look at every enrolled pod's namespace: its early hooks are brought to its interfaces as they are now, and
// what no hook of ours can see there is noted. Must not know workloads, nor when somebody looks.

import type { Native, NetnsState } from "../../native/index.js";
import { bpfAttachFailed, type WeftError } from "../base/errors.js";
import { exhausted } from "../base/exhausted.js";
import { type EarlyHooks, type EarlyPlace, NODE } from "./early-hooks.js";
import type { EarlyMaps } from "./early-stub.js";
import type { Enrollment } from "./enrollment.js";
import { describeLink } from "./guard-links.js";
import { visitPod } from "./netns.js";
import type { Pins } from "./pins.js";

/** ARPHRD_LOOPBACK of linux/if_arp.h. */
const LOOPBACK = 772;

/** What was seen of a pod's namespace. */
export interface Surveyed {
  /** Programs of others on its hook sk_lookup: one that selects a socket overrides a denial. */
  readonly otherLookups: number;
  /** It forwards, and has interfaces to forward between. */
  readonly forwards: boolean;
  /** Of its interfaces but loopback. */
  readonly addresses: readonly string[];
}

export interface SurveyOptions {
  readonly native: Native;
  readonly pins: Pins;
  readonly early: EarlyHooks;
  readonly pods: () => readonly Enrollment[];
  /** undefined while nothing of this daemon governs: hooks stay as they are. */
  readonly maps: () => EarlyMaps | undefined;
}

export class NamespaceSurvey {
  readonly #options: SurveyOptions;
  #seen: ReadonlyMap<bigint, Surveyed> = new Map();
  #last: Promise<unknown> = Promise.resolve();

  constructor(options: SurveyOptions) {
    this.#options = options;
  }

  /** By cookie, as of the last look. */
  get seen(): ReadonlyMap<bigint, Surveyed> {
    return this.#seen;
  }

  /** Looks at the pods of these cookies, or at all and the node; one look after the other. Gives what is new of what cannot be had. */
  look(only?: ReadonlySet<bigint>): Promise<readonly WeftError[]> {
    const looked = this.#last.then(() => (only === undefined ? this.#lookAtAll() : this.#lookAtSome(only)));
    // What one look met, the next may not.
    this.#last = looked.catch(() => undefined);
    return looked;
  }

  async #lookAtSome(cookies: ReadonlySet<bigint>): Promise<readonly WeftError[]> {
    const troubles: WeftError[] = [];
    const seen = new Map(this.#seen);
    for (const pod of this.#options.pods()) {
      const surveyed = cookies.has(pod.cookie) ? await this.#lookAt(pod, troubles) : undefined;
      if (surveyed !== undefined) seen.set(pod.cookie, surveyed);
    }
    this.#seen = seen;
    return troubles;
  }

  async #lookAtAll(): Promise<readonly WeftError[]> {
    const { early, maps, pods } = this.#options;
    const troubles: WeftError[] = [];
    const seen = new Map<bigint, Surveyed>();
    for (const pod of pods()) {
      const surveyed = (await this.#lookAt(pod, troubles)) ?? this.#seen.get(pod.cookie);
      if (surveyed !== undefined) seen.set(pod.cookie, surveyed);
    }
    this.#seen = seen;
    if (early.ofNode) await this.#lookAtNode(troubles);
    if (maps() !== undefined) {
      const cookies = pods().map(({ cookie }) => cookie);
      early.keepOnly(new Set(early.ofNode ? [NODE, ...cookies] : cookies));
    }
    return troubles;
  }

  /** undefined when there is nothing to be seen: the namespace ends, has moved from its path, or nothing can be opened. */
  async #lookAt(pod: Enrollment, troubles: WeftError[]): Promise<Surveyed | undefined> {
    try {
      return await this.#visit(pod, troubles);
    } catch (error) {
      if (exhausted(error) === undefined) throw error;
      return undefined;
    }
  }

  async #visit(pod: Enrollment, troubles: WeftError[]): Promise<Surveyed | undefined> {
    const { native, pins } = this.#options;
    const { cookie } = pod;
    const name = `${pod.netns} (${pod.namespace}/${pod.name})`;
    return await visitPod(native, pod, async (path) => {
      const state = await readState(native, path);
      // Meanwhile it may have been unenrolled.
      const isEnrolled = this.#options.pods().some((each) => each.cookie === cookie);
      if (state === undefined || !isEnrolled) return undefined;
      troubles.push(...this.#settle({ cookie, path, name, interfaces: state.interfaces }));
      return surveyed(state, describeLink(native, pins.guard(cookie))?.programId);
    });
  }

  async #lookAtNode(troubles: WeftError[]): Promise<void> {
    const { early, native } = this.#options;
    const path = early.hostNetns;
    const interfaces = (await readState(native, path))?.interfaces ?? [];
    troubles.push(...this.#settle({ cookie: NODE, path, name: "the node", interfaces }));
  }

  #settle(place: EarlyPlace): readonly WeftError[] {
    const maps = this.#options.maps();
    try {
      return maps === undefined ? [] : this.#options.early.settle(maps, place);
    } catch (error) {
      return [bpfAttachFailed("an early hook", place.name, error)];
    }
  }
}

/** undefined when the kernel does not say: there are none left to look at, or no memory. */
async function readState(native: Native, path: string): Promise<NetnsState | undefined> {
  return await native.readNetns(path).catch(() => undefined);
}

function surveyed(state: NetnsState, guard: number | undefined): Surveyed {
  const outward = state.interfaces.filter(({ type }) => type !== LOOPBACK);
  return {
    otherLookups: state.lookupPrograms.filter((id) => id !== guard).length,
    forwards: (state.forwardsIpv4 || state.forwardsIpv6) && outward.length > 1,
    addresses: outward.flatMap(({ addresses }) => addresses),
  };
}
