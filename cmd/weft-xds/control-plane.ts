// Owns the server: the resources served, the clients, and the gRPC between them.
// Must not know the command line.

import { Server, ServerCredentials } from "@grpc/grpc-js";
import { configInvalid, WeftError } from "../../daemon/errors.js";
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
 * message), ADDRESS_IN_USE when the address cannot be bound.
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

  const server = new Server();
  server.addService(AggregatedDiscoveryServiceService, serviceOf(state, sessions, log));
  const port = await bind(server, options.listen);
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
  log: (line: string) => void,
): AggregatedDiscoveryServiceServer {
  return {
    deltaAggregatedResources(call) {
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

function bind(server: Server, address: string): Promise<number> {
  return new Promise((resolve, reject) => {
    server.bindAsync(address, ServerCredentials.createInsecure(), (error, port) => {
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
