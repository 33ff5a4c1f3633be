// Owns the way to the admin port: requests, refusals, an absent daemon, answers that are none.
// Must not know what is asked.

import { error as refusal } from "../../daemon/admin/answers.js";
import type { AnswerOf, Call, ParamsOf, QueryOf, SentOf } from "../../daemon/admin/api.js";
import { adminAnswerInvalid, adminUnreachable, describe, messageOf } from "../../daemon/base/errors.js";
import { CommandFailure, ExitCode } from "./failure.js";

const TIMEOUT_MS = 60_000;

/** What goes with a request; which of them, its row of the API says. */
export interface Given<C extends Call> {
  readonly params?: ParamsOf<C>;
  readonly query?: QueryOf<C>;
  readonly body?: SentOf<C>;
}

/** Talks to one daemon. Every method throws CommandFailure: with the daemon's own reason, or why there is none. */
export class AdminClient {
  readonly #base: () => Promise<string>;
  readonly #signal: AbortSignal | undefined;

  /** A URL, or the way to one, which is looked for at the first request; `signal` ends every call. */
  constructor(base: string | (() => Promise<string>), signal?: AbortSignal) {
    this.#signal = signal;
    this.#base = typeof base === "string" ? () => Promise.resolve(base) : base;
  }

  /** The answer, when it is one: fields that this weftctl does not know are left in it. */
  async call<C extends Call>(call: C, given: Given<C> = {}): Promise<AnswerOf<C>> {
    const signal = this.#signal ?? AbortSignal.timeout(TIMEOUT_MS);
    const { response, url } = await this.#send(call, given, signal);
    const body = await this.#json(response, url);
    if (!response.ok) throw this.#refused(response, body, url);
    const { success, error } = call.answer.safeParse(body);
    if (success) return body as AnswerOf<C>;
    const [issue] = error.issues;
    throw this.#invalid(url, `${issue?.path.join(".") || "the whole"}: ${issue?.message}`);
  }

  /** Whole lines of an endless answer as they come, until the daemon ends it or `signal` aborts. */
  async *stream<C extends Call>(call: C, given: Given<C>, signal: AbortSignal): AsyncGenerator<string> {
    const { response, url } = await this.#send(call, given, signal);
    if (!response.ok) throw this.#refused(response, await this.#json(response, url), url);
    const decoder = new TextDecoder();
    let rest = "";
    try {
      for await (const chunk of (response.body ?? []) as AsyncIterable<Uint8Array>) {
        const text = rest + decoder.decode(chunk, { stream: true });
        const end = text.lastIndexOf("\n") + 1;
        rest = text.slice(end);
        if (end > 0) yield text.slice(0, end);
      }
    } catch (error) {
      if (!signal.aborted) throw this.#invalid(url, `it broke off: ${messageOf(causeOf(error))}`);
    }
  }

  async #send<C extends Call>(
    call: C,
    { params, query, body }: Given<C>,
    signal: AbortSignal,
  ): Promise<{ response: Response; url: string }> {
    const base = await this.#base();
    const names: Readonly<Record<string, string>> = params ?? {};
    const path = call.path.replaceAll(/:(\w+)/g, (_, name: string) => encodeURIComponent(names[name] ?? ""));
    const entries = Object.entries(query ?? {}).filter(([, value]) => value !== undefined);
    const search = new URLSearchParams(entries as [string, string][]).toString();
    const url = `${base}${path}${search === "" ? "" : `?${search}`}`;
    const init: RequestInit = { method: call.method, signal };
    if (body !== undefined) {
      init.body = JSON.stringify(body);
      init.headers = { "content-type": "application/json" };
    }
    try {
      return { response: await fetch(url, init), url };
    } catch (error) {
      throw new CommandFailure(describe(adminUnreachable(base, causeOf(error))), ExitCode.unreachable);
    }
  }

  /** The body as JSON. What is cut off, or is none, is no answer of weftd. */
  async #json(response: Response, url: string): Promise<unknown> {
    let text: string;
    try {
      text = await response.text();
    } catch (error) {
      throw this.#invalid(url, `it broke off: ${messageOf(causeOf(error))}`);
    }
    try {
      return JSON.parse(text);
    } catch {
      const type = response.headers.get("content-type") ?? "no type";
      throw this.#invalid(
        url,
        `status ${response.status} with ${text.length} characters of ${type}, no JSON`,
      );
    }
  }

  #refused(response: Response, body: unknown, url: string): CommandFailure {
    const { success, data } = refusal.safeParse(body);
    return success
      ? new CommandFailure(data.reason)
      : this.#invalid(url, `status ${response.status}, no reason`);
  }

  #invalid(url: string, reason: string): CommandFailure {
    return new CommandFailure(describe(adminAnswerInvalid(url, reason)), ExitCode.unreachable);
  }
}

/** Reads `--admin`: a URL, perhaps with a path before those of weftd, or `HOST:PORT`. */
export function parseAdminUrl(text: string): string {
  const url = /^https?:\/\//.test(text) ? text : `http://${text}`;
  if (!URL.canParse(url) || /[?#]/.test(url))
    throw new CommandFailure(`"${text}" is no URL such as http://127.0.0.1:15200`, ExitCode.usage);
  const { origin, pathname } = new URL(url);
  return origin + pathname.replace(/\/+$/, "");
}

/** fetch hides what went wrong (ECONNREFUSED) in the cause. */
function causeOf(error: unknown): unknown {
  return error instanceof Error && error.cause instanceof Error ? error.cause : error;
}
