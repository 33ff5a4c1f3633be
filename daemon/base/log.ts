// Owns the daemon's own log: one logger a subsystem, their levels at run time.
// Must not know what is logged, nor the access log.

import { type DestinationStream, destination, type Logger, pino } from "pino";

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

export type { Logger } from "pino";

export type LogFormat = "text" | "json";

export interface Logs {
  logger(subsystem: Subsystem): Logger;
  /** Every subsystem with its present level. */
  levels(): { name: Subsystem; level: LogLevel }[];
  /** `name` is a subsystem or `default` for all of them. */
  setLevel(name: string, level: string): { ok: true } | { ok: false; reason: string };
  flush(): void;
}

/**
 * Makes the loggers. Lines go to standard error (standard output belongs to the access log) unless another
 * `output` is given.
 */
export function createLogs(options: {
  levels: LogLevels;
  format: LogFormat;
  output?: DestinationStream;
}): Logs {
  const output = options.output ?? destination({ fd: 2, sync: true });
  const stream =
    options.format === "text" ? { write: (line: string) => output.write(textLine(line)) } : output;
  const root = pino(
    {
      base: null,
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
    flush: () => root.flush(),
  };
}

/** Turns a JSON line of pino into `TIME LEVEL subsystem message key=value ...`. */
function textLine(line: string): string {
  const { time, level, subsystem, msg, err, ...rest } = JSON.parse(line) as Record<string, unknown>;
  const fields = Object.entries(rest).map(([key, value]) => ` ${key}=${fieldText(value)}`);
  if (isRecord(err)) fields.push(` err=${fieldText(err.stack ?? err.message)}`);
  const place = String(subsystem ?? "").padEnd(9);
  return `${String(time)} ${String(level).toUpperCase().padEnd(5)} ${place} ${String(msg ?? "")}${fields.join("")}\n`;
}

function fieldText(value: unknown): string {
  if (typeof value === "string" && /^[^\s"=]+$/.test(value)) return value;
  return JSON.stringify(value);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}
