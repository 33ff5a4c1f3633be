// Owns a cluster that changes at random: which objects there are, and the next change, from a seed alone.
// Must not know who is told of it.

import { authorizationPolicy, endpointSlice, from, peerAuthentication, pod, service } from "./kubernetes.js";

/** Numbers from a seed, the same on every machine. */
export class Dice {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** A whole number in [0, limit). */
  below(limit: number): number {
    // A linear congruential generator (Numerical Recipes); its high bits are good enough for choosing.
    this.#state = (Math.imul(this.#state, 1664525) + 1013904223) >>> 0;
    return Math.floor((this.#state / 2 ** 32) * limit);
  }

  pick<T>(list: readonly T[]): T {
    const item = list[this.below(list.length)];
    if (item === undefined) throw new Error("picked from an empty list");
    return item;
  }

  shuffled<T>(list: readonly T[]): T[] {
    const left = [...list];
    return list.flatMap(() => left.splice(this.below(left.length), 1));
  }
}

const apps = ["red", "green", "blue"] as const;
const modes = ["STRICT", "PERMISSIVE"] as const;

/** One kind of object: how many may be there, and how one looks, drawn anew each time. */
interface Kind {
  readonly names: readonly string[];
  draw(name: string, dice: Dice): object;
}

const numbered = (prefix: string, count: number) => Array.from({ length: count }, (_, i) => `${prefix}-${i}`);

const kinds: readonly Kind[] = [
  {
    // More pods than addresses: some share one, and addresses wander.
    names: numbered("pod", 12),
    draw: (name, dice) => {
      const ip = `10.78.0.${1 + dice.below(9)}`;
      return pod(name, { app: dice.pick(apps), ip, ready: dice.below(4) > 0, account: dice.pick(apps) });
    },
  },
  {
    names: numbered("service", 5),
    draw: (name, dice) => {
      const ports = { [80 + dice.below(2)]: 8080 + dice.below(2), 443: 8443 };
      return service(name, { vip: `10.98.0.${1 + dice.below(5)}`, ports, app: dice.pick(apps) });
    },
  },
  {
    names: ["byhand"],
    draw: (name) => service(name, { vip: "10.98.1.1", ports: { 80: 8080 } }),
  },
  {
    names: ["byhand-1"],
    draw: (_, dice) => {
      const ips = Array.from({ length: dice.below(4) }, (_, i) => `10.79.0.${i + 1}`);
      return endpointSlice("byhand", 80, 8080 + dice.below(2), ips);
    },
  },
  {
    names: numbered("policy", 5),
    draw: (name, dice) => {
      const rules = dice.pick([
        [from(dice.pick(apps))],
        [from(dice.pick(apps), dice.pick(apps)), { to: [{ operation: { ports: ["8080"] } }] }],
        [{ from: [{ source: { ipBlocks: [`10.78.0.${8 * dice.below(4)}/29`] } }] }],
        [{ to: [{ operation: { methods: ["GET"] } }] }],
        [],
      ]);
      // Always for one app: policies of the namespace would also judge the pods that must stay as they are.
      return authorizationPolicy(name, { action: dice.pick(["ALLOW", "DENY"]), rules }, dice.pick(apps));
    },
  },
  {
    names: numbered("mtls", 2),
    draw: (name, dice) => peerAuthentication(name, dice.pick(modes), dice.pick(apps)),
  },
];

export type Verb = "apply" | "change" | "delete";

/** What exists, drawn from `kinds`. */
export class Population {
  readonly #there = new Map<string, { readonly kind: Kind; readonly object: object }>();

  constructor(readonly dice: Dice) {}

  /** One object more, another shape for one, or one less; undefined when there is none to be so treated. */
  next(verb: Verb): { readonly verb: "apply" | "delete"; readonly object: object } | undefined {
    const { dice } = this;
    if (verb === "apply") {
      const kind = dice.pick(kinds);
      const free = kind.names.filter((name) => !this.#there.has(name));
      return free.length === 0 ? undefined : this.#draw(kind, dice.pick(free));
    }
    if (this.#there.size === 0) return undefined;
    const [name, { kind, object }] = dice.pick([...this.#there]);
    if (verb === "change") return this.#draw(kind, name);
    this.#there.delete(name);
    return { verb, object };
  }

  #draw(kind: Kind, name: string): { verb: "apply"; object: object } {
    const object = kind.draw(name, this.dice);
    this.#there.set(name, { kind, object });
    return { verb: "apply", object };
  }
}
