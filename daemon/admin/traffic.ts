// Owns who talks to whom, as the page of metrics has it: its traffic families, summed by source and destination.
// Must not know how the counters are kept, nor HTTP.

import { labelsIn, type Piece } from "../telemetry/exposition.js";
import type { PairResponse } from "./traffic-answers.js";

type Count = "opened" | "closed" | "failed" | "sent" | "received";

/** Families of the page that are looked at. */
const FAMILIES: Readonly<Record<string, Count>> = {
  kmesh_tcp_connections_opened_total: "opened",
  kmesh_tcp_connections_closed_total: "closed",
  kmesh_tcp_connections_failed_total: "failed",
  kmesh_tcp_sent_bytes_total: "sent",
  kmesh_tcp_received_bytes_total: "received",
};
const PREFIX = "kmesh_tcp_";

type Writable<T> = { -readonly [K in keyof T]: T[K] };

/** Sums a page in the text format, given in pieces that may end anywhere; in the order of their first appearance. */
export async function pairsOf(page: AsyncIterable<Piece> | Iterable<Piece>): Promise<PairResponse[]> {
  const pairs = new Map<string, Writable<PairResponse>>();
  let rest = "";
  for await (const piece of page) {
    const lines = (rest + piece.toString()).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) if (line.startsWith(PREFIX)) addLine(pairs, line);
  }
  return [...pairs.values()];
}

function addLine(pairs: Map<string, Writable<PairResponse>>, line: string): void {
  const brace = line.indexOf("{");
  const end = line.lastIndexOf("} ");
  const count = FAMILIES[line.slice(0, brace)];
  if (count === undefined || end < brace) return;
  const labels = labelsIn(line.slice(brace + 1, end));
  const value = Number(line.slice(end + 2));
  if (!Number.isFinite(value)) return;
  const pair = pairFor(pairs, labels);
  pair[count] += value;
  if (count === "failed" && labels.get("response_flags") === "DENY") pair.denied += value;
}

function pairFor(
  pairs: Map<string, Writable<PairResponse>>,
  labels: ReadonlyMap<string, string>,
): Writable<PairResponse> {
  const text = (name: string) => labels.get(name) ?? "-";
  const end = (side: "source" | "destination") => ({
    namespace: text(`${side}_workload_namespace`),
    workload: text(`${side}_workload`),
  });
  const service = { namespace: text("destination_service_namespace"), name: text("destination_service") };
  const reporter = text("reporter") === "source" ? ("source" as const) : ("destination" as const);
  const from = end("source");
  const to = end("destination");
  const key = JSON.stringify([reporter, from, to, service]);
  const known = pairs.get(key);
  if (known !== undefined) return known;
  const nothing = { opened: 0, closed: 0, failed: 0, denied: 0, sent: 0, received: 0 };
  const made = { reporter, source: from, destination: to, service, ...nothing };
  pairs.set(key, made);
  return made;
}
