// Owns the server: the resources served, the clients, and the gRPC between them.
// Must not know the command line.

import { readFileSync } from "node:fs";
import { type Metadata, Server, ServerCredentials, type ServerOptions, status } from "@grpc/grpc-js";
import { configInvalid, messageOf, WeftError } from "../../daemon/base/errors.js";
import {
  type AggregatedDiscoveryServiceServer,
  AggregatedDiscoveryServiceService,
} from "../../proto/gen/discovery.js";
import { MeshSource } from "./mesh-source.js";
import { ReplaySource } from "./replay-source.js";
import { type Change, ServedState } from "./served.js";
import { Session } from "./session.js";

export interface ControlPlaneOptions {
  /** `host:port`; port 0 takes a free one. */
  readonly listen: string;
  /** A mesh file to serve and watch, or a recording to replay. */
  readonly source: { readonly file: string } | { readonly replay: string };
  /** PEM files of the certificate (and what leads to its root) and its key; without them plain text is served. */
  readonly tls?: { readonly certificate: string; readonly key: string } | undefined;
  /** File of the bearer token that clients must show, read for each stream. With TLS only. */
  readonly token?: string | undefined;
  /** Of gRPC, for tests: limits, ages of connections. */
  readonly server?: ServerOptions;
  /** One line for each thing that happens. */
  readonly log?: (line: string) => void;
}

export interface ControlPlane {
  /** `host:port` as bound. */
  readonly address: string;
  /** Streams open now. */
  readonly clients: number;
  /** Replay only: sends the next recorded response. False when none is left. */
  next(): boolean;
  /** Sends a change to all clients and to those that come later. */
  push(change: Change): void;
  /** Ends all streams and stops watching. Idempotent. */
  close(): Promise<void>;
}

/**
 * Serves until closed.
 * @throws WeftError CONFIG_INVALID when the file or recording cannot be served (one problem a line of the
 * message) or the TLS files cannot be used, ADDRESS_IN_USE when the address cannot be bound.
 */
export async function startControlPlane(options: ControlPlaneOptions): Promise<ControlPlane> {
  const log = options.log ?? (() => undefined);
  const state = new ServedState();
  const sessions = new Set<Session>();
  const push = (change: Change) => {
    state.apply(change);
    for (const session of sessions) session.push(change);
  };

  const source =
    "file" in options.source
      ? new MeshSource(options.source.file, state, push, log)
      : new ReplaySource(options.source.replay, push);
  const problems = source.load();
  if (problems.length > 0) throw configInvalid(problems);

  const server = new Server(options.server);
  const refusal = (metadata: Metadata) => refusalOf(metadata, options.token);
  server.addService(AggregatedDiscoveryServiceService, serviceOf(state, sessions, refusal, log));
  const port = await bind(server, options.listen, credentialsOf(options));
  source.start();

  let closed = false;
  return {
    address: options.listen.replace(/:\d+$/, `:${port}`),
    get clients() {
      return sessions.size;
    },
    next: () => source.next(),
    push,
    async close() {
      if (closed) return;
      closed = true;
      source.stop();
      server.forceShutdown();
    },
  };
}

function serviceOf(
  state: ServedState,
  sessions: Set<Session>,
  refusal: (metadata: Metadata) => string | undefined,
  log: (line: string) => void,
): AggregatedDiscoveryServiceServer {
  return {
    deltaAggregatedResources(call) {
      const details = refusal(call.metadata);
      if (details !== undefined) {
        log(`${call.getPeer()} is not let in: ${details}`);
        call.emit("error", { code: status.UNAUTHENTICATED, details });
        return;
      }
      const session = new Session({
        state,
        log,
        peer: call.getPeer(),
        send: (response) => void call.write(response),
      });
      sessions.add(session);
      const gone = (how: string) => {
        if (sessions.delete(session)) log(`${session.client} ${how}`);
      };
      call.on("data", (request) => session.request(request));
      call.on("end", () => {
        gone("ended its stream");
        call.end();
      });
      call.on("error", (error) => gone(`lost: ${error.message}`));
      call.on("cancelled", () => gone("left"));
    },
  };
}

/** Why a client is not let in; `undefined` when it is. */
function refusalOf(metadata: Metadata, file: string | undefined): string | undefined {
  if (file === undefined) return undefined;
  const [shown] = metadata.get("authorization");
  if (shown === undefined) return "a bearer token is missing";
  try {
    return shown === `Bearer ${readFileSync(file, "utf8").trim()}`
      ? undefined
      : "the token is not the one expected";
  } catch (error) {
    return `the token to compare with cannot be read: ${messageOf(error)}`;
  }
}

function credentialsOf({ tls, token }: ControlPlaneOptions): ServerCredentials {
  if (tls === undefined) {
    if (token !== undefined)
      throw configInvalid(["a token is asked for over TLS only: name --tls-cert and --tls-key"]);
    return ServerCredentials.createInsecure();
  }
  try {
    const pair = { cert_chain: readFileSync(tls.certificate), private_key: readFileSync(tls.key) };
    return ServerCredentials.createSsl(null, [pair], false);
  } catch (error) {
    throw configInvalid([`cannot serve TLS with ${tls.certificate} and ${tls.key}: ${messageOf(error)}`]);
  }
}

function bind(server: Server, address: string, credentials: ServerCredentials): Promise<number> {
  return new Promise((resolve, reject) => {
    server.bindAsync(address, credentials, (error, port) => {
      if (error === null) resolve(port);
      else
        reject(
          new WeftError(
            "ADDRESS_IN_USE",
            `cannot listen on ${address} (${error.message}): name another with --listen`,
            error,
          ),
        );
    });
  });
}
