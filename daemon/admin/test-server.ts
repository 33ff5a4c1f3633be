// Owns an admin server on a stand-in of the operator's view, anew for each test of a spec that asks it over HTTP.
// Must not know what is asked.

import { afterEach, beforeEach } from "vitest";
import { createLogs } from "../base/log.js";
import { adminRoutes } from "./routes.js";
import { type Listener, listen, type Route } from "./server.js";
import { type TestView, testView } from "./test-operator-view.js";

export const log = createLogs({
  levels: { default: "silent", subsystems: new Map() },
  format: "json",
}).logger("admin");

/** What the server of the present test answers from. */
export let view: TestView;
/** The metrics that the present test's server reads. */
let page = "";
export function setPage(text: string): void {
  page = text;
}

/** `http://127.0.0.1:PORT` of the present test's server. */
export let base = "";
const listeners: Listener[] = [];

/** Listens on any free port until the test ends; returns the URL to ask. */
export async function serve(routes: readonly Route[], localOnly = true): Promise<string> {
  const listener = await listen("admin", { host: "127.0.0.1", port: 0 }, routes, { log, localOnly });
  if (!listener.ok) throw listener.error;
  listeners.push(listener.value);
  return `http://127.0.0.1:${listener.value.address.port}`;
}

/** From here on the present test asks these routes. */
export async function serveInstead(routes: readonly Route[]): Promise<void> {
  base = await serve(routes);
}

/** Gives each test of the calling spec a view and a server of its own: `view` and `base`. */
export function serveEachTest(): void {
  beforeEach(async () => {
    view = testView();
    base = await serve(
      adminRoutes(view, log, async function* () {
        yield page;
      }),
    );
  });
  afterEach(stopServing);
}

/** From here on nothing answers the present test. */
export async function stopServing(): Promise<void> {
  await Promise.all(listeners.splice(0).map((listener) => listener.close()));
}

/** Asks the present test's server; `body` is the answer's JSON, undefined when it is empty. */
export async function ask(
  path: string,
  init?: RequestInit,
): Promise<{ status: number; body: unknown; headers: Headers }> {
  const response = await fetch(base + path, init);
  const text = await response.text();
  return {
    status: response.status,
    body: text === "" ? undefined : JSON.parse(text),
    headers: response.headers,
  };
}

export const post = (body: unknown): RequestInit => ({ method: "POST", body: JSON.stringify(body) });
