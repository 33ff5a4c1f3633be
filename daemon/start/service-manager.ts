// Owns what a service manager is told by sd_notify(3): started, alive, what is at hand, stopping.
// Must not know what readiness is made of.

import type { Native } from "../../native/index.js";
import type { ComponentStatus } from "../admin/answers.js";
import { messageOf } from "../base/errors.js";
import type { Logger } from "../base/log.js";

/** Milliseconds between two words of the state where no watchdog asks for more. */
const STATUS_MS = 10_000;

/**
 * Tells the manager that named itself in NOTIFY_SOCKET, if one did, and gives what tells it of the end. Started means
 * that the daemon serves: what it enforces comes from a control plane that may be away. The timer that feeds the
 * watchdog (WATCHDOG_USEC) runs in the event loop: one that is stuck feeds nothing, and is restarted.
 */
export function tellServiceManager(
  native: Pick<Native, "sendNotice">,
  environment: Readonly<Record<string, string | undefined>>,
  components: () => readonly ComponentStatus[],
  log: Logger,
): () => void {
  const { NOTIFY_SOCKET: socket } = environment;
  if (socket === undefined || socket === "") return () => undefined;
  let failure: string | undefined;
  const tell = (...lines: readonly string[]) => {
    try {
      native.sendNotice(socket, lines.join("\n"));
      failure = undefined;
    } catch (error) {
      const text = messageOf(error);
      if (text !== failure) log.warn(`the service manager cannot be told: ${text}`);
      failure = text;
    }
  };
  const watchdog = watchdogMilliseconds(environment);
  const beat = () => tell("WATCHDOG=1", `STATUS=${statusOf(components())}`);
  tell("READY=1", `STATUS=${statusOf(components())}`);
  // Twice in each time that it may be silent, as sd_watchdog_enabled(3) advises.
  const timer = setInterval(beat, watchdog === undefined ? STATUS_MS : watchdog / 2);
  return () => {
    clearInterval(timer);
    tell("STOPPING=1", "STATUS=stopping; the kernel goes on enforcing");
  };
}

/** undefined: none, or one for another process. */
function watchdogMilliseconds(environment: Readonly<Record<string, string | undefined>>): number | undefined {
  const { WATCHDOG_USEC: usec, WATCHDOG_PID: pid } = environment;
  const microseconds = /^\d{1,15}$/.test(usec ?? "") ? Number(usec) : 0;
  if (microseconds === 0 || (pid !== undefined && pid !== String(process.pid))) return undefined;
  return microseconds / 1000;
}

/** One line, as `systemctl status` shows it. */
function statusOf(components: readonly ComponentStatus[]): string {
  const waiting = components.filter(({ ready }) => !ready);
  if (waiting.length === 0) return "ready";
  return `not ready: ${waiting.map(({ name, detail }) => `${name}: ${detail}`).join("; ")}`;
}
