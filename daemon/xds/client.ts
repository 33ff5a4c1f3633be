// Owns the life of the subscription: connect, apply in order, answer, reconnect; and its state for the operator.
// Must not know what applying an Update means.

import { setImmediate as nextTurn, setTimeout as sleep } from "node:timers/promises";
import { Backoff } from "../base/backoff.js";
import { describe, type WeftError, xdsRefused, xdsStreamLost, xdsSyncTimeout } from "../base/errors.js";
import type { Logger } from "../base/log.js";
import type { Rejection, Update } from "../model/update.js";
import { DeltaStream } from "./delta-stream.js";
import { KeptState } from "./kept-state.js";
import type { NodeIdentity } from "./node.js";
import type { PendingResponse } from "./pending-response.js";
import { RESOURCE_TYPES, type ResourceType, typeName } from "./resource.js";
import type { Snapshot, SnapshotState } from "./snapshot.js";
import { type AdsStream, type ControlPlane, openStream, type Received } from "./transport.js";

/** Resources decoded between two looks at the clock, and milliseconds of it between two turns of the event loop. */
const SLICE_RESOURCES = 64;
const SLICE_MS = 8;

/** A stream that ends sooner is followed by an ever longer wait, whatever it delivered: milliseconds. */
const STEADY_MS = 1000;

/** How long a stream may say nothing before that is told, unless the caller knows better: milliseconds. */
const SILENCE_MS = 30_000;

const ENDED_UNSAID = "it ends the connection before it has sent anything";

/** Whose word governs first. */
export type Source = "control plane" | "snapshot";

/** How the control plane is doing. Plain JSON; times are Unix milliseconds, type names such as `Address`. */
export interface ControlPlaneState {
  readonly address: string;
  readonly transport: "tls" | "plaintext";
  /** What the server's certificate must be for; null in plain text, as the next. */
  readonly serverName: string | null;
  /** When the root certificate of the present stream, or of the last one, expires. */
  readonly rootExpires: number | null;
  /** A stream is open and has delivered something. */
  readonly connected: boolean;
  /** When `connected` last changed; the start of the client before that. */
  readonly since: number;
  readonly lastMessageAt: number | null;
  /** When it was there last, an earlier daemon's contact included; null when that is not known. */
  readonly lastContactAt: number | null;
  readonly messages: number;
  /** Bytes of the responses as received. */
  readonly bytes: number;
  /** Streams opened so far. */
  readonly streams: number;
  /** Rejected resources by class of fault (FaultCode). */
  readonly faults: Readonly<Record<string, number>>;
  /** One line; null while nothing failed since the last good stream began. */
  readonly lastError: string | null;
  readonly types: readonly ResourceTypeState[];
  /** Rejected policies without a good version: the nearest one that is not wider is in force for each. */
  readonly standIns: readonly string[];
  /** null: none is kept. */
  readonly snapshot:
    | (SnapshotState & {
        /** It is in force: the control plane has not been there yet. */ readonly governs: boolean;
      })
    | null;
}

export interface ResourceTypeState {
  readonly type: string;
  /** In force. */
  readonly resources: number;
  /** A first response has been applied. All types: ready. */
  readonly synced: boolean;
  readonly responses: number;
  /** Responses that held a rejected resource. */
  readonly nacks: number;
}

export interface XdsClientOptions extends ControlPlane {
  readonly node: NodeIdentity;
  /**
   * Puts an update in force; resolves when the kernel has it. Called one at a time, in the order received. Gives
   * the resources that could not be put in force. Must not reject: that is a bug and ends the process.
   */
  apply(update: Update): Promise<readonly Rejection[]>;
  /**
   * Called again and again while a response is being decoded: may take what is ready and apply it, where nobody
   * sees the state in between. What it leaves is for apply(), which follows in any case.
   */
  applyPart?(take: () => Update | undefined): void;
  /**
   * Every type has been applied for the first time; the answer to the last of them waits for this. False: it cannot
   * be put in force. Then that response is not answered, and the client ends.
   */
  onComplete?(source: Source): Promise<boolean>;
  /** Where what is acknowledged is kept; after `silence` without a control plane it governs in its place. */
  readonly snapshot?: Snapshot | undefined;
  readonly log: Logger;
  /** Milliseconds after which a stream without a response of each type is an error to be told. */
  readonly silence?: number;
  /** A response is in force; milliseconds since it arrived whole, and its size. */
  onApplied?(milliseconds: number, bytes: number): void;
  /** A stream has delivered something after none did, or is gone with an error, which is said once. */
  onConnection?(connected: boolean, error: string | null): void;
  /** Resources of a response were refused. */
  onRejected?(type: string, reason: string): void;
}

export interface XdsClient {
  start(): void;
  /** Ends the stream; resolves when nothing is being applied any more. */
  stop(): Promise<void>;
  state(): ControlPlaneState;
}

/** A client that has not begun. Losing the control plane is never an error of it: it reconnects for ever. */
export function createXdsClient(options: XdsClientOptions): XdsClient {
  return new Client(options);
}

class Client implements XdsClient {
  readonly #options: XdsClientOptions;
  readonly #delta: DeltaStream;
  readonly #backoff = new Backoff();
  readonly #stopping = new AbortController();
  #running: Promise<void> | undefined;
  #open: AdsStream | undefined;

  #connected = false;
  /** Some connection to it has stood since the start. */
  #isReached = false;
  #since = Date.now();
  #lastMessageAt: number | null = null;
  #messages = 0;
  #bytes = 0;
  #streams = 0;
  #lastError: string | null = null;
  #rootExpires: number | null = null;
  /** Types without a response on the present stream. */
  readonly #awaited = new Set<ResourceType>();
  #isComplete = false;
  /** Types that this control plane has said something of since the start. */
  readonly #heard = new Set<ResourceType>();
  readonly #kept: KeptState | undefined;
  #governs: Source | undefined;
  /** The end of what is being taken in. */
  #last: Promise<void> = Promise.resolve();
  #timer: NodeJS.Timeout | undefined;
  readonly #faults = new Map<string, number>();
  readonly #answered = new Map<ResourceType, { responses: number; nacks: number }>();

  constructor(options: XdsClientOptions) {
    this.#options = options;
    this.#delta = new DeltaStream(options.node);
    this.#kept = options.snapshot && new KeptState(options.snapshot, this.#delta);
  }

  start(): void {
    this.#running ??= this.#run();
  }

  async stop(): Promise<void> {
    this.#quit();
    await this.#running;
    await this.#last;
    await this.#kept?.close();
  }

  #quit(): void {
    this.#stopping.abort();
    clearTimeout(this.#timer);
    this.#open?.close();
  }

  state(): ControlPlaneState {
    return {
      address: this.#options.address,
      transport: this.#options.tls === undefined ? "plaintext" : "tls",
      serverName: this.#options.tls?.serverName ?? null,
      rootExpires: this.#rootExpires,
      connected: this.#connected,
      since: this.#since,
      lastMessageAt: this.#lastMessageAt,
      lastContactAt: this.#contact(),
      messages: this.#messages,
      bytes: this.#bytes,
      streams: this.#streams,
      faults: Object.fromEntries(this.#faults),
      lastError: this.#lastError,
      types: RESOURCE_TYPES.map((type) => ({
        type: typeName(type),
        resources: this.#delta.count(type),
        synced: this.#delta.synced(type),
        ...(this.#answered.get(type) ?? { responses: 0, nacks: 0 }),
      })),
      standIns: this.#delta.standIns(),
      snapshot:
        this.#kept === undefined ? null : { ...this.#kept.state, governs: this.#governs === "snapshot" },
    };
  }

  #contact(): number | null {
    if (this.#connected) return Date.now();
    return this.#messages > 0 ? this.#since : (this.#kept?.contact ?? null);
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    const restored = this.#inTurn(() => this.#restore());
    while (!signal.aborted) {
      await this.#stream(restored);
      await sleep(this.#backoff.next(), undefined, { signal }).catch(() => undefined);
    }
  }

  /** Takes the snapshot in; it governs if the control plane says too little in time. */
  async #restore(): Promise<void> {
    const { log, silence = SILENCE_MS } = this.#options;
    const began = performance.now();
    if (!(await this.#kept?.restore((pending) => this.#takeKept(pending)))) return;
    log.info({ path: this.#kept?.state.path }, "snapshot read: it governs if the control plane stays away");
    // One that is there is asked from now on only: what is held has to be said to it.
    const waited = this.#isReached ? 0 : performance.now() - began;
    const fallBack = () => void this.#inTurn(() => this.#fallBack());
    if (!this.#stopping.signal.aborted) this.#timer = setTimeout(fallBack, Math.max(0, silence - waited));
  }

  /** One stream from its opening to its end; it connects while the snapshot is still being read. */
  async #stream(restored: Promise<void>): Promise<void> {
    this.#streams++;
    const opened = openStream(this.#options, this.#options.node.clusterId);
    if (!opened.ok) return this.#ended(opened.error);
    const stream = opened.value;
    this.#open = stream;
    this.#rootExpires = stream.rootExpires ?? null;
    void stream.connected.then(() => {
      this.#isReached = true;
    });
    await restored;
    const endWatch = this.#watchSilence(stream);
    const began = performance.now();
    const endAttention = await this.#kept?.attend(
      () => this.#connected,
      (work) => this.#inTurn(work),
      stream,
    );
    // What is held of a large mesh is megabytes to say: not to a control plane that is away.
    void stream.connected.then(() => {
      if (this.#open !== stream) return;
      for (const request of this.#delta.opened()) stream.send(request);
    });
    for (;;) {
      const next = await stream.next();
      if ("end" in next) {
        if (this.#connected && performance.now() - began >= STEADY_MS) this.#backoff.reset();
        if (next.end === "failed") this.#ended(next.error, next.text, next.requestLimit);
        else if (this.#connected) this.#ended();
        else this.#ended(xdsRefused(this.#options.address, ENDED_UNSAID));
        break;
      }
      this.#received(next);
      await this.#inTurn(() => this.#receive(stream, next));
    }
    endWatch();
    endAttention?.();
    this.#open = undefined;
    stream.close();
  }

  /** Tells of a stream that stands and says nothing. Gives what ends the watch. */
  #watchSilence(stream: AdsStream): () => void {
    const { address, log, silence = SILENCE_MS } = this.#options;
    for (const type of RESOURCE_TYPES) this.#awaited.add(type);
    let timer: NodeJS.Timeout | undefined;
    void stream.connected.then(() => {
      if (this.#open !== stream) return;
      timer = setTimeout(() => {
        if (this.#awaited.size === 0) return;
        this.#lastError = describe(xdsSyncTimeout(address, silence, [...this.#awaited].map(typeName)));
        log.warn(this.#lastError);
      }, silence);
    });
    return () => clearTimeout(timer);
  }

  /** One at a time: what governs first must not be the half of a response. */
  #inTurn(work: () => Promise<void>): Promise<void> {
    this.#last = this.#last.then(work);
    return this.#last;
  }

  async #receive(stream: AdsStream, { response, raw }: Received): Promise<void> {
    const arrived = performance.now();
    const pending = this.#delta.begin(response);
    if (pending === undefined) {
      stream.send(this.#delta.refuse(response));
      return;
    }
    await this.#decodeInSlices(pending);
    if (this.#stopping.signal.aborted) return;
    await this.#kept?.keep(pending, raw);
    const refused = await this.#apply(pending);
    const answer = this.#delta.settle(pending, refused);
    this.#heard.add(pending.type);
    if (RESOURCE_TYPES.every((type) => this.#heard.has(type))) await this.#complete("control plane");
    if (this.#stopping.signal.aborted) return;
    this.#options.onApplied?.(performance.now() - arrived, raw.length);
    if (answer !== undefined) stream.send(answer);
    if (this.#awaited.delete(pending.type) && this.#awaited.size === 0) this.#lastError = null;
    this.#countAnswer(pending.type, answer?.errorDetail !== undefined);
    this.#logSettled(
      pending,
      response.resources.length,
      response.removedResources.length,
      answer?.errorDetail?.message,
    );
  }

  async #decodeInSlices(pending: PendingResponse): Promise<void> {
    let began = performance.now();
    while (pending.decode(SLICE_RESOURCES)) {
      this.#options.applyPart?.(() => pending.take());
      if (performance.now() - began < SLICE_MS) continue;
      await nextTurn();
      began = performance.now();
    }
  }

  async #takeKept(pending: PendingResponse): Promise<void> {
    await this.#decodeInSlices(pending);
    this.#delta.settle(pending, await this.#apply(pending));
  }

  async #apply(pending: PendingResponse): Promise<readonly Rejection[]> {
    const refused = await this.#options.apply(pending.update());
    for (const fault of [...pending.faults, ...refused.map(() => "apply")]) this.#count(fault);
    return refused;
  }

  async #complete(source: Source): Promise<void> {
    this.#governs = source;
    if (this.#isComplete) return;
    this.#isComplete = true;
    if ((await this.#options.onComplete?.(source)) === false) this.#quit();
  }

  /** The control plane has not said enough in time. */
  async #fallBack(): Promise<void> {
    const { address, log } = this.#options;
    if (this.#isComplete || this.#stopping.signal.aborted) return;
    log.warn({ address }, "the control plane is away: the snapshot of what it said last governs");
    await this.#complete("snapshot");
  }

  #received({ raw }: Received): void {
    this.#messages++;
    this.#bytes += raw.length;
    this.#lastMessageAt = Date.now();
    if (this.#connected) return;
    this.#connected = true;
    this.#since = Date.now();
    this.#lastError = null;
    this.#options.log.info({ address: this.#options.address }, "control plane connected");
    this.#options.onConnection?.(true, null);
  }

  /** The stream is gone: with an error, or (without) because the server asks to come again. */
  #ended(error?: WeftError, cause = "", requestLimit?: number): void {
    this.#delta.lost(requestLimit);
    if (this.#stopping.signal.aborted) return;
    const { address, log } = this.#options;
    if (error === undefined) {
      log.debug({ address }, "the control plane ends this connection, as it does from time to time");
    } else {
      const line = describe(this.#connected ? xdsStreamLost(address, cause) : error);
      // A control plane that stays away is one line in the log, not one for each attempt.
      if (this.#connected || this.#lastError !== line) {
        log.warn(line);
        this.#options.onConnection?.(false, line);
      }
      this.#lastError = line;
    }
    if (this.#connected) this.#since = Date.now();
    this.#connected = false;
  }

  #count(fault: string): void {
    this.#faults.set(fault, (this.#faults.get(fault) ?? 0) + 1);
  }

  #countAnswer(type: ResourceType, isNack: boolean): void {
    const { responses, nacks } = this.#answered.get(type) ?? { responses: 0, nacks: 0 };
    this.#answered.set(type, { responses: responses + 1, nacks: nacks + (isNack ? 1 : 0) });
  }

  #logSettled(pending: PendingResponse, resources: number, removed: number, error: string | undefined): void {
    const { log } = this.#options;
    log.debug({ type: typeName(pending.type), resources, removed }, "response applied");
    if (error !== undefined) {
      log.warn({ type: typeName(pending.type) }, `resources rejected: ${error}`);
      this.#options.onRejected?.(typeName(pending.type), error);
    }
    for (const policy of pending.standIns) {
      log.error(
        { policy },
        "no good version of this policy is held: the nearest one that is not wider is in force",
      );
    }
  }
}
