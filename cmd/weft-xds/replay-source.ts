// Owns the playing of a recorded stream. Must not know clients.

import { messageOf } from "../../daemon/base/errors.js";
import { RESOURCE_TYPES } from "../../daemon/xds/resource.js";
import { DeltaDiscoveryResponse, Resource } from "../../proto/gen/discovery.js";
import { readRecording } from "./recording.js";
import type { Change, Served } from "./served.js";
import type { Source } from "./source.js";

/** Serves the first response of each type, then one more with every next(). The end stays served. */
export class ReplaySource implements Source {
  readonly #path: string;
  readonly #push: (change: Change) => void;
  #changes: Change[] = [];

  constructor(path: string, push: (change: Change) => void) {
    this.#path = path;
    this.#push = push;
  }

  load(): readonly string[] {
    const recording = readRecording(this.#path);
    if (!recording.ok) return [recording.reason];
    try {
      const responses = recording.frames.filter((frame) => frame.response);
      this.#changes = responses.map((frame) => changeOf(DeltaDiscoveryResponse.decode(frame.message)));
    } catch (error) {
      return [`${this.#path}: ${messageOf(error)}`];
    }
    for (const type of RESOURCE_TYPES) {
      const first = this.#changes.findIndex((change) => change.type === type);
      if (first === -1) return [`${this.#path}: has no response of type ${type}`];
      for (const change of this.#changes.splice(first, 1)) this.#push(change);
    }
    return [];
  }

  start(): void {
    // Nothing comes by itself.
  }

  next(): boolean {
    const change = this.#changes.shift();
    if (change !== undefined) this.#push(change);
    return change !== undefined;
  }

  stop(): void {
    this.#changes = [];
  }
}

function changeOf(response: DeltaDiscoveryResponse): Change {
  const type = RESOURCE_TYPES.find((known) => known === response.typeUrl);
  if (type === undefined) throw new Error(`response of unknown type ${JSON.stringify(response.typeUrl)}`);
  const resources = response.resources.map((bytes): Served => {
    const { name, version } = Resource.decode(bytes);
    return { name, version, bytes };
  });
  return { type, resources, removed: response.removedResources };
}
