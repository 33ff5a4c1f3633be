// Owns the names of subsystems and levels, and the text that sets them. Must not know the logger.

export const SUBSYSTEMS = ["main", "xds", "model", "compile", "bpf", "telemetry", "admin", "kube"] as const;
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

export function asLevel(text: string): LogLevel | undefined {
  return LOG_LEVELS.find((level) => level === text);
}

export function asSubsystem(text: string): Subsystem | undefined {
  return SUBSYSTEMS.find((subsystem) => subsystem === text);
}

export function unknownSubsystem(name: string): string {
  return `"${name}" is no subsystem: use ${ALL_SUBSYSTEMS} or one of ${SUBSYSTEMS.join(", ")}`;
}
