// Owns an API server of a test that takes any object: in memory, by its path, with what a test says of lists and states.
// Must not know who asks.

import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

type Json = Readonly<Record<string, unknown>>;

export class KubeObjects {
  /** `METHOD path` of every request, without its query. */
  readonly requests: string[] = [];
  /** By path. What is applied is added to it, what is deleted is taken away. */
  readonly objects = new Map<string, Json>();
  /** Answers that are no object: lists, by path. */
  readonly lists = new Map<string, () => Json>();
  /** What becomes of an object that is asked for. */
  seen: (path: string, object: Json) => Json = (_path, object) => object;
  /** Is shown the headers of each request. */
  seenHeaders: (headers: IncomingMessage["headers"]) => void = () => undefined;
  /** Whom it lets in; undefined: everybody. */
  token: string | undefined;
  readonly #server = createServer((request, response) => void this.#answer(request, response));

  /** Resolves with its URL. */
  async listen(): Promise<string> {
    await new Promise<void>((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  close(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname } = new URL(request.url ?? "/", "http://api");
    this.requests.push(`${request.method} ${pathname}`);
    this.seenHeaders(request.headers);
    const say = (code: number, body: Json) => response.writeHead(code).end(JSON.stringify(body));
    if (this.token !== undefined && request.headers.authorization !== `Bearer ${this.token}`)
      return void say(401, { kind: "Status", message: "Unauthorized" });
    const body = await textOf(request);
    if (request.method === "PATCH") {
      const isMerged = request.headers["content-type"] === "application/merge-patch+json";
      const sent = JSON.parse(body) as Json;
      this.objects.set(pathname, isMerged ? merged(this.objects.get(pathname), sent) : sent);
    }
    const object = this.objects.get(pathname);
    if (request.method === "DELETE") this.objects.delete(pathname);
    const list = this.lists.get(pathname);
    if (object !== undefined) return void say(200, this.seen(pathname, object));
    if (list !== undefined) return void say(200, list());
    say(404, { kind: "Status", message: `${pathname} not found` });
  }
}

/** RFC 7386, without removals. */
function merged(target: unknown, change: unknown): Json {
  const isObject = (value: unknown): value is Json => typeof value === "object" && value !== null;
  const entries = Object.entries(change as Json).map(([key, value]) => {
    const before = isObject(target) ? target[key] : undefined;
    return [key, isObject(value) && !Array.isArray(value) ? merged(before, value) : value];
  });
  return { ...(isObject(target) ? target : {}), ...Object.fromEntries(entries) };
}

async function textOf(request: IncomingMessage): Promise<string> {
  let text = "";
  for await (const chunk of request) text += chunk;
  return text;
}
