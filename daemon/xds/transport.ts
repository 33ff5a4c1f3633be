// Owns the gRPC side of one stream: channel, credentials, options, bytes. Must not know the protocol spoken on it.

import { isIP } from "node:net";
import { checkServerIdentity } from "node:tls";
import {
  type ChannelCredentials,
  type ChannelOptions,
  type Client,
  connectivityState,
  credentials,
  logVerbosity,
  Metadata,
  setLogVerbosity,
} from "@grpc/grpc-js";
import {
  AggregatedDiscoveryServiceClient,
  AggregatedDiscoveryServiceService,
  type DeltaDiscoveryRequest,
} from "../../proto/gen/discovery.js";
import { failed, ok, type Result, type WeftError, xdsTlsFailed, xdsTokenRefused } from "../base/errors.js";
import { readRoot, readToken } from "./credentials.js";
import { type Attempt, explain, grpcFailure, requestLimit } from "./failure.js";
import { type DeltaResponse, openResponse } from "./response.js";

/** Where the control plane is and how it is spoken to. */
export interface ControlPlane {
  /** `host:port`. */
  readonly address: string;
  /** Absent: plain text, and no token is sent. */
  readonly tls?: TlsOptions | undefined;
  readonly timing?: Partial<Timing> | undefined;
}

/** Paths; both files are read again for every stream. */
export interface TlsOptions {
  /** PEM, one certificate or several. */
  readonly rootCertFile: string;
  /** DNS name or address that the server's certificate must carry. */
  readonly serverName: string;
  readonly tokenFile: string;
}

/** Milliseconds. */
export interface Timing {
  /** Until a connection stands. */
  readonly connect: number;
  /** Between two pings, and for the answer to one. istiod ends connections that ping more often than every 15 s. */
  readonly keepalive: number;
  readonly keepaliveTimeout: number;
}

const TIMING: Timing = { connect: 10_000, keepalive: 30_000, keepaliveTimeout: 10_000 };

/** A connection that the server is ending stays up for seconds; one that broke takes its stream along at once. */
const DRAIN_MS = 50;

/** Said to servers that are named by an address, which is not allowed in SNI (RFC 6066, section 3). */
const SNI_FOR_ADDRESSES = "istiod.istio-system.svc";

const CHANNEL_OPTIONS: ChannelOptions = {
  // The first response is one message, 33 MB for 100,000 workloads.
  "grpc.max_receive_message_length": -1,
  "grpc.max_send_message_length": -1,
  // HTTP/2's own 64 KiB would make that message hundreds of round trips.
  "grpc-node.flow_control_window": 4 * 1024 * 1024,
  // A channel of its own for each attempt: when to try again is decided by Backoff alone.
  "grpc.use_local_subchannel_pool": 1,
  "grpc.enable_retries": 0,
  "grpc.enable_channelz": 0,
  "grpc.service_config_disable_resolution": 1,
  // The control plane is a part of the mesh: proxies in the environment are meant for other traffic.
  "grpc.enable_http_proxy": 0,
};

// What the library prints is told by the errors here, in words of their own.
setLogVerbosity(logVerbosity.NONE);

/** A response, opened and as it came. */
export interface Received {
  readonly response: DeltaResponse;
  readonly raw: Uint8Array;
}

/** How a stream ended. */
export type End =
  /** The server asked for it (GOAWAY): normal life, as when a connection has reached its age. */
  | { readonly end: "drained" }
  /** `text` is the cause alone, `error` the whole story of a stream that never delivered anything. */
  | {
      readonly end: "failed";
      readonly text: string;
      readonly error: WeftError;
      /** Bytes that a request of ours exceeded. */
      readonly requestLimit: number | undefined;
    };

/** One stream. Reading is paced by the reader: nothing is taken from the socket ahead of next(). */
export interface AdsStream {
  /** When the root certificate in use expires, Unix milliseconds; undefined in plain text. */
  readonly rootExpires: number | undefined;
  /** Resolves when the connection stands; never, if it does not come to that. */
  readonly connected: Promise<void>;
  send(request: DeltaDiscoveryRequest): void;
  /** The next response, or how the stream ended. */
  next(): Promise<Received | End>;
  /** Ends the reading, as when the server asks to come again. */
  leave(): void;
  /** Ends stream and connection. Idempotent. */
  close(): void;
}

/**
 * Opens a stream; failing to connect shows in next().
 * Errors: XDS_TLS_FAILED, XDS_TOKEN_REFUSED when a file that TLS needs cannot be used.
 */
export function openStream(endpoint: ControlPlane, clusterId: string): Result<AdsStream> {
  const secured = secure(endpoint);
  if (!secured.ok) return secured;
  const { attempt } = secured.value;
  const timing = { ...TIMING, ...endpoint.timing };
  const { client, call } = begin(endpoint.address, secured.value, timing, clusterId);
  const responses = call[Symbol.asyncIterator]() as AsyncIterator<Received, undefined>;

  const failure = (thrown: unknown): End => {
    const what = grpcFailure(thrown);
    return {
      end: "failed",
      text: what.text,
      error: explain(what, attempt),
      requestLimit: requestLimit(what),
    };
  };
  // An iterator listens from its first step on; a connection that is refused before has nobody else to tell.
  let broken: End | undefined;
  call.on("error", (error) => {
    broken = failure(error);
  });
  let ended: End | undefined;
  let wake: ((end: End) => void) | undefined;
  const end = (how: End) => {
    ended ??= how;
    wake?.(ended);
  };
  const connection = follow(client.getChannel());
  void connection.left.then(() => end({ end: "drained" }));
  const late = setTimeout(
    () => end(failure(new Error(`no answer within ${timing.connect / 1000} s`))),
    timing.connect,
  );
  void connection.stands.then(() => clearTimeout(late));

  return ok({
    rootExpires: attempt.tls?.rootExpires,
    connected: connection.stands,
    send: (request) => void call.write(request),
    // Not Promise.race: a promise that lives as long as the stream would keep every response that it raced with.
    next: () =>
      new Promise((resolve) => {
        if (ended !== undefined) return resolve(ended);
        wake = resolve;
        responses
          .next()
          .then(({ value }) => value ?? broken ?? failure(new Error("the server ended it")), failure)
          .then(resolve);
      }),
    leave: () => end({ end: "drained" }),
    close() {
      clearTimeout(late);
      call.cancel();
      client.close();
    },
  });
}

/** The channel, which connects from now on, and the stream on it. */
function begin(address: string, secured: Secured, timing: Timing, clusterId: string) {
  const client = new AggregatedDiscoveryServiceClient(address, secured.channelCredentials, {
    ...CHANNEL_OPTIONS,
    ...secured.options,
    "grpc.keepalive_time_ms": timing.keepalive,
    "grpc.keepalive_timeout_ms": timing.keepaliveTimeout,
  });
  const metadata = new Metadata();
  metadata.set("clusterid", clusterId);
  if (secured.token !== undefined) metadata.set("authorization", `Bearer ${secured.token}`);
  const { path, requestSerialize } = AggregatedDiscoveryServiceService.deltaAggregatedResources;
  const call = client.makeBidiStreamRequest<DeltaDiscoveryRequest, Received>(
    path,
    requestSerialize,
    (raw) => ({ response: openResponse(raw), raw }),
    metadata,
  );
  return { client, call };
}

interface Secured {
  readonly attempt: Attempt;
  readonly channelCredentials: ChannelCredentials;
  readonly options: ChannelOptions;
  readonly token: string | undefined;
}

/** Reads what TLS needs. */
function secure({ address, tls }: ControlPlane): Result<Secured> {
  if (tls === undefined) {
    const channelCredentials = credentials.createInsecure();
    return ok({ attempt: { address }, channelCredentials, options: {}, token: undefined });
  }
  const { serverName } = tls;
  const root = readRoot(tls.rootCertFile);
  if (!root.ok) {
    return failed(
      xdsTlsFailed(address, `${root.reason}: mount istio-ca-root-cert, or name it with --xds-root-cert`),
    );
  }
  const token = readToken(tls.tokenFile);
  if (!token.ok) {
    return failed(
      xdsTokenRefused(
        address,
        `${token.reason}: mount a service account token for the audience istio-ca, or name it with --xds-token-file`,
      ),
    );
  }
  return ok({
    attempt: {
      address,
      tls: { ...tls, rootExpires: root.value.expires, tokenExpires: token.value.expires },
    },
    channelCredentials: credentials.createSsl(root.value.pem, null, null, {
      checkServerIdentity: (_, certificate) => checkServerIdentity(serverName, certificate),
    }),
    options: { "grpc.ssl_target_name_override": isIP(serverName) === 0 ? serverName : SNI_FOR_ADDRESSES },
    token: token.value.value,
  });
}

/** `stands`: streams can be opened. `left`: no more of them, but those that are open go on. */
function follow(channel: ReturnType<Client["getChannel"]>): {
  readonly stands: Promise<void>;
  readonly left: Promise<void>;
} {
  const reached = (from: connectivityState, until: (state: connectivityState) => boolean) =>
    new Promise<void>((resolve) => {
      const look = (state: connectivityState) => {
        if (until(state)) return resolve();
        if (state === connectivityState.SHUTDOWN) return;
        channel.watchConnectivityState(state, Number.POSITIVE_INFINITY, (error) => {
          if (error === undefined) look(channel.getConnectivityState(false));
        });
      };
      look(from);
    });
  const stands = reached(channel.getConnectivityState(false), (state) => state === connectivityState.READY);
  const left = stands
    .then(() => reached(connectivityState.READY, (state) => state === connectivityState.IDLE))
    .then(() => new Promise<void>((resolve) => setTimeout(resolve, DRAIN_MS)));
  return { stands, left };
}
