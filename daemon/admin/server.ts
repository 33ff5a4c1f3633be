// Owns HTTP: matching routes, reading bodies, writing JSON and streams, errors in one form.
// Must not know what any route does.

import { once } from "node:events";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Duplex, Writable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { constants, createGzip } from "node:zlib";
import { failed, listenFailed, messageOf, ok, type Result } from "../base/errors.js";
import { http } from "../base/http.js";
import type { Logger } from "../base/log.js";
import { formatHostPort, type HostPort } from "../base/parse.js";
import type { Piece } from "../telemetry/exposition.js";
import type { ErrorResponse } from "./answers.js";
import type { Method } from "./api.js";

/** Far above any body that a route takes, unless it says more. */
const MAX_BODY_BYTES = 64 * 1024;
const MAX_CONNECTIONS = 256;
/** Of one piece of a compressed answer: each costs a turn of the event loop and a write. */
const PACKED_BYTES = 64 * 1024;

/** Every address of the machine. */
const ANY = "::";
const ANY_IPV4 = "0.0.0.0";

export interface RouteRequest {
  readonly url: URL;
  /** What stood for each `:name` of the path, decoded. */
  readonly params: Readonly<Record<string, string>>;
  /** The parsed JSON body; undefined when there was none. */
  readonly body: unknown;
  /** Address and port of who asks. */
  readonly peer: string;
  /** Aborted when the client goes away. */
  readonly signal: AbortSignal;
}

type Pieces = Iterable<Piece> | AsyncIterable<Piece>;

export type Reply<Json = unknown> =
  | { readonly status: number; readonly json: Json }
  /** Pieces are written as the client takes them; an empty one only gives others a turn. */
  | {
      readonly status: number;
      readonly type: string;
      readonly headers?: Readonly<Record<string, string>>;
      readonly pieces: Pieces;
      /** Large and repetitive: compressed for whoever takes gzip. */
      readonly isRepetitive?: boolean;
    };

export type Handler = (request: RouteRequest) => Reply | Promise<Reply>;

export interface Route {
  /** Segments; one that begins with a colon matches any text. */
  readonly path: string;
  readonly methods: Partial<Record<Method, Handler>>;
  readonly maxBodyBytes?: number | undefined;
}

export interface Listener {
  /** As bound: the port is real even when 0 was asked for. */
  readonly address: HostPort;
  close(): Promise<void>;
}

/** A refusal in the one form that all have. */
export function refuse(status: number, error: string, reason: string): Reply<ErrorResponse> {
  return { status, json: { error, reason } };
}

export function badRequest(reason: string): Reply<ErrorResponse> {
  return refuse(400, "bad request", reason);
}

export interface ListenOptions {
  readonly log: Logger;
  /**
   * Refuses what a browser sent on behalf of a page elsewhere (DNS rebinding, cross-site posts): for a port without
   * authentication.
   */
  readonly localOnly?: boolean;
  /** What comes beyond it is not accepted. */
  readonly maxConnections?: number;
  /** Milliseconds after which an answer that its reader has not taken is cut off; absent: never. */
  readonly answerWithin?: number;
}

/** Serves routes on an address. `name` is admin, metrics or ready. */
export async function listen(
  name: string,
  address: HostPort,
  routes: readonly Route[],
  options: ListenOptions,
): Promise<Result<Listener>> {
  const server = http.createServer((request, response) => {
    serve(routes, request, response, options).catch((error: unknown) => {
      options.log.error({ err: error, method: request.method, url: request.url }, "request failed");
      response.destroy();
    });
  });
  server.headersTimeout = 10_000;
  server.requestTimeout = 15_000;
  server.keepAliveTimeout = 30_000;
  server.maxConnections = options.maxConnections ?? MAX_CONNECTIONS;
  server.on("clientError", refuseMalformed);
  try {
    await bind(server, address);
  } catch (error) {
    return failed(listenFailed(name, formatHostPort(address), error));
  }
  // An accept that fails, for want of descriptors for one, must not end the daemon.
  server.on("error", (error) => options.log.error({ err: error, port: name }, "cannot accept a connection"));
  const { address: host, port } = server.address() as AddressInfo;
  return ok({
    address: { host: host === ANY_IPV4 ? host : address.host, port },
    async close() {
      const closed = once(server, "close");
      server.close();
      server.closeAllConnections();
      await closed;
    },
  });
}

/** The wildcard of IPv6 takes IPv4 too; a kernel without IPv6 has that of IPv4 alone. */
async function bind(server: Server, { host, port }: HostPort): Promise<void> {
  server.listen(port, host);
  try {
    await once(server, "listening");
  } catch (error) {
    if (host !== ANY || (error as NodeJS.ErrnoException).code !== "EAFNOSUPPORT") throw error;
    server.listen(port, ANY_IPV4);
    await once(server, "listening");
  }
}

/** What Node cannot parse never becomes a request; it gets the same form of answer. */
function refuseMalformed(error: Error, socket: Duplex): void {
  if (!socket.writable) {
    socket.destroy();
    return;
  }
  const text = `${JSON.stringify({ error: "bad request", reason: error.message } satisfies ErrorResponse)}\n`;
  const head =
    "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: application/json; charset=utf-8";
  socket.end(`${head}\r\nContent-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`);
}

async function serve(
  routes: readonly Route[],
  request: IncomingMessage,
  response: ServerResponse,
  options: ListenOptions,
): Promise<void> {
  const gone = new AbortController();
  const deadline =
    options.answerWithin === undefined
      ? undefined
      : setTimeout(() => response.destroy(), options.answerWithin);
  response.on("close", () => {
    clearTimeout(deadline);
    gone.abort();
  });
  let reply: Reply;
  try {
    reply =
      options.localOnly && fromElsewhere(request)
        ? refuse(403, "forbidden", "this port answers to names and pages of this machine only")
        : await answer(routes, request, response, gone.signal);
  } catch (error) {
    options.log.error({ err: error, method: request.method, url: request.url }, "request failed");
    reply = refuse(500, "internal error", messageOf(error));
  }
  if (!request.complete) response.setHeader("connection", "close");
  await write(response, reply, {
    headOnly: request.method === "HEAD",
    gzip: takesGzip(request.headers["accept-encoding"]),
  });
}

/** Whether an Accept-Encoding header allows gzip: named, and not with a quality of 0. */
function takesGzip(accepted: string | string[] | undefined): boolean {
  const codings = [accepted ?? []].flat().join(",").split(",");
  return codings.some((coding) => /^\s*(x-)?gzip\s*(;\s*q=(1(\.0*)?|0\.0*[1-9]\d*))?\s*$/i.test(coding));
}

async function answer(
  routes: readonly Route[],
  request: IncomingMessage,
  response: ServerResponse,
  signal: AbortSignal,
): Promise<Reply> {
  const url = parseTarget(request.url ?? "/");
  if (url === undefined) return badRequest(`"${request.url}" is no path`);
  const found = match(routes, url.pathname);
  if (found === undefined) return refuse(404, "not found", `there is nothing at ${url.pathname}`);
  const { route, params } = found;
  const method = request.method === "HEAD" ? "GET" : request.method;
  const handler = Object.entries(route.methods).find(([name]) => name === method)?.[1];
  if (handler === undefined) {
    const allowed = Object.keys(route.methods).flatMap((name) => (name === "GET" ? ["GET", "HEAD"] : [name]));
    response.setHeader("allow", allowed.join(", "));
    return refuse(405, "method not allowed", `${url.pathname} takes ${allowed.join(", ")}`);
  }
  const body = await readBody(request, route.maxBodyBytes ?? MAX_BODY_BYTES);
  if (!body.ok) return body.reply;
  const { remoteAddress = "", remotePort = 0 } = request.socket;
  const peer = formatHostPort({ host: remoteAddress, port: remotePort });
  return handler({ url, params, body: body.value, peer, signal });
}

function parseTarget(target: string): URL | undefined {
  if (!target.startsWith("/")) return undefined;
  try {
    return new URL(`http://localhost${target}`);
  } catch {
    return undefined;
  }
}

function match(
  routes: readonly Route[],
  path: string,
): { route: Route; params: Record<string, string> } | undefined {
  const segments = path.split("/");
  for (const route of routes) {
    const wanted = route.path.split("/");
    if (wanted.length !== segments.length) continue;
    const params: Record<string, string> = {};
    const matches = wanted.every((segment, index) => {
      const given = segments[index] ?? "";
      if (!segment.startsWith(":")) return segment === given;
      const text = decode(given);
      if (text !== undefined) params[segment.slice(1)] = text;
      return text !== undefined && text !== "";
    });
    if (matches) return { route, params };
  }
  return undefined;
}

function decode(segment: string): string | undefined {
  try {
    return decodeURIComponent(segment);
  } catch {
    return undefined;
  }
}

async function readBody(
  request: IncomingMessage,
  maxBytes: number,
): Promise<{ ok: true; value: unknown } | { ok: false; reply: Reply }> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > maxBytes) {
      return {
        ok: false,
        reply: refuse(413, "body too large", `a body has at most ${maxBytes} bytes`),
      };
    }
    chunks.push(chunk);
  }
  if (size === 0) return { ok: true, value: undefined };
  try {
    return { ok: true, value: JSON.parse(Buffer.concat(chunks).toString("utf8")) };
  } catch (error) {
    return { ok: false, reply: badRequest(`the body is no JSON: ${messageOf(error)}`) };
  }
}

async function write(
  response: ServerResponse,
  reply: Reply,
  { headOnly, gzip }: { readonly headOnly: boolean; readonly gzip: boolean },
): Promise<void> {
  response.statusCode = reply.status;
  response.setHeader("cache-control", "no-store");
  response.setHeader("x-content-type-options", "nosniff");
  if ("json" in reply) {
    const text = `${JSON.stringify(reply.json)}\n`;
    response.setHeader("content-type", "application/json; charset=utf-8");
    response.setHeader("content-length", Buffer.byteLength(text));
    response.end(headOnly ? undefined : text);
    return;
  }
  response.setHeader("content-type", reply.type);
  for (const [name, value] of Object.entries(reply.headers ?? {})) response.setHeader(name, value);
  if (reply.isRepetitive === true) response.setHeader("vary", "accept-encoding");
  const compressed = reply.isRepetitive === true && gzip;
  if (compressed) response.setHeader("content-encoding", "gzip");
  if (headOnly) {
    response.end();
    return;
  }
  response.flushHeaders();
  if (!compressed) {
    await writePieces(reply.pieces, response);
    return;
  }
  // The fastest level: the text is so repetitive that others hardly gain.
  const packed = createGzip({ level: constants.Z_BEST_SPEED, chunkSize: PACKED_BYTES });
  const whole = pipeline(packed, response).catch(() => {
    // The reader has left: whoever writes sees it, as without compression.
  });
  await writePieces(reply.pieces, packed).catch((error: unknown) => {
    packed.destroy();
    throw error;
  });
  await whole;
}

async function writePieces(pieces: Pieces, to: Writable): Promise<void> {
  for await (const piece of pieces) {
    if (to.destroyed) return;
    // Between pieces the daemon's real work has its turn.
    if (piece.length > 0) await written(to, piece);
    else await new Promise((resolve) => setImmediate(resolve));
  }
  to.end();
}

/** Resolves when nobody looks at the bytes any more. */
function written(to: Writable, piece: string | Buffer): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      to.off("close", done);
      resolve();
    };
    to.on("close", done);
    to.write(piece, done);
  });
}

function fromElsewhere(request: IncomingMessage): boolean {
  const { host, origin } = request.headers;
  if (host !== undefined && !isLocalUrl(`http://${host}`)) return true;
  return origin !== undefined && !isLocalUrl(origin);
}

function isLocalUrl(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { hostname } = new URL(text);
  return hostname === "localhost" || hostname === "[::1]" || /^127\.\d+\.\d+\.\d+$/.test(hostname);
}
