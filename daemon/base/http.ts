// Owns Node's HTTP without what an import of it loads. Must not know who speaks it.

import { createRequire } from "node:module";

/**
 * node:http. Required, for an import of it reads every export, and with WebSocket's comes Node's client of the web:
 * 35 ms of a start with Node 24.
 */
export const http = createRequire(import.meta.url)("node:http") as typeof import("node:http");
