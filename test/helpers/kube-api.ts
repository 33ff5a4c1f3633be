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
  #held: (() => void)[] | undefined;
  /** What a watch that goes on from an earlier version is told. */
  readonly #history: { readonly version: number; readonly kind: Kind; readonly line: string }[] = [];
  readonly #server = createServer((request, response) => void this.#answer(request, response));

  /** On a unix socket: for whoever passes on to it what reaches another network namespace. */
  async listenAt(path: string): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(path, resolve));
  }

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

  /** Ends every connection as a network does that fails. */
  breakOff(): void {
    for (const [response] of this.#watches) response.destroy();
  }

  /** Keeps what watches would be told, until goOn(). */
  hold(): void {
    this.#held = [];
  }

  goOn(): void {
    const held = this.#held ?? [];
    this.#held = undefined;
    for (const tell of held) tell();
  }

  #tell(kind: Kind, type: string, object: unknown): void {
    if (this.#held !== undefined) {
      this.#held.push(() => this.#tell(kind, type, object));
      return;
    }
    const line = `${JSON.stringify({ type, object })}\n`;
    this.#history.push({ version: this.#version, kind, line });
    for (const [response, watched] of this.#watches) if (watched === kind) response.write(line);
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
    if (parts.length === 1 && url.searchParams.has("watch"))
      return this.#watch(kind, Number(url.searchParams.get("resourceVersion")), response);
    if (parts.length === 1) return this.#list(kind, response);
    const key = kind === "pods" ? `${parts[1]}/${parts[3]}` : `/${parts[1]}`;
    const object = this.#objects[kind].get(key);
    if (object === undefined) return void refuse(404, `${kind} "${key}" not found`);
    if (request.method === "PATCH") this.#merge(kind, object, await textOf(request));
    response.end(JSON.stringify(this.#objects[kind].get(key)));
  }

  #watch(kind: Kind, since: number, response: ServerResponse): void {
    this.#watches.set(response, kind);
    response.on("close", () => this.#watches.delete(response));
    response.flushHeaders();
    for (const event of this.#history)
      if (event.kind === kind && event.version > since) response.write(event.line);
  }

  #list(kind: Kind, response: ServerResponse): void {
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
