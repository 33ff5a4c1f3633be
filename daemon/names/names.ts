// Owns what host names of endpoints stand for: asked while somebody wants them, as often as their records say.
// Must not know who wants a name, nor how DNS is spoken.

import type { Logger } from "../base/log.js";
import { canonicalAddress } from "../model/address.js";
import type { Answer, FamilyAnswer, Lookup } from "./lookup.js";

export interface NamesOptions {
  readonly lookup: Lookup;
  /** Names that stand for something else now, with their addresses: canonical texts, in a fixed order. */
  readonly onAnswers: (answers: ReadonlyMap<string, readonly string[]>) => void;
  readonly log: Logger;
}

/** Names asked for at once; the others wait. */
export const CONCURRENT = 16;
/** Milliseconds between two questions at least and at most, whatever the records' time to live. */
const FLOOR_MS = 5_000;
const CEILING_MS = 300_000;
/** After an answer without records, which has no time to live that node:dns tells. */
const EMPTY_MS = 30_000;
/** After a failure, doubled with each further one. */
const RETRY_MS = 5_000;
const RETRY_CEILING_MS = 60_000;
/** Answers are gathered for so long: at a start they come by the hundreds. */
const GATHER_MS = 20;
/** Addresses of a name that are used. */
const MAX_ADDRESSES = 64;

interface Name {
  readonly name: string;
  ipv4: readonly string[];
  ipv6: readonly string[];
  /** What was told last. */
  told: string;
  /** Questions in a row that failed. */
  failures: number;
  isAnswered: boolean;
  timer: NodeJS.Timeout | undefined;
}

export class Names {
  readonly #options: NamesOptions;
  readonly #names = new Map<string, Name>();
  /** Waiting for their turn, in order. */
  readonly #due = new Set<Name>();
  #asking = 0;
  #answers = new Map<string, readonly string[]>();
  #gathering: NodeJS.Timeout | undefined;
  /** Called when every name has had its first answer or failure. */
  #settled: (() => void)[] = [];

  constructor(options: NamesOptions) {
    this.#options = options;
  }

  /** Names of which nobody knows now what they stand for, with why not. */
  readonly failing = new Map<string, string>();

  /** These are wanted from now on, and no others. */
  want(wanted: Iterable<string>): void {
    const gone = new Set(this.#names.keys());
    for (const name of wanted) {
      if (gone.delete(name) || this.#names.has(name)) continue;
      const entry: Name = {
        name,
        ipv4: [],
        ipv6: [],
        told: "",
        failures: 0,
        isAnswered: false,
        timer: undefined,
      };
      this.#names.set(name, entry);
      this.#due.add(entry);
    }
    for (const name of gone) this.#drop(name);
    this.#next();
    this.#tellSettled();
  }

  /** Resolves when every name has been asked for once, and its answer told, or the time is up. */
  async settled(milliseconds: number): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    await new Promise<void>((resolve) => {
      timer = setTimeout(resolve, milliseconds);
      this.#settled.push(resolve);
      this.#tellSettled();
    });
    clearTimeout(timer);
  }

  stop(): void {
    for (const name of [...this.#names.keys()]) this.#drop(name);
    clearTimeout(this.#gathering);
    this.#tellSettled();
  }

  #drop(name: string): void {
    const entry = this.#names.get(name);
    if (entry === undefined) return;
    clearTimeout(entry.timer);
    this.#due.delete(entry);
    this.#names.delete(name);
    this.#answers.delete(name);
    this.failing.delete(name);
  }

  #isWanted(entry: Name): boolean {
    return this.#names.get(entry.name) === entry;
  }

  /** Asks for what is due, as far as there is room. */
  #next(): void {
    for (const entry of this.#due) {
      if (this.#asking >= CONCURRENT) return;
      this.#due.delete(entry);
      this.#asking++;
      void this.#ask(entry).finally(() => {
        this.#asking--;
        this.#next();
      });
    }
  }

  async #ask(entry: Name): Promise<void> {
    const answer = await this.#options.lookup(entry.name);
    // One that is not wanted any more, or was wanted anew meanwhile.
    if (!this.#isWanted(entry)) return;
    const wait = this.#take(entry, answer);
    entry.isAnswered = true;
    const later = () => {
      this.#due.add(entry);
      this.#next();
    };
    // Names that came together must not be asked for together for ever.
    entry.timer = setTimeout(later, wait * (1 + Math.random() / 10)).unref();
    this.#tellSettled();
  }

  /** Takes an answer in; gives the milliseconds until the next question. What failed leaves what was known. */
  #take(entry: Name, { ipv4, ipv6 }: Answer): number {
    if (ipv4.ok) entry.ipv4 = canonical(ipv4);
    if (ipv6.ok) entry.ipv6 = canonical(ipv6);
    this.#tell(entry);
    if (!ipv4.ok || !ipv6.ok) {
      this.#fail(entry, ipv4.ok ? ipv6 : ipv4);
      return Math.min(RETRY_MS * 2 ** entry.failures++, RETRY_CEILING_MS);
    }
    entry.failures = 0;
    if (this.failing.delete(entry.name) && this.failing.size === 0)
      this.#options.log.info("DNS answers for every host name of endpoints again");
    const [a, aaaa] = [ipv4.ttl, ipv6.ttl];
    const ttl = a === undefined || aaaa === undefined ? (a ?? aaaa) : Math.min(a, aaaa);
    return ttl === undefined ? EMPTY_MS : Math.min(Math.max(ttl * 1000, FLOOR_MS), CEILING_MS);
  }

  #fail({ name }: Name, answer: FamilyAnswer): void {
    const code = answer.ok ? "" : answer.code;
    const isFirst = this.failing.size === 0;
    this.failing.set(name, code);
    const message = "DNS does not answer for a host name of endpoints: what it stood for before holds";
    this.#options.log[isFirst ? "warn" : "debug"]({ name, code }, message);
  }

  #tell(entry: Name): void {
    const addresses = [...entry.ipv4, ...entry.ipv6];
    if (addresses.join() === entry.told) return;
    entry.told = addresses.join();
    this.#answers.set(entry.name, addresses);
    this.#gathering ??= setTimeout(() => this.#flush(), GATHER_MS).unref();
  }

  #flush(): void {
    clearTimeout(this.#gathering);
    this.#gathering = undefined;
    const answers = this.#answers;
    this.#answers = new Map();
    if (answers.size > 0) this.#options.onAnswers(answers);
  }

  #tellSettled(): void {
    if (this.#settled.length === 0) return;
    for (const { isAnswered } of this.#names.values()) if (!isAnswered) return;
    this.#flush();
    const settled = this.#settled;
    this.#settled = [];
    for (const resolve of settled) resolve();
  }
}

/** In a fixed order: servers turn theirs with every answer. */
function canonical({ addresses }: FamilyAnswer & { readonly ok: true }): readonly string[] {
  const texts = addresses.map(canonicalAddress).filter((address) => address !== undefined);
  return [...new Set(texts)].sort().slice(0, MAX_ADDRESSES);
}
