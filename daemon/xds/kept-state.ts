// Owns which responses are kept in the snapshot and which are read back, and when it is tidied or begun anew.
// Must not know the file, nor what applying a response means.

import { setImmediate as nextTurn } from "node:timers/promises";
import type { DeltaStream } from "./delta-stream.js";
import type { PendingResponse } from "./pending-response.js";
import { RESOURCE_TYPES, type ResourceType } from "./resource.js";
import { openResponse } from "./response.js";
import type { Snapshot, SnapshotState } from "./snapshot.js";

/** Milliseconds between two marks of the time of contact, and between two looks whether the file is to be tidied. */
const ATTEND_MS = 30_000;

/** What the snapshot has to do with one client's streams. */
export class KeptState {
  readonly #snapshot: Snapshot;
  readonly #delta: DeltaStream;
  /** Types of which it holds nothing yet. */
  readonly #missing = new Set<ResourceType>(RESOURCE_TYPES);
  #contact: number | null = null;

  constructor(snapshot: Snapshot, delta: DeltaStream) {
    this.#snapshot = snapshot;
    this.#delta = delta;
  }

  get state(): SnapshotState {
    return this.#snapshot.state;
  }

  /** Unix milliseconds of the last contact of an earlier daemon; null where nothing of it is left. */
  get contact(): number | null {
    return this.#contact;
  }

  /** Hands over what an earlier daemon kept, each to be decoded, applied and settled. True: it is enough to govern. */
  async restore(take: (pending: PendingResponse) => Promise<void>): Promise<boolean> {
    const { responses, contact } = await this.#snapshot.restore();
    this.#contact = contact;
    for (const { bytes, complete } of responses) {
      // The reading has held the thread as long as one turn should.
      await nextTurn();
      const pending = this.#delta.beginKept(openResponse(bytes), complete);
      if (pending === undefined) continue;
      await take(pending);
      this.#missing.delete(pending.type);
    }
    return this.#missing.size === 0;
  }

  /** Keeps a response that was decoded, where it says something new, before anybody can see it in force. */
  async keep(pending: PendingResponse, bytes: Uint8Array): Promise<void> {
    if (!this.#snapshot.isKept || !(pending.isNews || this.#missing.has(pending.type))) return;
    await this.#snapshot.append({ bytes, complete: pending.isComplete });
    this.#missing.delete(pending.type);
  }

  /**
   * Looks after the file while a stream is open; gives what ends that. One that could not be kept begins anew with a
   * stream on which everything comes. Call it before the stream is asked for anything.
   */
  async attend(
    isConnected: () => boolean,
    inTurn: (work: () => Promise<void>) => Promise<void>,
    stream: { leave(): void },
  ): Promise<() => void> {
    const snapshot = this.#snapshot;
    if (!snapshot.isKept && (await snapshot.begin())) {
      for (const type of RESOURCE_TYPES) this.#missing.add(type);
      this.#delta.askForAll();
    }
    const look = async () => {
      if (!isConnected()) return;
      if (!snapshot.isKept) return stream.leave();
      await inTurn(() => snapshot.tidy((type, name) => this.#delta.heldVersion(type, name)));
      await snapshot.touch();
    };
    const timer = setInterval(() => void look(), ATTEND_MS).unref();
    return () => clearInterval(timer);
  }

  close(): Promise<void> {
    return this.#snapshot.close();
  }
}
