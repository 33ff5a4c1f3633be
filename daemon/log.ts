// Owns the daemon's own log: one logger a subsystem, their levels at run time.
// Must not know what is logged, nor the access log.

import { type DestinationStream, destination, type Logger, pino } from "pino";

export type { Logger } from "pino";

export const SUBSYSTEMS = ["main", "xds", "model", "compile", "bpf", "telemetry", "admin"] as const;
export type Subsystem = (typeof SUBSYSTEMS)[number];

export const LOG_LEVELS = ["trace", "debug", "info", "warn", "error", "fatal", "silent"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** Names every subsystem at once where a subsystem is asked for. */
export const ALL_SUBSYSTEMS = "default";

/** A level for all, and those of single subsystems that differ. */
export interface LogLevels {
  readonly default: LogLevel;
  readonly subsystems: ReadonlyMap<Subsystem, LogLevel>;
}

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
 * Reads `info`, `xds:debug` or `warn,xds:debug,bpf:trace`. Without a level for all it is `info`.
 */
export function parseLogLevels(
  text: string,
): { ok: true; levels: LogLevels } | { ok: false; reason: string } {
  let base: LogLevel = "info";
  const subsystems = new Map<Subsystem, LogLevel>();
  for (const part of text.split(",").map((piece) => piece.trim())) {
    const colon = part.indexOf(":");
    const name = colon === -1 ? ALL_SUBSYSTEMS : part.slice(0, colon);
    const level = asLevel(part.slice(colon + 1));
    if (level === undefined) {
      return { ok: false, reason: `"${part}" names no level: use one of ${LOG_LEVELS.join(", ")}` };
    }
    const subsystem = asSubsystem(name);
    if (subsystem !== undefined) subsystems.set(subsystem, level);
    else if (name === ALL_SUBSYSTEMS) base = level;
    else return { ok: false, reason: unknownSubsystem(name) };
  }
  return { ok: true, levels: { default: base, subsystems } };
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

function asLevel(text: string): LogLevel | undefined {
  return LOG_LEVELS.find((level) => level === text);
}

function asSubsystem(text: string): Subsystem | undefined {
  return SUBSYSTEMS.find((subsystem) => subsystem === text);
}

function unknownSubsystem(name: string): string {
  return `"${name}" is no subsystem: use ${ALL_SUBSYSTEMS} or one of ${SUBSYSTEMS.join(", ")}`;
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
