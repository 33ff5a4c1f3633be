// Owns the shape of the answers about traffic and about pods that are not governed.
// Must not know how an answer comes about.

import * as z from "zod";
import { type Of, text } from "./answers.js";

const end = z.object({ namespace: z.string(), workload: text("`-`: nobody knows its name") });

const pair = z.object({
  reporter: z.enum(["source", "destination"]).describe("whose end was counted"),
  source: end,
  destination: end,
  service: z.object({ namespace: z.string(), name: text("host name; `-`: none") }),
  opened: z.number(),
  closed: z.number(),
  failed: z.number().describe("connects that did not succeed, denials included"),
  denied: z.number().describe("by a policy here"),
  sent: z.number().describe("bytes of responses"),
  received: z.number().describe("bytes of requests"),
});
export type PairResponse = Of<typeof pair>;

export const traffic = z.object({
  at: text("RFC 3339"),
  pairs: z
    .array(pair)
    .describe("sums since counting began: what two answers differ by happened between them"),
});

const ungovernedPod = z.object({
  pod: text("namespace/name"),
  workload: z.string().nullable().describe("uid; null while the control plane has not named it"),
  why: text("a clause"),
});
export type UngovernedPod = Of<typeof ungovernedPod>;

export const ungoverned = z.object({
  governed: z.int().describe("pods of which nothing is wrong"),
  pods: z.array(ungovernedPod).describe("not governed, or not wholly, and why"),
});

export const workloadMetrics = z.object({ enabled: z.boolean() });

export const connectionMetrics = z.object({
  enabled: z.boolean(),
  shown: z.int().describe("open connections that have series of their own"),
  omitted: z.int().describe("those that there is no room for under `metrics-max-series`"),
});
export type ConnectionMetricsStatus = Of<typeof connectionMetrics>;

export const monitoring = z.object({
  accessLog: z.boolean(),
  workloadMetrics: z.boolean(),
  connectionMetrics: z.boolean(),
});
export type MonitoringStatus = Of<typeof monitoring>;
