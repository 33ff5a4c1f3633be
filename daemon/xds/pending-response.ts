// Owns one response between its arrival and its answer: decoding in slices, the Update it makes, the versions it sets.
// Must not know gRPC nor what applying means.

import type { Policy } from "../model/policy.js";
import type { Service } from "../model/service.js";
import type { Rejection, Update } from "../model/update.js";
import type { Workload } from "../model/workload.js";
import type { FaultCode } from "./checker.js";
import type { SharedParts } from "./decode-parts.js";
import { type HeldVersion, type HeldVersions, STAND_IN, sameVersion } from "./held.js";
import {
  AUTHORIZATION_TYPE,
  type Decodable,
  decodeResource,
  type Envelope,
  openEnvelope,
  type ResourceType,
  standInOf,
} from "./resource.js";
import type { DeltaResponse, ResourceList } from "./response.js";
import type { WireReader } from "./wire-reader.js";

/** Decode it to the end, apply what take() gives on the way and update(), then give it to DeltaStream.settle(). */
export class PendingResponse {
  readonly type: ResourceType;
  readonly nonce: string;
  /** Number of the stream it came on. */
  readonly stream: number;
  /** Classes of the faults found while decoding, one for each rejection. */
  readonly faults: FaultCode[] = [];
  readonly rejections: Rejection[] = [];
  /** Names of rejected policies in whose place the nearest that is not wider is enforced. */
  readonly standIns: string[] = [];

  readonly #held: HeldVersions;
  readonly #shared: SharedParts;
  readonly #resources: ResourceList;
  readonly #removed: readonly string[];
  /** Names in this response without a version to record, kept only when everything else is to be swept. */
  #named: Set<string> | undefined;
  /** Versions to record, by name. */
  readonly #versions = new Map<string, HeldVersion>();
  /** Decoded and not taken yet. */
  #workloads: Workload[] = [];
  #services: Service[] = [];
  readonly #policies: Policy[] = [];
  #next = 0;

  constructor(
    type: ResourceType,
    response: DeltaResponse,
    held: HeldVersions,
    sweep: boolean,
    shared: SharedParts,
    stream: number,
  ) {
    this.type = type;
    this.nonce = response.nonce;
    this.stream = stream;
    this.#held = held;
    this.#shared = shared;
    this.#resources = response.resources;
    this.#removed = response.removedResources;
    this.#named = sweep ? new Set() : undefined;
  }

  /** Decodes at most `count` more resources. False when none is left. */
  decode(count: number): boolean {
    const end = Math.min(this.#next + count, this.#resources.length);
    for (; this.#next < end; this.#next++) this.#decodeOne(this.#resources.read(this.#next));
    return end < this.#resources.length;
  }

  /**
   * The workloads and services that were decoded since the last call, to be applied ahead of the rest. Policies
   * are never parted: what they deny together must come together.
   */
  take(): Update | undefined {
    if (this.#workloads.length + this.#services.length === 0) return undefined;
    const update = { workloads: this.#workloads, services: this.#services };
    this.#workloads = [];
    this.#services = [];
    return update;
  }

  /**
   * What the whole response changes, but for what was taken. One that changes nothing is an update too: names of
   * policies still unknown after it count as absent, and what waits for the rest of a change waits no longer.
   */
  update(): Update {
    const removed = [...this.#removed, ...this.#swept()];
    if (this.type === AUTHORIZATION_TYPE) {
      return { policies: this.#policies, removedPolicies: removed, policiesSynced: true };
    }
    return {
      workloads: this.#workloads,
      services: this.#services,
      removedAddresses: removed,
      workloadsSynced: true,
    };
  }

  /** Whether it says anything that is not held. Call it once everything is decoded. */
  get isNews(): boolean {
    return this.#versions.size + this.rejections.length + this.#removed.length + this.#swept().length > 0;
  }

  /** Resources that it does not name are gone. */
  get isComplete(): boolean {
    return this.#named !== undefined;
  }

  /** Writes the versions of what is in force now into `held`; those of `refused` names stay as they were. Once. */
  record(held: HeldVersions, refused: ReadonlySet<string>): void {
    const gone = [...this.#removed, ...this.#swept()];
    held.record(this.#versions, refused);
    for (const name of gone) held.delete(name);
  }

  #decodeOne(reader: WireReader): void {
    const envelope = openEnvelope(reader, this.#shared);
    if (!envelope.ok) {
      // Its name is unknown, so that nothing can be said to be missing from this response.
      this.#named = undefined;
      this.#reject(`resource ${this.#next}`, envelope.code, envelope.reason);
      return;
    }
    const { name, version } = envelope.value;
    // The control plane sends a quarter of its resources unchanged: those end here.
    if (sameVersion(this.#held.get(name), version) && !this.#versions.has(name)) {
      this.#named?.add(name);
      return;
    }
    const decoded = decodeResource(this.type, envelope.value, this.#shared);
    if (decoded.ok) {
      this.#versions.set(name, version);
      this.#accept(decoded.value);
    } else {
      this.#named?.add(name);
      this.#reject(name, decoded.code, decoded.reason);
      if (this.type === AUTHORIZATION_TYPE) this.#standIn(envelope.value);
    }
  }

  /** A rejected policy keeps its last good version in force; without one it must not be as if it were absent. */
  #standIn(envelope: Envelope): void {
    const known = this.#versions.get(envelope.name) ?? this.#held.get(envelope.name);
    if (known !== undefined && known !== STAND_IN) return;
    const policy = standInOf(envelope);
    if (policy === undefined) return;
    this.standIns.push(envelope.name);
    this.#versions.set(envelope.name, STAND_IN);
    this.#policies.push(policy);
  }

  #accept(resource: Decodable): void {
    switch (resource.kind) {
      case "workload":
        this.#workloads.push(resource.value);
        break;
      case "service":
        this.#services.push(resource.value);
        break;
      case "policy":
        this.#policies.push(resource.value);
        break;
    }
  }

  #reject(name: string, code: FaultCode, reason: string): void {
    this.faults.push(code);
    this.rejections.push({ name, reason });
  }

  /** What is held and not named by a complete response. */
  #swept(): string[] {
    const named = this.#named;
    if (named === undefined) return [];
    return [...this.#held.names()].filter((name) => !named.has(name) && !this.#versions.has(name));
  }
}
