// Owns the opening of a received response: its resources stay where they lie until each is asked for.
// Must not know what resources are, nor the stream that they came on.

import { WireReader } from "./wire-reader.js";

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
  while (reader.next(reader.end)) {
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
  return { typeUrl, nonce, removedResources, resources: new ResourceList(reader, places) };
}

/** Encoded resources, by where each begins and ends in the response. */
export class ResourceList {
  readonly #reader: WireReader;
  readonly #places: readonly number[];

  constructor(reader: WireReader, places: readonly number[]) {
    this.#reader = reader;
    this.#places = places;
  }

  get length(): number {
    return this.#places.length / 2;
  }

  /** The reader of them all, with this one as its outermost message. @throws RangeError outside of the list. */
  read(index: number): WireReader {
    const start = this.#places[2 * index];
    const end = this.#places[2 * index + 1];
    if (start === undefined || end === undefined) throw new RangeError(`there is no resource ${index}`);
    this.#reader.enter(start, end);
    return this.#reader;
  }
}
