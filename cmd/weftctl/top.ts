// Owns `weftctl top`: who talks to whom, since counting began or from look to look.

import { setTimeout as sleep } from "node:timers/promises";
import { api } from "../../daemon/admin/api.js";
import type { PairResponse } from "../../daemon/admin/traffic-answers.js";
import { parseDuration } from "../../daemon/base/parse.js";
import type { Context } from "./context.js";
import { CommandFailure, ExitCode } from "./failure.js";
import type { Column } from "./output.js";

export const SORTS = ["connections", "bytes", "failed", "denied"] as const;
type Sort = (typeof SORTS)[number];

export interface TopOptions {
  readonly once?: boolean;
  readonly interval?: string;
  readonly namespace?: string;
  readonly sort: Sort;
  readonly limit: string;
}

const USUAL_INTERVAL = "2s";

/** What one workload did with another: sums, or what a second gained. */
interface Talk {
  readonly source: string;
  readonly destination: string;
  readonly service: string;
  readonly connections: number;
  /** Bytes of requests and of responses. */
  readonly received: number;
  readonly sent: number;
  /** Connects that did not succeed, denials left out. */
  readonly failed: number;
  readonly denied: number;
}

interface Chosen {
  readonly namespace: string | undefined;
  readonly sort: Sort;
  readonly limit: number;
}

/** Sums with --once; rates with --interval, again and again without --once. */
export async function top(context: Context, options: TopOptions): Promise<void> {
  const { client, out } = context;
  const interval = parseDuration(options.interval ?? USUAL_INTERVAL);
  if (!interval.ok) throw new CommandFailure(interval.reason, ExitCode.usage);
  if (!/^\d{1,6}$/.test(options.limit)) throw new CommandFailure("--limit takes a number", ExitCode.usage);
  if (out.format === "yaml" && !options.once)
    throw new CommandFailure("with -o yaml use --once", ExitCode.usage);
  const chosen = { namespace: options.namespace, sort: options.sort, limit: Number(options.limit) };
  if (options.once && options.interval === undefined) {
    const { at, pairs } = await client.call(api.traffic);
    const talks = select(talksOf(pairs), chosen);
    out.data({ at, seconds: null, talks }, () => out.table(SUMS, talks, NOBODY));
    return;
  }
  await watch(context, interval.value, chosen, options.once === true);
}

async function watch(
  { client, out, interruption, isTerminal }: Context,
  ms: number,
  chosen: Chosen,
  once: boolean,
): Promise<void> {
  const signal = interruption();
  let before = await client.call(api.traffic);
  do {
    await sleep(ms, undefined, { signal }).catch(() => undefined);
    if (signal.aborted) return;
    const now = await client.call(api.traffic);
    const seconds = Math.max(0.001, (Date.parse(now.at) - Date.parse(before.at)) / 1000);
    const talks = select(rates(talksOf(before.pairs), talksOf(now.pairs), seconds), chosen);
    const answer = { at: now.at, seconds, talks };
    before = now;
    // One line an answer, for programs that read as it goes.
    if (out.format === "json" && !once) out.piece(`${JSON.stringify(answer)}\n`);
    else {
      if (isTerminal && !once) out.clear();
      out.data(answer, () => `${now.at}, a second\n${out.table(RATES, talks, NOBODY)}`);
    }
  } while (!once);
}

const NOBODY = "nobody talks to anybody";

const ends: readonly Column<Talk>[] = [
  { title: "FROM", value: ({ source }) => source },
  { title: "TO", value: ({ destination }) => destination },
  { title: "SERVICE", value: ({ service }) => service, wide: true },
];
const columns = (shown: (value: number) => string): readonly Column<Talk>[] => [
  ...ends,
  { title: "CONNECTIONS", value: ({ connections }) => shown(connections), right: true },
  { title: "REQUESTS", value: ({ received }) => bytes(received), right: true },
  { title: "RESPONSES", value: ({ sent }) => bytes(sent), right: true },
  {
    title: "FAILED",
    value: ({ failed }) => shown(failed),
    right: true,
    paint: ({ failed }) => (failed > 0 ? "yellow" : undefined),
  },
  {
    title: "DENIED",
    value: ({ denied }) => shown(denied),
    right: true,
    paint: ({ denied }) => (denied > 0 ? "red" : undefined),
  },
];
const SUMS = columns(String);
const RATES = columns((value) => value.toFixed(value < 10 ? 1 : 0));

/** `1.5 kB`: powers of ten. */
export function bytes(count: number): string {
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let value = count;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${unit === 0 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

/**
 * One row for each source and destination. Where both ends are of this node, connections and bytes are the source's,
 * which knows the service; what the destination denied is a failure of the source's too, and is told as a denial only.
 */
function talksOf(pairs: readonly PairResponse[]): Talk[] {
  const byEnds = new Map<string, { source: PairResponse[]; destination: PairResponse[] }>();
  for (const pair of pairs) {
    const key = JSON.stringify([pair.source, pair.destination]);
    const held = byEnds.get(key) ?? { source: [], destination: [] };
    held[pair.reporter].push(pair);
    byEnds.set(key, held);
  }
  return [...byEnds.values()].map(({ source, destination }) => talkOf(source, destination));
}

function talkOf(source: readonly PairResponse[], destination: readonly PairResponse[]): Talk {
  const told = source.length > 0 ? source : destination;
  const all = [...source, ...destination];
  const sum = (of: readonly PairResponse[], count: "opened" | "received" | "sent" | "failed" | "denied") =>
    of.reduce((total, pair) => total + pair[count], 0);
  const denied = sum(all, "denied");
  const [first] = told;
  const services = new Set(told.map(({ service }) => service.name).filter((name) => name !== "-"));
  return {
    source: nameOf(first?.source),
    destination: nameOf(first?.destination),
    service: [...services].join(" ") || "-",
    connections: sum(told, "opened"),
    received: sum(told, "received"),
    sent: sum(told, "sent"),
    failed: Math.max(0, sum(told, "failed") - denied),
    denied,
  };
}

function nameOf(end: PairResponse["source"] | undefined): string {
  if (end === undefined || end.workload === "-") return "unknown";
  return end.namespace === "-" ? end.workload : `${end.namespace}/${end.workload}`;
}

/** What each gained, a second; those that gained nothing are left out. */
function rates(before: readonly Talk[], now: readonly Talk[], seconds: number): Talk[] {
  const keyOf = ({ source, destination }: Talk) => JSON.stringify([source, destination]);
  const known = new Map(before.map((talk) => [keyOf(talk), talk]));
  return now.flatMap((talk) => {
    const former = known.get(keyOf(talk));
    // A counter that is less than it was began anew.
    const gain = (count: "connections" | "received" | "sent" | "failed" | "denied") => {
      const was = former?.[count] ?? 0;
      return (talk[count] >= was ? talk[count] - was : talk[count]) / seconds;
    };
    const [connections, received, sent] = [gain("connections"), gain("received"), gain("sent")];
    const [failed, denied] = [gain("failed"), gain("denied")];
    const isIdle = connections + received + sent + failed + denied === 0;
    return isIdle ? [] : [{ ...talk, connections, received, sent, failed, denied }];
  });
}

function select(talks: readonly Talk[], { namespace, sort, limit }: Chosen): Talk[] {
  const isOf = (name: string) => namespace === undefined || name.startsWith(`${namespace}/`);
  const measure = (talk: Talk) => (sort === "bytes" ? talk.received + talk.sent : talk[sort]);
  return talks
    .filter(({ source, destination }) => isOf(source) || isOf(destination))
    .sort((a, b) => measure(b) - measure(a) || (a.source < b.source ? -1 : 1))
    .slice(0, limit);
}
