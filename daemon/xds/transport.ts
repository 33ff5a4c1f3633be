// Owns the gRPC side of one stream: channel, options, bytes. Must not know the protocol spoken on it.

import { type ChannelCredentials, credentials } from "@grpc/grpc-js";
import {
  AggregatedDiscoveryServiceClient,
  AggregatedDiscoveryServiceService,
  type DeltaDiscoveryRequest,
  DeltaDiscoveryResponse,
} from "../../proto/gen/discovery.js";

const CHANNEL_OPTIONS = {
  // The first response is one message, 33 MB for 100,000 workloads.
  "grpc.max_receive_message_length": -1,
  "grpc.max_send_message_length": -1,
  // istiod ends connections that ping more often than every 15 s.
  "grpc.keepalive_time_ms": 30_000,
  "grpc.keepalive_timeout_ms": 10_000,
  // A channel of its own for each attempt: when to try again is decided by Backoff alone.
  "grpc.use_local_subchannel_pool": 1,
  "grpc.enable_retries": 0,
} as const;

/** A response with the size it had on the wire. */
export interface Received {
  readonly response: DeltaDiscoveryResponse;
  readonly bytes: number;
}

/** One stream. Reading is paced by the reader: nothing is taken from the socket ahead of next(). */
export interface AdsStream {
  send(request: DeltaDiscoveryRequest): void;
  /** The next response; `undefined` when the server ended the stream. Rejects with gRPC's error. */
  next(): Promise<Received | undefined>;
  /** Ends stream and connection. Idempotent; a pending next() rejects. */
  close(): void;
}

/** Opens a stream at once; failing to connect shows in next(). `address` is `host:port`. */
export function openStream(
  address: string,
  channel: ChannelCredentials = credentials.createInsecure(),
): AdsStream {
  const client = new AggregatedDiscoveryServiceClient(address, channel, CHANNEL_OPTIONS);
  const { path, requestSerialize } = AggregatedDiscoveryServiceService.deltaAggregatedResources;
  const call = client.makeBidiStreamRequest<DeltaDiscoveryRequest, Received>(
    path,
    requestSerialize,
    (raw) => ({
      response: DeltaDiscoveryResponse.decode(raw),
      bytes: raw.length,
    }),
  );
  const responses = call[Symbol.asyncIterator]() as AsyncIterator<Received, undefined>;
  return {
    send: (request) => void call.write(request),
    next: async () => (await responses.next()).value,
    close() {
      call.cancel();
      client.close();
    },
  };
}
