// Owns the links of the early hooks, tc or XDP, one an interface: which there are to be, and that there are no others.
// Must not know verdicts, nor when somebody looks.

import { type BpfLink, type BpfProgram, ETHERNET, type Native } from "../../native/index.js";
import { bpfAttachFailed, kernelLacks, type WeftError } from "../base/errors.js";
import type { AttachedHook } from "./attached-hooks.js";
import { type EarlyMaps, loadTcStub, loadXdpStub } from "./early-stub.js";
import { describeLink, isGone, removeLink } from "./guard-links.js";
import { EARLY_PROGRAMS, type EarlyHook } from "./hooks.js";
import { maps } from "./maps.gen.js";
import type { EarlyPin, EarlyPinKind, Pins } from "./pins.js";
import { hasTcx } from "./program-types.js";

const FIRST = maps.early_tc.key.encode(0);

export interface EarlyOptions {
  /** undefined: the guard alone. */
  readonly hook: EarlyHook | undefined;
  /** Interfaces of the node for XDP; none: those of the pods. */
  readonly interfaces: readonly string[];
  /** What XDP does with what it denies. */
  readonly resets: boolean;
  /** Path of the network namespace that the interfaces of the node are in. */
  readonly hostNetns: string;
}

export const NO_EARLY_HOOK: EarlyOptions = {
  hook: undefined,
  interfaces: [],
  resets: false,
  hostNetns: "/proc/self/ns/net",
};

/** As `status` calls them. */
const SHOWN: Readonly<Record<EarlyPinKind, string>> = {
  tc: "tc",
  "xdp-native": "xdp native",
  "xdp-generic": "xdp generic",
  "xdp-reset": "xdp generic",
};

/** The cookie that stands for the node. */
export const NODE = 0n;

/** A network namespace as it is now, whose interfaces are to have the hook. */
export interface EarlyPlace {
  /** SO_NETNS_COOKIE of a pod, or NODE. */
  readonly cookie: bigint;
  /** Leads to the namespace, whatever becomes of the path that the operator gave. */
  readonly path: string;
  /** As the operator calls it. */
  readonly name: string;
  readonly interfaces: readonly { readonly name: string; readonly index: number; readonly type: number }[];
}

export class EarlyHooks {
  readonly #native: Native;
  readonly #pins: Pins;
  readonly #options: EarlyOptions;
  /** The hook was asked for, and the kernel does not have it. */
  readonly lack: WeftError | undefined;
  /** What an interface is called, by the path of its pin. */
  readonly #names = new Map<string, string>();
  /** Interfaces that could not be hooked, by namespace. */
  readonly #troubles = new Map<bigint, readonly WeftError[]>();

  constructor(native: Native, pins: Pins, options: EarlyOptions) {
    this.#native = native;
    this.#pins = pins;
    this.#options = options;
    if (options.hook === "tc" && !hasTcx()) this.lack = tcxLacks();
  }

  /** Whether interfaces of the node are to have the hook, in place of the pods'. */
  get ofNode(): boolean {
    return this.#options.hook === "xdp" && this.#options.interfaces.length > 0;
  }

  /** Whether the interfaces of the pods are to have the hook, and can. */
  get onPods(): boolean {
    return this.#hookFor(1n) !== undefined;
  }

  get hostNetns(): string {
    return this.#options.hostNetns;
  }

  get troubles(): readonly WeftError[] {
    return [...this.#troubles.values()].flat();
  }

  /**
   * Brings the links of one namespace to what is wanted. Only while the program that its stubs call is there: they
   * drop everything where it is not. Tells what is new of what cannot be had.
   */
  settle(state: EarlyMaps, place: EarlyPlace): readonly WeftError[] {
    const hook = this.#hookFor(place.cookie);
    const wanted = hook === undefined || !isFilled(state, hook) ? [] : this.#wantedOf(place);
    const kept = this.#keep(hook, wanted, place);
    const known = new Set(this.#troubles.get(place.cookie)?.map(({ message }) => message));
    const troubles: WeftError[] = [];
    for (const each of wanted) {
      if (hook === undefined || kept.has(each.index)) continue;
      const trouble = this.#attach(state, hook, place, each);
      if (trouble !== undefined) troubles.push(trouble);
    }
    this.#troubles.set(place.cookie, troubles);
    return troubles.filter(({ message }) => !known.has(message));
  }

  /** Takes away what is not wanted of the namespace's links, and gives the interfaces of the others. */
  #keep(
    hook: EarlyHook | undefined,
    wanted: EarlyPlace["interfaces"],
    place: EarlyPlace,
  ): ReadonlySet<number> {
    const kept = new Set<number>();
    for (const pin of this.#pins.earlies()) {
      if (pin.cookie !== place.cookie) continue;
      const found = wanted.find(({ index }) => index === pin.index);
      if (found !== undefined && this.#fits(pin, hook) && this.#isAlive(pin)) {
        this.#names.set(pin.path, `${found.name} of ${place.name}`);
        kept.add(pin.index);
      } else this.#remove(pin);
    }
    return kept;
  }

  /** Takes the hook off a namespace. */
  detach(cookie: bigint): void {
    this.#troubles.delete(cookie);
    for (const pin of this.#pins.earlies()) if (pin.cookie === cookie) this.#remove(pin);
  }

  /** Takes away what is left of namespaces that are none of these. */
  keepOnly(cookies: ReadonlySet<bigint>): void {
    for (const { cookie } of this.#pins.earlies()) if (!cookies.has(cookie)) this.detach(cookie);
    for (const cookie of this.#troubles.keys()) if (!cookies.has(cookie)) this.#troubles.delete(cookie);
  }

  /** Those that are attached now. */
  attached(): AttachedHook[] {
    return this.#pins.earlies().flatMap(({ kind, index, path }) => {
      const link = describeLink(this.#native, path);
      // Its interface has gone, and settle() will find out.
      if (link?.ifindex === 0) return [];
      const { program } = EARLY_PROGRAMS[hookOf(kind)];
      return [{ hook: SHOWN[kind], program, target: this.#names.get(path) ?? `interface ${index}`, link }];
    });
  }

  #hookFor(cookie: bigint): EarlyHook | undefined {
    if (this.lack !== undefined || (cookie === NODE) !== this.ofNode) return undefined;
    return this.#options.hook;
  }

  #fits({ kind, cookie }: EarlyPin, hook: EarlyHook | undefined): boolean {
    return hookOf(kind) === hook && (kind === "xdp-reset") === (hook === "xdp" && this.#answers(cookie));
  }

  /** Whether XDP is to answer on an interface that is, as far as one knows, a veth. */
  #answers(cookie: bigint): boolean {
    return this.#options.resets && cookie !== NODE;
  }

  /** Frames of other kinds of interfaces do not begin with what the programs read. */
  #wantedOf({ cookie, interfaces }: EarlyPlace): EarlyPlace["interfaces"] {
    if (cookie !== NODE) return interfaces.filter(({ type }) => type === ETHERNET);
    return this.#options.interfaces.map(
      (name) => interfaces.find((each) => each.name === name) ?? { name, index: 0, type: ETHERNET },
    );
  }

  #isAlive({ path }: EarlyPin): boolean {
    return describeLink(this.#native, path)?.ifindex !== 0;
  }

  #remove({ path }: EarlyPin): void {
    this.#names.delete(path);
    removeLink(this.#native, this.#pins, path);
  }

  #attach(
    state: EarlyMaps,
    hook: EarlyHook,
    place: EarlyPlace,
    { name, index }: { readonly name: string; readonly index: number },
  ): WeftError | undefined {
    let made: { readonly kind: EarlyPinKind; readonly link: BpfLink } | undefined;
    try {
      const stub = loadEarlyStub(this.#native, state, hook, place.cookie);
      try {
        made = this.#link(stub, hook, place, name);
      } finally {
        stub.close();
      }
      const path = this.#pins.early(made.kind, place.cookie, index);
      made.link.pin(path);
      this.#names.set(path, `${name} of ${place.name}`);
      return undefined;
    } catch (error) {
      return bpfAttachFailed(hook, `${name} of ${place.name}`, error);
    } finally {
      made?.link.close();
    }
  }

  /**
   * XDP in the driver where it can be, else in the kernel. A RST that leaves a veth by its driver is lost unless the
   * other end polls, so that the pods' interfaces answer from the kernel.
   */
  #link(
    stub: BpfProgram,
    hook: EarlyHook,
    { cookie, path }: EarlyPlace,
    name: string,
  ): { readonly kind: EarlyPinKind; readonly link: BpfLink } {
    if (hook === "tc") return { kind: "tc", link: this.#native.linkTcx(stub, name, { netnsPath: path }) };
    const answers = this.#answers(cookie);
    if (!answers) {
      try {
        const link = this.#native.linkXdp(stub, name, { netnsPath: path, mode: "native" });
        return { kind: "xdp-native", link };
      } catch {
        // What stands in the way stands in the way of the other as well, unless it is the driver.
      }
    }
    return {
      kind: answers ? "xdp-reset" : "xdp-generic",
      link: this.#native.linkXdp(stub, name, { netnsPath: path, mode: "generic" }),
    };
  }
}

/** Puts a stub of this daemon behind every early link, whatever an earlier one had there. */
export function renewEarlyStubs(native: Native, pins: Pins, state: EarlyMaps): void {
  for (const { kind, cookie, path } of pins.earlies()) {
    const link = native.openPinnedLink(path);
    try {
      const stub = loadEarlyStub(native, state, hookOf(kind), cookie);
      try {
        link.update(stub);
      } finally {
        stub.close();
      }
    } catch (error) {
      if (!isGone(error)) throw error;
      pins.remove(path);
    } finally {
      link.close();
    }
  }
}

/** Pins of the links that pods have for this hook. */
export function earlyLinks(pins: Pins, hook: EarlyHook): string[] {
  return pins
    .earlies()
    .filter(({ kind }) => hookOf(kind) === hook)
    .map(({ path }) => path);
}

function loadEarlyStub(native: Native, state: EarlyMaps, hook: EarlyHook, cookie: bigint): BpfProgram {
  return hook === "tc" ? loadTcStub(native, state, cookie) : loadXdpStub(native, state, cookie);
}

function hookOf(kind: EarlyPinKind): EarlyHook {
  return kind === "tc" ? "tc" : "xdp";
}

function isFilled(state: EarlyMaps, hook: EarlyHook): boolean {
  return state[EARLY_PROGRAMS[hook].array].lookup(FIRST) !== undefined;
}

function tcxLacks(): WeftError {
  return kernelLacks(
    "tcx (Linux 6.6)",
    "there is no early hook, and what pods forward is not judged; --authz-hook xdp works here",
  );
}
