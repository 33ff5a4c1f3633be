// Owns what the daemon and its OTLP thread say to each other. Must not know who exports how.

import type { AccessRecord } from "../record.js";

export type Signal = "metrics" | "logs";
export type Protocol = "http/protobuf" | "grpc";

/** What the thread begins with. */
export interface ThreadData {
  readonly protocol: Protocol;
  /** Where each signal goes; absent: nowhere. */
  readonly endpoints: Readonly<Partial<Record<Signal, string>>>;
  /** Milliseconds from one export of metrics to the next, and until one is given up. */
  readonly intervalMs: number;
  readonly timeoutMs: number;
  /** OpenTelemetry's attributes of whom all of it is about. */
  readonly resource: Readonly<Record<string, string>>;
  readonly version: string;
}

/** Pieces of the page of metrics, and its end; records; the last word. */
export type ToThread =
  | { readonly kind: "piece"; readonly text: string }
  | { readonly kind: "whole" }
  | { readonly kind: "records"; readonly records: readonly AccessRecord[] }
  | { readonly kind: "end" };

/** `page`: the page of metrics is wanted. `exported`: so many data points or records were taken, or were not. */
export type FromThread =
  | { readonly kind: "page" }
  | { readonly kind: "exported"; readonly signal: Signal; readonly count: number; readonly error?: string };
