// Owns an API server of a test: objects in memory, served as Kubernetes does. A real one is met in test/kube.
// Must not know who asks.

import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export interface KubeObject {
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly uid: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
  };
  readonly [key: string]: unknown;
}

type Kind = "pods" | "namespaces";

export class KubeApi {
  /** `METHOD path` of every request, without its query. */
  readonly requests: string[] = [];
  #refusal: { readonly status: number; readonly message: string } | undefined;
  /** The token that it wants. */
  token = "secret";
  readonly #objects: Record<Kind, Map<string, KubeObject>> = { pods: new Map(), namespaces: new Map() };
  readonly #watches = new Map<ServerResponse, Kind>();
  #version = 1;
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

  /** Answers everything with this, until accept(). */
  refuse(status: number, message: string): void {
    this.#refusal = { status, message };
  }

  accept(): void {
    this.#refusal = undefined;
  }

  put(kind: Kind, object: KubeObject): void {
    const key = keyOf(object.metadata);
    const type = this.#objects[kind].has(key) ? "MODIFIED" : "ADDED";
    const versioned = {
      ...object,
      metadata: { ...object.metadata, resourceVersion: String(++this.#version) },
    };
    this.#objects[kind].set(key, versioned);
    this.#tell(kind, type, versioned);
  }

  remove(kind: Kind, key: string): void {
    const object = this.#objects[kind].get(key);
    if (object === undefined) throw new Error(`no ${kind} ${key}`);
    this.#objects[kind].delete(key);
    this.#tell(kind, "DELETED", {
      ...object,
      metadata: { ...object.metadata, resourceVersion: String(++this.#version) },
    });
  }

  get(kind: Kind, key: string): KubeObject | undefined {
    return this.#objects[kind].get(key);
  }

  /** Ends every watch with an event of type ERROR, as for a version that is too old. */
  expire(): void {
    for (const [response] of this.#watches)
      response.end(`${JSON.stringify({ type: "ERROR", object: { kind: "Status", code: 410 } })}\n`);
    this.#watches.clear();
  }

  #tell(kind: Kind, type: string, object: unknown): void {
    for (const [response, watched] of this.#watches)
      if (watched === kind) response.write(`${JSON.stringify({ type, object })}\n`);
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? "/", "http://api");
    this.requests.push(`${request.method} ${url.pathname}`);
    const refuse = (code: number, message: string) =>
      response.writeHead(code).end(JSON.stringify({ kind: "Status", message, code }));
    if (request.headers.authorization !== `Bearer ${this.token}`) return void refuse(401, "Unauthorized");
    const refusal = this.#refusal;
    if (refusal !== undefined) return void refuse(refusal.status, refusal.message);
    const parts = url.pathname.split("/").slice(3);
    const kind: Kind = parts[0] === "pods" || parts[2] === "pods" ? "pods" : "namespaces";
    if (parts.length === 1) return this.#list(kind, url.searchParams.has("watch"), response);
    const key = kind === "pods" ? `${parts[1]}/${parts[3]}` : `/${parts[1]}`;
    const object = this.#objects[kind].get(key);
    if (object === undefined) return void refuse(404, `${kind} "${key}" not found`);
    if (request.method === "PATCH") this.#merge(kind, object, await textOf(request));
    response.end(JSON.stringify(this.#objects[kind].get(key)));
  }

  #list(kind: Kind, isWatch: boolean, response: ServerResponse): void {
    if (isWatch) {
      this.#watches.set(response, kind);
      response.on("close", () => this.#watches.delete(response));
      response.flushHeaders();
      return;
    }
    const metadata = { resourceVersion: String(this.#version) };
    response.end(JSON.stringify({ metadata, items: [...this.#objects[kind].values()] }));
  }

  #merge(kind: Kind, object: KubeObject, text: string): void {
    const { annotations } = (JSON.parse(text) as { metadata: { annotations: Record<string, string | null> } })
      .metadata;
    const merged = Object.entries({ ...object.metadata.annotations, ...annotations });
    const left = Object.fromEntries(merged.filter((entry): entry is [string, string] => entry[1] !== null));
    this.put(kind, { ...object, metadata: { ...object.metadata, annotations: left } });
  }
}

function keyOf({ namespace = "", name }: KubeObject["metadata"]): string {
  return `${namespace}/${name}`;
}

async function textOf(request: IncomingMessage): Promise<string> {
  let text = "";
  for await (const chunk of request) text += chunk;
  return text;
}
