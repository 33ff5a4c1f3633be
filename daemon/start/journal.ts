// Owns where events are kept, and what of the control plane is one. Must not know who reads them.

import type { Logger } from "../base/log.js";
import type { OpenParts } from "../base/open-parts.js";
import type { Config } from "../config/schema.js";
import type { TellEvent } from "../events/event.js";
import { Journal, journalIn } from "../events/journal.js";

/** Its file is beside the snapshot's; without a directory events are kept in memory only. */
export function openJournal(
  { stateDir }: Pick<Config, "stateDir">,
  version: string,
  log: Logger,
  open: OpenParts,
): Journal {
  const file = stateDir === undefined ? undefined : journalIn(stateDir);
  const journal = new Journal({ file, log });
  open.add(() => journal.close());
  journal.tell({ type: "daemon", subject: "", what: "started", text: `weftd ${version} started` });
  open.add(() => journal.tell({ type: "daemon", subject: "", what: "stopped", text: "weftd stops" }));
  return journal;
}

interface PlaneListeners {
  onConnection(connected: boolean, error: string | null): void;
  onRejected(type: string, reason: string): void;
}

/** What a client of the control plane calls, told as events. */
export function planeEvents(address: string, tell: TellEvent): PlaneListeners {
  let isAway: boolean | undefined;
  const type = "control-plane";
  return {
    onConnection(connected, error) {
      // A stream that ends as it does from time to time, and is followed by another, is nothing to tell.
      if (connected && isAway !== false)
        tell({ type, subject: address, what: "connected", text: `the control plane ${address} is there` });
      else if (!connected)
        tell({ type, subject: address, what: "away", text: error ?? "no reason is known" });
      isAway = !connected;
    },
    onRejected(resources, reason) {
      const text = `${resources}: resources refused: ${reason}`;
      tell({ type: "nack", subject: resources, what: "refused", text });
    },
  };
}
