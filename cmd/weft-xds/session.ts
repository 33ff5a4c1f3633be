// Owns one client's stream on the server's side: subscriptions, responses, what became of each.
// Must not know gRPC nor where resources come from.

import { RESOURCE_TYPES, type ResourceType, typeName } from "../../daemon/xds/resource.js";
import { type DeltaDiscoveryRequest, DeltaDiscoveryResponse } from "../../proto/gen/discovery.js";
import type { Change, ServedState } from "./served.js";

/** Names in a line of the log; more are counted. */
const NAMES_IN_LOG = 8;

export interface SessionOptions {
  readonly state: ServedState;
  readonly send: (response: DeltaDiscoveryResponse) => void;
  readonly log: (line: string) => void;
  /** Tells clients apart in the log until they name themselves. */
  readonly peer: string;
}

/** Wildcard subscriptions of one client. ACKs are no flow control: changes are sent as they come. */
export class Session {
  readonly #options: SessionOptions;
  readonly #subscribed = new Set<ResourceType>();
  /** What each unanswered response carried, by nonce. */
  readonly #unanswered = new Map<string, Change>();
  #client: string;
  #responses = 0;

  constructor(options: SessionOptions) {
    this.#options = options;
    this.#client = options.peer;
  }

  get client(): string {
    return this.#client;
  }

  request(request: DeltaDiscoveryRequest): void {
    if (request.node !== undefined) this.#client = request.node.id;
    const type = RESOURCE_TYPES.find((known) => known === request.typeUrl);
    if (type === undefined) {
      this.#options.log(`${this.#client}: no resources of type ${JSON.stringify(request.typeUrl)}`);
      return;
    }
    if (request.responseNonce !== "") this.#answered(request);
    const first = !this.#subscribed.has(type);
    const named = request.resourceNamesSubscribe.length + request.resourceNamesUnsubscribe.length > 0;
    if (!first && !named) return;
    this.#subscribed.add(type);
    // A named subscription on a wildcard stream brings everything again, as with istiod.
    this.#respond(this.#options.state.since(type, first ? request.initialResourceVersions : new Map()));
  }

  /** Sends a change, if the client asked for its type. */
  push(change: Change): void {
    if (this.#subscribed.has(change.type)) this.#respond(change);
  }

  #respond(change: Change): void {
    const nonce = String(++this.#responses);
    this.#unanswered.set(nonce, change);
    this.#options.log(`SENT ${describeChange(change)} to ${this.#client}`);
    this.#options.send(
      DeltaDiscoveryResponse.fromPartial({
        systemVersionInfo: nonce,
        typeUrl: change.type,
        nonce,
        resources: change.resources.map((resource) => resource.bytes),
        removedResources: [...change.removed],
        controlPlane: { identifier: "weft-xds" },
      }),
    );
  }

  #answered(request: DeltaDiscoveryRequest): void {
    const change = this.#unanswered.get(request.responseNonce);
    this.#unanswered.delete(request.responseNonce);
    const what = change === undefined ? `unknown nonce ${request.responseNonce}` : describeChange(change);
    const error = request.errorDetail;
    const verdict = error === undefined ? "ACK " : "NACK";
    this.#options.log(
      `${verdict} ${what} from ${this.#client}${error === undefined ? "" : `: ${error.message}`}`,
    );
  }
}

/** `Address +2 (a, b) -1 (c)` */
function describeChange({ type, resources, removed }: Change): string {
  const names = resources.map((resource) => resource.name);
  const parts = [typeName(type), `+${names.length}${listed(names)}`];
  if (removed.length > 0) parts.push(`-${removed.length}${listed(removed)}`);
  return parts.join(" ");
}

function listed(names: readonly string[]): string {
  if (names.length === 0) return "";
  const more = names.length - NAMES_IN_LOG;
  return ` (${names.slice(0, NAMES_IN_LOG).join(", ")}${more > 0 ? `, ${more} more` : ""})`;
}
