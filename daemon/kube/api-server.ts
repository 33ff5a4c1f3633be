// Owns talking to the Kubernetes API server from within a pod: requests, and lists that go on as watches.
// Must not know what the objects mean.

import { readFileSync } from "node:fs";
import type { IncomingMessage } from "node:http";
import https from "node:https";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { text as textOf } from "node:stream/consumers";
import type * as z from "zod";
import { failed, messageOf, ok, type Result } from "../base/errors.js";
import { http } from "../base/http.js";
import { reasonOfStatus } from "../base/kube-status.js";
import { kubeRefused, kubeUnreachable, readAs } from "./failure.js";

/** Milliseconds that an answer may take. */
const ANSWER_MS = 10_000;

/** Seconds after which the server ends a watch by itself; bookmarks come every minute. */
const WATCH_S = 300;

export interface ApiServerOptions {
  /** Such as https://10.96.0.1:443; http only where something else has authenticated. */
  readonly url: string;
  /** PEM; read again for each connection, as authorities are rotated. */
  readonly caFile: string;
  /** Bearer token; read again for each request, as tokens expire within the hour. */
  readonly tokenFile: string;
}

/** The files of a service account, as the kubelet mounts them in a directory. */
export function accountIn(directory: string): Pick<ApiServerOptions, "caFile" | "tokenFile"> {
  return { caFile: join(directory, "ca.crt"), tokenFile: join(directory, "token") };
}

/** What a watch says of one object. */
export interface WatchEvent {
  readonly type: string;
  readonly object: unknown;
}

type Headers = Readonly<Record<string, string>>;

/** The API server. Every failure is a value: KUBE_UNREACHABLE, or KUBE_REFUSED with what it said. */
export class ApiServer {
  readonly #options: ApiServerOptions;

  constructor(options: ApiServerOptions) {
    this.#options = options;
  }

  /** `path` with its query. Gives the answer as `schema` has it; KUBE_UNREADABLE where it is something else. */
  async get<T>(path: string, schema: z.ZodType<T>): Promise<Result<T>> {
    const got = await this.#ask("GET", path);
    return got.ok ? readAs(schema, path, got.value) : got;
  }

  /** Merges `change` into the object at `path` (RFC 7386). */
  async patch(path: string, change: unknown): Promise<Result<unknown>> {
    return this.#ask("PATCH", path, JSON.stringify(change), {
      "content-type": "application/merge-patch+json",
    });
  }

  /** Gives what changes at `path` to `take`, until the server ends that, which is no failure, or `signal` does. */
  async watch(path: string, take: (event: WatchEvent) => void, signal: AbortSignal): Promise<Result<void>> {
    const opened = await this.#open("GET", `${path}&watch=true&timeoutSeconds=${WATCH_S}`, { signal });
    if (!opened.ok) return opened;
    const response = opened.value;
    if (response.statusCode !== 200) return this.#refused("GET", path, response);
    response.setTimeout((WATCH_S + 30) * 1000, () => response.destroy(new Error("it fell silent")));
    try {
      for await (const line of createInterface({ input: response, crlfDelay: Number.POSITIVE_INFINITY }))
        if (line !== "") take(JSON.parse(line) as WatchEvent);
      return ok(undefined);
    } catch (error) {
      return failed(kubeUnreachable(this.#options.url, error));
    } finally {
      response.destroy();
    }
  }

  async #ask(method: string, path: string, body?: string, headers?: Headers): Promise<Result<unknown>> {
    const signal = AbortSignal.timeout(ANSWER_MS);
    const opened = await this.#open(method, path, { signal, body, headers });
    if (!opened.ok) return opened;
    const response = opened.value;
    if (response.statusCode !== 200) return this.#refused(method, path, response);
    try {
      return ok(JSON.parse(await textOf(response)) as unknown);
    } catch (error) {
      return failed(kubeUnreachable(this.#options.url, error));
    }
  }

  async #refused(method: string, path: string, response: IncomingMessage): Promise<Result<never>> {
    const text = await textOf(response).catch(messageOf);
    return failed(
      kubeRefused(method, path.split("?")[0] ?? path, response.statusCode ?? 0, reasonOfStatus(text)),
    );
  }

  /** Resolves with the head of the answer. */
  #open(
    method: string,
    path: string,
    {
      signal,
      body,
      headers,
    }: { signal: AbortSignal; body?: string | undefined; headers?: Headers | undefined },
  ): Promise<Result<IncomingMessage>> {
    const { url, caFile, tokenFile } = this.#options;
    return new Promise((resolve) => {
      const fail = (error: unknown) => resolve(failed(kubeUnreachable(url, error)));
      try {
        const target = new URL(path, url);
        const isSecure = target.protocol === "https:";
        const token = readFileSync(tokenFile, "utf8").trim();
        const options = {
          method,
          signal,
          headers: { ...headers, accept: "application/json", authorization: `Bearer ${token}` },
          ...(isSecure ? { ca: readFileSync(caFile) } : {}),
        };
        const request = (isSecure ? https : http).request(target, options, (response) => {
          // What breaks before anybody reads the body.
          response.on("error", () => undefined);
          resolve(ok(response));
        });
        request.on("error", fail);
        request.end(body);
      } catch (error) {
        fail(error);
      }
    });
  }
}
