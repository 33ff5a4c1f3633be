// Owns the proof that no cut of the stream, at any point and any number of times, leaves the client with another mesh
// than istiod's: real responses, a server that answers a returning client as istiod was seen to do.

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { DeltaStream } from "../../daemon/xds/delta-stream.js";
import { RESOURCE_TYPES, type ResourceType } from "../../daemon/xds/resource.js";
import { type DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource } from "../../proto/gen/discovery.js";
import { opened } from "../helpers/wire.js";
import { NODE } from "../helpers/xds-client.js";
import { dumpOf, Replay, session } from "./replay.js";

/** What a session's responses do to the server's own state, in order. */
function pushesOf(scenario: string, file: string): readonly DeltaDiscoveryResponse[] {
  return session(scenario, file)
    .filter((frame) => frame.response)
    .map((frame) => DeltaDiscoveryResponse.decode(frame.message));
}

/** A server whose state advances by recorded pushes, whether or not a client is there to receive them. */
class ModelServer {
  readonly #held = new Map<ResourceType, Map<string, { version: string; bytes: Uint8Array }>>(
    RESOURCE_TYPES.map((type) => [type, new Map()]),
  );
  #nonces = 0;

  advance({ typeUrl, resources, removedResources }: DeltaDiscoveryResponse): void {
    const held = this.#of(typeUrl);
    for (const bytes of resources) {
      const { name, version } = Resource.decode(bytes);
      held.set(name, { version, bytes });
    }
    for (const name of removedResources) held.delete(name);
  }

  /** istiod-observed.md, Reconnect: what differs, what is gone of the names listed; what has no version, whole. */
  answer({ typeUrl, initialResourceVersions }: DeltaDiscoveryRequest): DeltaDiscoveryResponse {
    const held = this.#of(typeUrl);
    return DeltaDiscoveryResponse.fromPartial({
      typeUrl,
      nonce: `reconnect-${++this.#nonces}`,
      resources: [...held]
        .filter(([name, { version }]) => version === "" || initialResourceVersions.get(name) !== version)
        .map(([, { bytes }]) => bytes),
      removedResources: [...initialResourceVersions.keys()].filter((name) => !held.has(name)),
    });
  }

  /** Names held, of all types. */
  names(): string[] {
    return [...this.#held.values()].flatMap((held) => [...held.keys()]).sort();
  }

  #of(typeUrl: string): Map<string, { version: string; bytes: Uint8Array }> {
    const held = this.#held.get(typeUrl as ResourceType);
    if (held === undefined) throw new Error(`unknown type ${typeUrl}`);
    return held;
  }
}

/** What happens to the stream around one message of the server. */
type Fate =
  | "delivered"
  /** Cut before the message came: it is lost. */
  | "lost"
  /** Cut while it was being decoded; the client ends there (the daemon stopped taking in). */
  | "half decoded"
  /** Cut while it was being applied: it takes effect, and no answer goes out. */
  | "unanswered"
  /** Cut after the answer was sent. */
  | "answered";

const FATES: readonly Fate[] = ["lost", "half decoded", "unanswered", "answered"];

class Client extends Replay {
  override readonly stream: DeltaStream;

  constructor(maxRequestBytes: number) {
    super();
    this.stream = new DeltaStream(NODE, { maxRequestBytes });
  }

  /** True while the stream stands afterwards. */
  receive(message: DeltaDiscoveryResponse, fate: Fate): boolean {
    if (fate === "lost") return false;
    const pending = this.stream.begin(opened(message));
    if (pending === undefined) throw new Error(`unexpected type ${message.typeUrl}`);
    if (fate === "half decoded") {
      pending.decode(Math.floor(message.resources.length / 2));
      return false;
    }
    while (pending.decode(7));
    if (fate === "unanswered") this.stream.lost();
    this.store.apply(pending.update());
    const answer = this.stream.settle(pending);
    expect(answer?.responseNonce).toBe(fate === "unanswered" ? undefined : message.nonce);
    expect(answer?.errorDetail).toBeUndefined();
    return fate === "delivered";
  }

  /** Opens a stream until one of `fates` lets both first responses through; those beyond the list do. */
  connect(server: ModelServer, fates: Iterator<Fate>): void {
    for (;;) {
      const answers = this.open().map((request) => server.answer(request));
      if (answers.every((message) => this.receive(message, fates.next().value ?? "delivered"))) return;
    }
  }

  names(): string[] {
    const { workloads, services, policies } = this.store;
    return [...workloads.keys(), ...services.keys(), ...policies.keys()].sort();
  }
}

/** All names fit in a request; some types' do; none does. */
const LIMITS = [4 * 1024 * 1024, 16 * 1024 + 700, 16 * 1024 + 1];

interface Cut {
  /** Index of the push that meets it. */
  readonly at: number;
  readonly fate: Fate;
  /** Pushes that the server makes before the client is back. */
  readonly away: number;
  /** What becomes of the first responses of the streams that follow. */
  readonly back: readonly Fate[];
}

function play(
  pushes: readonly DeltaDiscoveryResponse[],
  cuts: readonly Cut[],
  limit: number,
  first: readonly Fate[] = [],
): Client {
  const server = new ModelServer();
  const client = new Client(limit);
  for (const push of pushes.slice(0, 2)) server.advance(push);
  const byIndex = new Map(cuts.map((cut) => [cut.at, cut]));
  client.connect(server, first[Symbol.iterator]());
  for (let i = 2; i < pushes.length; i++) {
    const push = pushes[i];
    if (push === undefined) break;
    server.advance(push);
    const cut = byIndex.get(i);
    if (!client.receive(push, cut?.fate ?? "delivered")) {
      for (const missed of pushes.slice(i + 1, i + 1 + (cut?.away ?? 0))) server.advance(missed);
      i += cut?.away ?? 0;
      client.connect(server, (cut?.back ?? [])[Symbol.iterator]());
    }
    expect(client.names()).toEqual(server.names());
  }
  return client;
}

const fates = fc.array(fc.constantFrom<Fate>("delivered", ...FATES), { maxLength: 4 });
const cutIn = (pushes: number) =>
  fc.record({
    at: fc.integer({ min: 2, max: pushes - 1 }),
    fate: fc.constantFrom(...FATES),
    away: fc.nat(6),
    back: fates,
  });

describe.each([
  ["bookinfo", "frames-1.bin"],
  ["oddities", "frames-1.bin"],
])("%s", (scenario, file) => {
  const pushes = pushesOf(scenario, file);
  const end = dumpOf(scenario, "end");

  it("ends with istiod's own dump after one cut at each point, of each kind, whatever a request may hold", () => {
    for (const limit of LIMITS) {
      for (let at = 2; at < pushes.length; at++) {
        for (const kind of FATES) {
          const client = play(pushes, [{ at, fate: kind, away: at % 3, back: [] }], limit);
          expect(client.mesh(), `${kind} at ${at}, requests of ${limit} bytes`).toEqual(end);
        }
      }
    }
  }, 60_000);

  it("ends with istiod's own dump after any number of cuts, also of the streams that follow them", () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(cutIn(pushes.length), { selector: ({ at }) => at, maxLength: 12 }),
        fc.constantFrom(...LIMITS),
        fates,
        (cuts, limit, first) => {
          expect(play(pushes, cuts, limit, first).mesh()).toEqual(end);
        },
      ),
      { numRuns: 150 },
    );
  }, 60_000);
});
