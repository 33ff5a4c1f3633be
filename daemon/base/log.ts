// Owns the daemon's own log: one logger a subsystem, their levels at run time.
// Must not know what is logged, nor the access log.

import { type DestinationStream, type Logger, pino, stdSerializers } from "pino";
import { causesOf, verifierLogOf, WeftError } from "./errors.js";
import { LineWriter } from "./line-writer.js";
import {
  ALL_SUBSYSTEMS,
  asLevel,
  asSubsystem,
  LOG_LEVELS,
  type LogLevel,
  type LogLevels,
  SUBSYSTEMS,
  type Subsystem,
  unknownSubsystem,
} from "./log-levels.js";
import { printable } from "./printable.js";

export type { Logger } from "pino";

export type LogFormat = "text" | "json";

export interface Logs {
  logger(subsystem: Subsystem): Logger;
  /** Every subsystem with its present level. */
  levels(): { name: Subsystem; level: LogLevel }[];
  /** `name` is a subsystem or `default` for all of them. */
  setLevel(name: string, level: string): { ok: true } | { ok: false; reason: string };
  /** Lines that reached the output, and that did not. */
  readonly lines: { readonly written: number; readonly dropped: number };
  /** Writes what waits; gives up on an output that is stuck. */
  close(): Promise<void>;
}

/** Where lines go, without their ends. */
export type LogOutput = Pick<LineWriter, "write" | "written" | "dropped" | "close">;

/** Makes the loggers. Lines go to standard error (standard output belongs to the access log) unless told otherwise. */
export function createLogs(options: { levels: LogLevels; format: LogFormat; output?: LogOutput }): Logs {
  const output = options.output ?? LineWriter.given("stderr");
  const isText = options.format === "text";
  const stream: DestinationStream = {
    write: (line) => output.write(isText ? textLine(line) : line.trimEnd()),
  };
  const root = pino(
    {
      base: null,
      serializers: { err: shownError },
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
      formatters: { level: (label) => ({ level: label }) },
    },
    stream,
  );
  const loggers = new Map<Subsystem, Logger>();
  for (const subsystem of SUBSYSTEMS) {
    const level = options.levels.subsystems.get(subsystem) ?? options.levels.default;
    loggers.set(subsystem, root.child({ subsystem }, { level }));
  }
  const get = (subsystem: Subsystem): Logger => loggers.get(subsystem) ?? root;
  return {
    logger: get,
    levels: () => SUBSYSTEMS.map((name) => ({ name, level: asLevel(get(name).level) ?? "info" })),
    setLevel(name, level) {
      const wanted = asLevel(level);
      if (wanted === undefined) {
        return { ok: false, reason: `"${level}" is no level: use one of ${LOG_LEVELS.join(", ")}` };
      }
      const subsystem = asSubsystem(name);
      if (subsystem === undefined && name !== ALL_SUBSYSTEMS)
        return { ok: false, reason: unknownSubsystem(name) };
      for (const each of subsystem === undefined ? SUBSYSTEMS : [subsystem]) get(each).level = wanted;
      return { ok: true };
    },
    lines: output,
    close: () => output.close(),
  };
}

/** Says at level debug, line by line, what the verifier said where it was the verifier that refused. */
export function logVerifier(log: Logger, error: WeftError): void {
  if (!log.isLevelEnabled("debug")) return;
  for (const line of verifierLogOf(error)?.trimEnd().split("\n") ?? []) log.debug(`verifier: ${line}`);
}

/** A failure that was expected needs no stack; all else is a fault of weft's own, and has one. */
function shownError(error: Error): object {
  if (!(error instanceof WeftError)) return stdSerializers.err(error);
  const causes = causesOf(error);
  return { code: error.code, message: error.message, ...(causes === "" ? {} : { cause: causes }) };
}

/** Turns a JSON line of pino into `TIME LEVEL subsystem message key=value ...`. */
function textLine(line: string): string {
  const { time, level, subsystem, msg, err, ...rest } = JSON.parse(line) as Record<string, unknown>;
  const fields = Object.entries(rest).map(([key, value]) => ` ${key}=${fieldText(value)}`);
  if (isRecord(err)) {
    if (err.code !== undefined) fields.push(` code=${fieldText(err.code)}`);
    if (err.cause !== undefined) fields.push(` cause=${fieldText(err.cause)}`);
    if (err.stack !== undefined) fields.push(` err=${fieldText(err.stack)}`);
  }
  const place = String(subsystem ?? "").padEnd(9);
  // What the control plane sends is in messages too.
  return printable(
    `${String(time)} ${String(level).toUpperCase().padEnd(5)} ${place} ${String(msg ?? "")}${fields.join("")}`,
  );
}

function fieldText(value: unknown): string {
  if (typeof value === "string" && /^[^\s"=]+$/.test(value)) return value;
  return JSON.stringify(value);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}
