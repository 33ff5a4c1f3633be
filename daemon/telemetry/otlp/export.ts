// Owns what the daemon gives its OTLP thread: the page of metrics when it is asked for, and records, within bounds.
// Must not know OpenTelemetry: the thread alone loads it, where there is one.

import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { Counter, type Registry } from "prom-client";
import { messageOf } from "../../base/errors.js";
import type { Logger } from "../../base/log.js";
import { packageRoot } from "../../base/package-root.js";
import type { Piece } from "../exposition.js";
import type { AccessRecord } from "../record.js";
import type { FromThread, Signal, ThreadData, ToThread } from "./messages.js";

/** Records that wait for the thread at most; more are dropped and counted. */
const MOST_WAITING = 16_384;
/** Of one message, which is one export. */
const MOST_RECORDS = 1_024;
/** Exports of records under way at a time. */
const AT_A_TIME = 4;
/** Milliseconds that records are gathered for. */
const GATHER_MS = 200;
/** Milliseconds for the last export: a collector that is away must not keep the daemon from ending. */
const END_MS = 2_000;
/** Megabytes that the thread's heap may take, whatever it is given. */
const HEAP_MB = 512;

/** The thread, as far as it is used here. */
export interface Thread {
  postMessage(message: ToThread): void;
  on(event: "message", heard: (message: FromThread) => void): unknown;
  on(event: "error", heard: (error: Error) => void): unknown;
  once(event: "exit", heard: () => void): unknown;
  terminate(): Promise<unknown>;
}

/** Of a signal that is not exported at present. */
export interface ExportFailure {
  readonly signal: Signal;
  /** When it began. */
  readonly since: Date;
  /** The last of it. */
  readonly error: string;
}

export interface OtlpExportOptions {
  readonly thread: Thread;
  /** The page that Prometheus would be given. */
  readonly page: () => AsyncIterable<Piece>;
  /** Those that go anywhere. */
  readonly signals: readonly Signal[];
  readonly log: Logger;
}

/** Starts the thread. */
export function startThread(data: ThreadData): Thread {
  const file = join(packageRoot(), "dist", "daemon", "telemetry", "otlp", "thread.js");
  const thread = new Worker(file, {
    workerData: data,
    name: "otlp",
    resourceLimits: { maxOldGenerationSizeMb: HEAP_MB },
  });
  thread.unref();
  return thread as Thread;
}

export class OtlpExport {
  readonly #options: OtlpExportOptions;
  readonly #counts = { metrics: { sent: 0, failed: 0 }, logs: { sent: 0, failed: 0, dropped: 0 } };
  /** Absent while it gets through. */
  readonly #failures = new Map<Signal, ExportFailure>();
  readonly #ended: Promise<void>;
  #waiting: AccessRecord[] = [];
  #underWay = 0;
  #timer: NodeJS.Timeout | undefined;
  #isOver = false;

  constructor(options: OtlpExportOptions) {
    this.#options = options;
    const { thread, log } = options;
    thread.on("message", (message) => this.#hear(message));
    thread.on("error", (error) => {
      log.error({ err: error }, "the OTLP thread has ended: nothing is exported");
      for (const signal of options.signals) this.#fail(signal, `the OTLP thread has ended: ${error.message}`);
    });
    this.#ended = new Promise((resolve) => {
      thread.once("exit", () => {
        this.#isOver = true;
        this.#counts.logs.dropped += this.#waiting.splice(0).length;
        resolve();
      });
    });
  }

  get failures(): readonly ExportFailure[] {
    return [...this.#failures.values()];
  }

  /** Adds what became of data points and records to the metrics. */
  count(registry: Registry): void {
    const counts = this.#counts;
    new Counter({
      name: "weft_otlp_exported_total",
      help: "Data points and access log records that were exported by OTLP (sent), that the collector did not take (failed), and that were too many to wait (dropped)",
      labelNames: ["signal", "result"],
      registers: [registry],
      collect() {
        this.reset();
        for (const [signal, results] of Object.entries(counts))
          for (const [result, count] of Object.entries(results)) this.inc({ signal, result }, count);
      },
    });
  }

  /** Takes a record that the access log writes. */
  offer(record: AccessRecord): void {
    if (!this.#options.signals.includes("logs")) return;
    if (this.#isOver || this.#waiting.length >= MOST_WAITING) {
      this.#counts.logs.dropped++;
      return;
    }
    this.#waiting.push(record);
    if (this.#waiting.length >= MOST_RECORDS) this.#send();
    else this.#timer ??= setTimeout(() => this.#send(), GATHER_MS);
  }

  /** Exports the rest, for as long as that may take. */
  async close(): Promise<void> {
    const { thread } = this.#options;
    clearTimeout(this.#timer);
    if (!this.#isOver) {
      if (this.#waiting.length > 0) thread.postMessage({ kind: "records", records: this.#waiting.splice(0) });
      thread.postMessage({ kind: "end" });
    }
    const patience = setTimeout(() => void thread.terminate(), END_MS);
    await this.#ended;
    clearTimeout(patience);
  }

  #send(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    while (this.#waiting.length > 0 && this.#underWay < AT_A_TIME) {
      this.#underWay++;
      this.#options.thread.postMessage({
        kind: "records",
        records: this.#waiting.splice(0, MOST_RECORDS),
      });
    }
  }

  #hear(message: FromThread): void {
    if (message.kind === "page") {
      void this.#givePage();
      return;
    }
    const { signal, count, error } = message;
    this.#counts[signal][error === undefined ? "sent" : "failed"] += count;
    this.#tell(signal, error);
    if (signal === "metrics") return;
    this.#underWay--;
    this.#send();
  }

  async #givePage(): Promise<void> {
    const { thread, page, log } = this.#options;
    try {
      for await (const piece of page())
        if (piece.length > 0) thread.postMessage({ kind: "piece", text: piece.toString() });
    } catch (error) {
      log.error(`the page of metrics could not be exported: ${messageOf(error)}`);
    }
    thread.postMessage({ kind: "whole" });
  }

  /** Once when it begins and once when it ends. */
  #tell(signal: Signal, error: string | undefined): void {
    const { log } = this.#options;
    if (error === undefined) {
      if (this.#failures.delete(signal))
        log.info({ signal }, "the OTLP collector takes what is exported again");
      return;
    }
    if (!this.#failures.has(signal))
      log.error({ signal }, `the OTLP collector did not take what was exported: ${error}`);
    this.#fail(signal, error);
  }

  #fail(signal: Signal, error: string): void {
    const since = this.#failures.get(signal)?.since ?? new Date();
    this.#failures.set(signal, { signal, since, error });
  }
}
