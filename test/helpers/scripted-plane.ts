// Owns a control plane that sends exactly what a test says, right or wrong, and hands back each answer.
// Must not know what resources mean; weft-xds is the one that plays by the rules.

import { Server, ServerCredentials, type ServerDuplexStream } from "@grpc/grpc-js";
import { until } from "../../lab/wait.js";
import {
  AggregatedDiscoveryServiceService,
  type DeltaDiscoveryRequest,
  type DeltaDiscoveryResponse,
} from "../../proto/gen/discovery.js";

type Stream = ServerDuplexStream<DeltaDiscoveryRequest, DeltaDiscoveryResponse>;

/** Starts one on a free port of loopback. */
export async function startScriptedPlane(): Promise<ScriptedPlane> {
  const server = new Server();
  const plane = new ScriptedPlane(server);
  server.addService(AggregatedDiscoveryServiceService, {
    deltaAggregatedResources: (stream: Stream) => plane.opened(stream),
  });
  await plane.listen("127.0.0.1:0");
  return plane;
}

/** Serves one client at a time. */
export class ScriptedPlane {
  port = 0;
  readonly #server: Server;
  /** Streams opened so far. */
  #streams = 0;
  #stream: Stream | undefined;
  #subscriptions: DeltaDiscoveryRequest[] = [];
  readonly #answers = new Map<string, DeltaDiscoveryRequest>();

  constructor(server: Server) {
    this.#server = server;
  }

  /** Called by startScriptedPlane. */
  async listen(address: string): Promise<void> {
    this.port = await new Promise((resolve, reject) => {
      this.#server.bindAsync(address, ServerCredentials.createInsecure(), (error, port) =>
        error === null ? resolve(port) : reject(error),
      );
    });
  }

  /** Called by the server for each stream. */
  opened(stream: Stream): void {
    this.#stream = stream;
    this.#streams++;
    this.#subscriptions = [];
    stream.on("data", (request: DeltaDiscoveryRequest) => {
      if (request.responseNonce === "") this.#subscriptions.push(request);
      else this.#answers.set(request.responseNonce, request);
    });
    stream.on("error", () => undefined);
    stream.on("end", () => stream.end());
  }

  get streams(): number {
    return this.#streams;
  }

  /** Resolves when a client has subscribed to `types` types on the present stream; gives its requests. */
  async subscribed(types = 2): Promise<readonly DeltaDiscoveryRequest[]> {
    await until("a client's subscriptions", () => this.#subscriptions.length >= types);
    return this.#subscriptions;
  }

  /** Sends a response and gives the client's answer to it: an ACK, or a NACK with its error. */
  async send(response: DeltaDiscoveryResponse): Promise<DeltaDiscoveryRequest> {
    await this.subscribed();
    this.#stream?.write(response);
    return until(`the answer to response ${response.nonce}`, () => this.#answers.get(response.nonce), {
      timeoutMs: 30_000,
      everyMs: 2,
    });
  }

  /** Ends the stream; resolves when the client is back on a new one and has subscribed. */
  async cut(): Promise<readonly DeltaDiscoveryRequest[]> {
    const before = this.#streams;
    this.#stream?.end();
    await until("the client's return", () => this.#streams > before);
    return this.subscribed();
  }

  close(): void {
    this.#server.forceShutdown();
  }
}
