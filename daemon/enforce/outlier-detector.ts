// Owns the decision which endpoints are set aside, for how long, and when they are back. Pure: the time is given.
// Must not know how failures are seen, which of them count, nor what is done with an endpoint that is set aside.

import type { AsideEndpoint } from "../model/aside.js";

export interface OutlierLimits {
  /** Failures in a row that set an endpoint aside. */
  readonly consecutive: number;
  /** Milliseconds for the first time; the n-th time it is n times as long. */
  readonly baseMs: number;
  /** Milliseconds at most. */
  readonly mostMs: number;
}

/** Pods of which at least so many must see an endpoint fail: one alone may be what fails. */
const WITNESSES = 2;

/** Milliseconds for which a row of failures is remembered after its last one. */
const FORGET_MS = 10 * 60_000;

/** Milliseconds after a failure for which one waits to see whether the pod reaches others. */
const WITNESS_MS = 2_000;

/** A connect that failed. */
export interface Failure {
  /** Of the pod that connected. */
  readonly source: bigint;
  /** Id of the service that led there. */
  readonly service: number;
  /** True: it was refused; false: there was no answer. */
  readonly refused: boolean;
  /** When it failed, CLOCK_MONOTONIC in nanoseconds. */
  readonly atNs: bigint;
}

/** Why an endpoint is back: its time is up, it was reached, or what was seen of it holds no more. */
export type Return = "time" | "reached" | "changed";

/** An endpoint that is set aside. */
export interface SetAside extends AsideEndpoint {
  readonly cause: "refused" | "unanswered" | "both";
  /** In the row that set it aside, and the pods that saw them. */
  readonly failures: number;
  readonly sources: number;
  /** How often it was set aside, this time included; less the longer it was well between. */
  readonly times: number;
  /** Milliseconds of the detector's time. */
  readonly since: number;
  readonly until: number;
}

interface Seen {
  failures: number;
  readonly sinceNs: bigint;
  readonly service: number;
}

/** Failures since the endpoint was last reached. */
interface Row {
  readonly sources: Map<bigint, Seen>;
  refused: number;
  unanswered: number;
}

interface Held {
  readonly endpoint: AsideEndpoint;
  row: Row;
  aside: SetAside | undefined;
  times: number;
  /** When it was last heard of. */
  at: number;
  /** Enough have failed; it is not known yet whether they reach others. */
  wantsWitnesses: boolean;
  backAt: number;
}

export class OutlierDetector {
  readonly #limits: OutlierLimits;
  readonly #reachedNs: (source: bigint, service: number) => bigint;
  readonly #held = new Map<string, Held>();
  #forgetAt = 0;
  /** How often endpoints were set aside, and came back. */
  readonly counts: Record<"set_aside" | Return, number> = { set_aside: 0, time: 0, reached: 0, changed: 0 };

  /**
   * `reachedNs`: when a source that has failed last reached some endpoint of a service, CLOCK_MONOTONIC in
   * nanoseconds; 0: not since it failed.
   */
  constructor(limits: OutlierLimits, reachedNs: (source: bigint, service: number) => bigint) {
    this.#limits = limits;
    this.#reachedNs = reachedNs;
  }

  /** Endpoints that are set aside, in the order in which they were. */
  get aside(): readonly SetAside[] {
    const all = [...this.#held.values()].map(({ aside }) => aside).filter((aside) => aside !== undefined);
    return all.sort((a, b) => a.since - b.since);
  }

  /** When the next endpoint's time is up, undefined: none is set aside. */
  get due(): number | undefined {
    const ends = this.aside.map(({ until }) => until);
    return ends.length === 0 ? undefined : Math.min(...ends);
  }

  /** Takes a failure in; the endpoint, if that sets it aside. */
  failed(endpoint: AsideEndpoint, failure: Failure, now: number): SetAside | undefined {
    this.#forget(now);
    const held = this.#hold(endpoint, now);
    if (held.aside !== undefined) return undefined;
    held.at = now;
    const { row } = held;
    if (failure.refused) row.refused++;
    else row.unanswered++;
    const seen = row.sources.get(failure.source);
    if (seen === undefined)
      row.sources.set(failure.source, { failures: 1, sinceNs: failure.atNs, service: failure.service });
    else seen.failures++;
    return this.#judge(held, now);
  }

  /**
   * Looks again whether those who have failed lately reach others. To be called soon and again while it says so.
   */
  lookAgain(now: number): { readonly aside: SetAside[]; readonly again: boolean } {
    const isOpen = ({ wantsWitnesses, at }: Held) => wantsWitnesses && now - at < WITNESS_MS;
    const aside = this.#each((held) => (isOpen(held) ? this.#judge(held, now) : undefined));
    return { aside, again: [...this.#held.values()].some(isOpen) };
  }

  /** The endpoint was reached: what was seen before says nothing any more. */
  reached(endpoint: AsideEndpoint, now: number): SetAside | undefined {
    const held = this.#held.get(keyOf(endpoint));
    if (held === undefined) return undefined;
    this.#clear(held);
    return this.#bringBack(held, "reached", now);
  }

  /** Brings back those whose time is up. */
  pass(now: number): SetAside[] {
    return this.#each((held) => {
      const { aside } = held;
      return aside === undefined || aside.until > now ? undefined : this.#bringBack(held, "time", now);
    });
  }

  /** Forgets all of these workloads: they are others now. */
  forget(uids: ReadonlySet<string>): SetAside[] {
    return this.#each((held, key) => {
      if (!uids.has(held.endpoint.uid)) return undefined;
      this.#held.delete(key);
      return this.#bringBack(held, "changed", held.at);
    });
  }

  /** Takes back what refusals by these endpoints have led to: they may have been denials. */
  excuse(mayDeny: (uid: string) => boolean): SetAside[] {
    return this.#each((held) => {
      const { aside, row, endpoint } = held;
      const wasRefused = row.refused > 0 || (aside !== undefined && aside.cause !== "unanswered");
      if (!wasRefused || !mayDeny(endpoint.uid)) return undefined;
      this.#clear(held);
      held.times = Math.max(0, held.times - 1);
      return this.#bringBack(held, "changed", held.at);
    });
  }

  /** Sets it aside when enough witnesses have seen enough failures. */
  #judge(held: Held, now: number): SetAside | undefined {
    const { consecutive, baseMs, mostMs } = this.#limits;
    const { row, endpoint } = held;
    const all = [...row.sources.values()];
    if (row.sources.size < WITNESSES || sum(all) < consecutive) return undefined;
    held.wantsWitnesses = true;
    // Whoever reaches nobody is what fails, or is denied.
    const witnesses = [...row.sources].filter(
      ([source, { service, sinceNs }]) => this.#reachedNs(source, service) > sinceNs,
    );
    const failures = sum(witnesses.map(([, seen]) => seen));
    if (witnesses.length < WITNESSES || failures < consecutive) return undefined;
    const wellFor = Math.floor((now - held.backAt) / baseMs);
    held.times = Math.max(0, held.times - wellFor) + 1;
    const cause = row.refused === 0 ? "unanswered" : row.unanswered === 0 ? "refused" : "both";
    const until = now + Math.min(baseMs * held.times, Math.max(baseMs, mostMs));
    const aside = {
      ...endpoint,
      cause,
      failures,
      sources: witnesses.length,
      times: held.times,
      since: now,
      until,
    } as const;
    held.aside = aside;
    this.#clear(held);
    this.counts.set_aside++;
    return aside;
  }

  #clear(held: Held): void {
    held.row = emptyRow();
    held.wantsWitnesses = false;
  }

  #bringBack(held: Held, why: Return, now: number): SetAside | undefined {
    const { aside } = held;
    if (aside === undefined) return undefined;
    held.aside = undefined;
    held.at = now;
    held.backAt = now;
    this.counts[why]++;
    return aside;
  }

  #each(change: (held: Held, key: string) => SetAside | undefined): SetAside[] {
    const changed = [...this.#held].map(([key, held]) => change(held, key));
    return changed.filter((aside) => aside !== undefined);
  }

  #hold(endpoint: AsideEndpoint, now: number): Held {
    const key = keyOf(endpoint);
    const fresh = { endpoint, row: emptyRow(), aside: undefined, times: 0, at: now, backAt: now };
    const held = this.#held.get(key) ?? { ...fresh, wantsWitnesses: false };
    this.#held.set(key, held);
    return held;
  }

  #forget(now: number): void {
    if (now < this.#forgetAt) return;
    this.#forgetAt = now + FORGET_MS / 10;
    for (const [key, { aside, at }] of this.#held)
      if (aside === undefined && now - at > FORGET_MS) this.#held.delete(key);
  }
}

function emptyRow(): Row {
  return { sources: new Map(), refused: 0, unanswered: 0 };
}

function sum(seen: readonly Seen[]): number {
  return seen.reduce((total, { failures }) => total + failures, 0);
}

function keyOf({ uid, address, port }: AsideEndpoint): string {
  return `${uid} ${address} ${port}`;
}
