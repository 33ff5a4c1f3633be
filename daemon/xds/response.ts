// Owns the opening of a received response: its resources stay where they lie until each is asked for.
// Must not know what resources are, nor the stream that they came on.

import { WireReader } from "./wire-reader.js";

/** Encoded resources, one after the other. */
export type ResourceList = Pick<readonly Uint8Array[], "length" | "at">;

/** What weft reads of envoy.service.discovery.v3.DeltaDiscoveryResponse. */
export interface DeltaResponse {
  readonly typeUrl: string;
  readonly nonce: string;
  readonly resources: ResourceList;
  readonly removedResources: readonly string[];
}

/**
 * Opens the outermost message only: a view for each of 100,000 resources would stop the event loop.
 * @throws WireError
 */
export function openResponse(bytes: Uint8Array): DeltaResponse {
  const reader = new WireReader(bytes);
  const places: number[] = [];
  const removedResources: string[] = [];
  let typeUrl = "";
  let nonce = "";
  while (reader.next(reader.length)) {
    switch (reader.field) {
      case 2: {
        const end = reader.open();
        places.push(reader.position, end);
        reader.close(end);
        break;
      }
      case 4:
        typeUrl = reader.text();
        break;
      case 5:
        nonce = reader.text();
        break;
      case 6:
        removedResources.push(reader.text());
        break;
      default:
        reader.skip();
    }
  }
  return { typeUrl, nonce, removedResources, resources: new Places(bytes, places) };
}

/** Resources by where they begin and end in the response. */
class Places implements ResourceList {
  readonly #bytes: Uint8Array;
  readonly #places: readonly number[];

  constructor(bytes: Uint8Array, places: readonly number[]) {
    this.#bytes = bytes;
    this.#places = places;
  }

  get length(): number {
    return this.#places.length / 2;
  }

  /** A view; `undefined` outside of the list. */
  at(index: number): Uint8Array | undefined {
    const start = this.#places[2 * index];
    return start === undefined ? undefined : this.#bytes.subarray(start, this.#places[2 * index + 1]);
  }
}
