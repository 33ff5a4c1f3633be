// Owns the way to the admin port: requests, refusals, an absent daemon. Must not know what is asked.

import type { ErrorResponse } from "../../daemon/admin/responses.js";
import { adminUnreachable, describe } from "../../daemon/base/errors.js";
import { CommandFailure, ExitCode } from "./failure.js";

const TIMEOUT_MS = 60_000;

export interface AdminRequest {
  readonly method?: "GET" | "POST" | "DELETE";
  readonly query?: Readonly<Record<string, string>>;
  readonly body?: unknown;
  /** Status codes whose JSON is an answer although they are no success. */
  readonly accept?: readonly number[];
}

/** Talks to one daemon. Every method throws CommandFailure with the daemon's own reason. */
export class AdminClient {
  constructor(readonly base: string) {}

  /** The answer's JSON. Its shape is that of daemon/admin/responses.ts, which is built together with this. */
  async json<T>(path: string, request: AdminRequest = {}): Promise<T> {
    const response = await this.#send(path, request, AbortSignal.timeout(TIMEOUT_MS));
    const body: unknown = await response.json().catch(() => undefined);
    if (response.ok || request.accept?.includes(response.status)) return body as T;
    throw new CommandFailure(reasonOf(body) ?? `${this.base}${path} answered ${response.status}`);
  }

  /** Text as it comes, until the daemon ends it or `signal` aborts. */
  async *stream(path: string, request: AdminRequest, signal: AbortSignal): AsyncGenerator<string> {
    const response = await this.#send(path, request, signal);
    if (!response.ok || response.body === null) {
      const body: unknown = await response.json().catch(() => undefined);
      throw new CommandFailure(reasonOf(body) ?? `${this.base}${path} answered ${response.status}`);
    }
    const decoder = new TextDecoder();
    try {
      for await (const chunk of response.body as AsyncIterable<Uint8Array>)
        yield decoder.decode(chunk, { stream: true });
    } catch (error) {
      if (!signal.aborted) throw this.#unreachable(error);
    }
  }

  async #send(path: string, request: AdminRequest, signal: AbortSignal): Promise<Response> {
    const query = new URLSearchParams(request.query).toString();
    const init: RequestInit = { method: request.method ?? "GET", signal };
    if (request.body !== undefined) {
      init.body = JSON.stringify(request.body);
      init.headers = { "content-type": "application/json" };
    }
    try {
      return await fetch(`${this.base}${path}${query === "" ? "" : `?${query}`}`, init);
    } catch (error) {
      throw this.#unreachable(error);
    }
  }

  #unreachable(error: unknown): CommandFailure {
    // fetch hides what went wrong (ECONNREFUSED) in the cause.
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
    return new CommandFailure(describe(adminUnreachable(this.base, cause)), ExitCode.unreachable);
  }
}

/** Reads `--admin`: a URL, or `HOST:PORT`. */
export function parseAdminUrl(text: string): string {
  const url = /^https?:\/\//.test(text) ? text : `http://${text}`;
  if (!URL.canParse(url))
    throw new CommandFailure(`"${text}" is no URL such as http://127.0.0.1:15200`, ExitCode.usage);
  return new URL(url).origin;
}

function reasonOf(body: unknown): string | undefined {
  if (typeof body !== "object" || body === null || !("reason" in body)) return undefined;
  return String((body as ErrorResponse).reason);
}
