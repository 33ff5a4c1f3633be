// Owns how a row of the API becomes a route: what is asked is checked, and what changes something leaves a line.
// Must not know what any request answers.

import type * as z from "zod";
import type { Logger } from "../base/log.js";
import type { ErrorResponse } from "./answers.js";
import {
  type AnswerOf,
  api,
  type BodyOf,
  type Call,
  type CallName,
  type ParamsOf,
  type QueryOf,
} from "./api.js";
import { badRequest, type Handler, type Reply, type Route, type RouteRequest } from "./server.js";

export interface Asked<C extends Call> {
  readonly params: ParamsOf<C>;
  readonly query: QueryOf<C>;
  readonly body: BodyOf<C>;
  /** Aborted when the client goes away: a handler that waits ends then. */
  readonly signal: AbortSignal;
}

/** The row's answer, or a refusal. `status` only where it is not the row's own. */
export type Answered<C extends Call> =
  | { readonly json: AnswerOf<C>; readonly status?: number }
  | { readonly pieces: Iterable<string> | AsyncIterable<string>; readonly type?: string }
  | Reply<ErrorResponse>;

export type CallHandler<C extends Call> = (asked: Asked<C>) => Answered<C> | Promise<Answered<C>>;
export type CallHandlers<Name extends CallName> = { readonly [N in Name]: CallHandler<(typeof api)[N]> };

const JSON_TYPE = "application/json; charset=utf-8";

/** Routes for the rows that have a handler. `log` gets a line for each request that may change something. */
export function apiRoutes<Name extends CallName>(handlers: CallHandlers<Name>, log: Logger): Route[] {
  // It keeps the level of the start: whoever silences the log by a request cannot silence the line about it.
  const audit = log.child({ audit: true });
  audit.level = log.level;
  const byPath = new Map<string, Pick<Route, "methods" | "maxBodyBytes">>();
  for (const name of Object.keys(handlers) as Name[]) {
    const call: Call = api[name];
    // The table's types tie each handler to its row; a loop over both cannot be told so.
    const handler = handlers[name] as unknown as CallHandler<Call>;
    const serve: Handler = async (request) => {
      const { reply, asked } = await answer(call, handler, request);
      if (call.method !== "GET" && !call.isQuestion)
        audit.info({ ...trace(request, asked, reply), call: name }, "change asked for");
      return reply;
    };
    for (const path of [call.path, ...(call.alsoAt ?? [])]) {
      const { methods, maxBodyBytes = call.maxBodyBytes } = byPath.get(path) ?? {};
      byPath.set(path, { methods: { ...methods, [call.method]: serve }, maxBodyBytes });
    }
  }
  return [...byPath].map(([path, route]) => ({ path, ...route }));
}

async function answer(
  call: Call,
  handler: CallHandler<Call>,
  request: RouteRequest,
): Promise<{ reply: Reply; asked?: Asked<Call> }> {
  const query = call.query?.safeParse(Object.fromEntries(request.url.searchParams));
  if (query?.success === false) return { reply: badRequest(problems("query", query.error)) };
  const body = call.body?.safeParse(request.body);
  if (body?.success === false) return { reply: badRequest(problems("body", body.error)) };
  const { params, signal } = request;
  const asked = { params, query: query?.data, body: body?.data, signal } as Asked<Call>;
  return { reply: toReply(call, await handler(asked)), asked };
}

function toReply(call: Call, answered: Answered<Call>): Reply {
  const status =
    "status" in answered && answered.status !== undefined ? answered.status : (call.status ?? 200);
  if ("json" in answered) return { status, json: answered.json };
  return { status, type: answered.type ?? JSON_TYPE, pieces: answered.pieces };
}

/** Who asked for what, and what came of it. */
function trace({ peer, params }: RouteRequest, asked: Asked<Call> | undefined, reply: Reply): object {
  const { query, body } = asked ?? {};
  const outcome = "json" in reply && reply.status >= 400 ? (reply.json as ErrorResponse) : {};
  return { peer, params, query, body, status: reply.status, ...outcome };
}

function problems(what: string, error: z.ZodError): string {
  const texts = error.issues.map(({ path, message }) => [...path.map(String), message].join(": "));
  return `wrong ${what}: ${texts.join("; ")}`;
}
