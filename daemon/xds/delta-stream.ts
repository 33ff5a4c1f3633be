// Owns the protocol of the delta stream: what to ask, what a response changes, what to answer.
// A state machine without clock, sockets or promises. Must not know gRPC nor what applying means.

import { DeltaDiscoveryRequest } from "../../proto/gen/discovery.js";
import type { Rejection } from "../model/update.js";
import { SharedParts } from "./decode-parts.js";
import { type HeldVersion, HeldVersions, MAX_REQUEST_BYTES } from "./held.js";
import { type NodeIdentity, nodeMessage } from "./node.js";
import { PendingResponse } from "./pending-response.js";
import { ADDRESS_TYPE, AUTHORIZATION_TYPE, RESOURCE_TYPES, type ResourceType } from "./resource.js";
import type { DeltaResponse } from "./response.js";

/** google.rpc.Code INVALID_ARGUMENT, which a NACK carries. */
const INVALID_ARGUMENT = 3;

/** Names and reasons in a NACK beyond this many characters are only counted: the server has a limit of its own. */
const MAX_ERROR_CHARACTERS = 64 * 1024;

/** Of what was received by an earlier process. */
const NO_STREAM = -1;

/** What is held of one resource type, and whether its first response of any stream has been applied. */
interface TypeState {
  readonly held: HeldVersions;
  synced: boolean;
  /** The next response of this stream is complete: what it does not name is gone. */
  sweep: boolean;
}

/**
 * One client's view of one control plane, over any number of streams in sequence:
 * opened() → requests to send; begin(response) → a PendingResponse to decode and apply; settle() → the answer;
 * lost() → the stream is gone. What is held outlives the stream.
 */
export class DeltaStream {
  readonly #node: NodeIdentity;
  #maxRequestBytes: number;
  readonly #shared = new SharedParts();
  readonly #types = new Map<ResourceType, TypeState>(
    RESOURCE_TYPES.map((type) => [type, { held: new HeldVersions(), synced: false, sweep: false }]),
  );
  /** Number of the present stream; 0 while there is none. */
  #stream = 0;
  #streams = 0;
  /** Nothing is told to be held on the next stream. */
  #asksForAll = false;

  constructor(node: NodeIdentity, options: { maxRequestBytes?: number } = {}) {
    this.#node = node;
    this.#maxRequestBytes = options.maxRequestBytes ?? MAX_REQUEST_BYTES;
  }

  /** Wildcard subscriptions, addresses first. Only the first request of a stream names the node. */
  opened(): DeltaDiscoveryRequest[] {
    this.#stream = ++this.#streams;
    const requests = RESOURCE_TYPES.map((typeUrl) => {
      const state = this.#state(typeUrl);
      const listed = this.#asksForAll ? undefined : state.held.list(this.#maxRequestBytes);
      state.sweep = listed === undefined;
      return DeltaDiscoveryRequest.fromPartial({
        ...(typeUrl === ADDRESS_TYPE ? { node: nodeMessage(this.#node) } : {}),
        typeUrl,
        ...(listed === undefined ? {} : { initialResourceVersions: listed }),
      });
    });
    this.#asksForAll = false;
    return requests;
  }

  /** On the next stream the control plane is to send everything, also what is held. */
  askForAll(): void {
    this.#asksForAll = true;
  }

  /** `requestLimit`: it was ended because a request had more than so many bytes, the server's limit. */
  lost(requestLimit?: number): void {
    this.#stream = 0;
    // A server that refuses what by its own word it takes is told nothing any more.
    if (requestLimit !== undefined) {
      this.#maxRequestBytes = requestLimit < this.#maxRequestBytes ? requestLimit : 0;
    }
  }

  /**
   * Starts on a response of the present stream. The previous one must be settled. `undefined` for a type that
   * was never asked for; refuse() answers it.
   */
  begin(response: DeltaResponse): PendingResponse | undefined {
    const type = RESOURCE_TYPES.find((known) => known === response.typeUrl);
    if (type === undefined) return undefined;
    const { held, sweep } = this.#state(type);
    return new PendingResponse(type, response, held, sweep, this.#shared, this.#stream);
  }

  /** As begin(), for a response of a stream before this process; `complete` as it was then. It has no answer. */
  beginKept(response: DeltaResponse, complete: boolean): PendingResponse | undefined {
    const type = RESOURCE_TYPES.find((known) => known === response.typeUrl);
    if (type === undefined) return undefined;
    return new PendingResponse(type, response, this.#state(type).held, complete, this.#shared, NO_STREAM);
  }

  /** The answer to a response of an unknown type. */
  refuse(response: DeltaResponse): DeltaDiscoveryRequest {
    return answer(response.typeUrl, response.nonce, [
      { name: response.typeUrl, reason: "is not subscribed to" },
    ]);
  }

  /**
   * Records what was applied. Call once its update is in force; `refused` are the resources that applying it
   * refused. Gives the ACK or NACK to send, `undefined` when the response's stream is gone.
   */
  settle(pending: PendingResponse, refused: readonly Rejection[] = []): DeltaDiscoveryRequest | undefined {
    const state = this.#state(pending.type);
    pending.record(state.held, new Set(refused.map((rejection) => rejection.name)));
    state.synced = true;
    if (pending.stream !== this.#stream) return undefined;
    state.sweep = false;
    return answer(pending.type, pending.nonce, [...pending.rejections, ...refused]);
  }

  /** True once a first response of the type has been applied, on this stream or an earlier one. */
  synced(type: ResourceType): boolean {
    return this.#state(type).synced;
  }

  /** What is in force of one name. */
  heldVersion(typeUrl: string, name: string): HeldVersion | undefined {
    return RESOURCE_TYPES.some((type) => type === typeUrl)
      ? this.#state(typeUrl as ResourceType).held.get(name)
      : undefined;
  }

  /** Number of resources in force. */
  count(type: ResourceType): number {
    return this.#state(type).held.size;
  }

  /** Names of rejected policies in whose place the nearest that is not wider is enforced. */
  standIns(): readonly string[] {
    return this.#state(AUTHORIZATION_TYPE).held.standIns();
  }

  #state(type: ResourceType): TypeState {
    const state = this.#types.get(type);
    if (state === undefined) throw new Error(`resource type without state: ${type}`);
    return state;
  }
}

function answer(typeUrl: string, nonce: string, rejections: readonly Rejection[]): DeltaDiscoveryRequest {
  const ack = DeltaDiscoveryRequest.fromPartial({ typeUrl, responseNonce: nonce });
  if (rejections.length === 0) return ack;
  return { ...ack, errorDetail: { code: INVALID_ARGUMENT, message: describeRejections(rejections) } };
}

/** `name: reason; name: reason`, as long as it fits. */
function describeRejections(rejections: readonly Rejection[]): string {
  let text = "";
  for (const [i, { name, reason }] of rejections.entries()) {
    const next = `${i === 0 ? "" : "; "}${name}: ${reason}`;
    if (i > 0 && text.length + next.length > MAX_ERROR_CHARACTERS)
      return `${text}; and ${rejections.length - i} more`;
    text += next;
  }
  return text;
}
