// Owns the memory of who has lately connected, or tried to, to which pod and port, as far as records told of it.
// Must not know what it is asked for.

import { type AccessRecord, NODE_NAME } from "./record.js";

/** Pairs that are remembered; the one that was seen the longest ago goes first. */
const MOST = 8192;

export interface SeenConnection {
  /** Canonical text. */
  readonly source: string;
  readonly destination: string;
  /** The pod's own. */
  readonly port: number;
}

export class SeenConnections {
  /** By both ends, the one seen last at the end. */
  readonly #seen = new Map<string, SeenConnection>();
  #since: Date | undefined;

  /** When the first record of all came; undefined while there was none. */
  get since(): Date | undefined {
    return this.#since;
  }

  note(
    record: Pick<AccessRecord, "direction" | "sourceWorkload" | "sourceAddress" | "destinationAddress">,
  ): void {
    if (record.direction !== "INBOUND" || record.sourceWorkload === NODE_NAME) return;
    this.#since ??= new Date();
    const { host: source } = splitAddress(record.sourceAddress);
    const key = `${source} ${record.destinationAddress}`;
    const known = this.#seen.get(key);
    this.#seen.delete(key);
    const { host: destination, port } = splitAddress(record.destinationAddress);
    this.#seen.set(key, known ?? { source, destination, port });
    if (this.#seen.size <= MOST) return;
    for (const oldest of this.#seen.keys()) {
      this.#seen.delete(oldest);
      return;
    }
  }

  values(): Iterable<SeenConnection> {
    return this.#seen.values();
  }
}

/** `10.0.0.1:80` or `[fd00::1]:80`, as records have it. */
function splitAddress(text: string): { host: string; port: number } {
  const colon = text.lastIndexOf(":");
  const host = text.slice(0, colon);
  return { host: host.startsWith("[") ? host.slice(1, -1) : host, port: Number(text.slice(colon + 1)) };
}
