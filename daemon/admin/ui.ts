// Owns the live page at /ui: its files, which lie in the package, and what a browser may do with them.
// Must not know what the page shows.

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { packageRoot } from "../base/package-root.js";
import type { Route } from "./server.js";

/** By path; others are not there. */
const FILES = [
  { path: "/ui", file: "index.html", type: "text/html; charset=utf-8" },
  { path: "/ui/style.css", file: "style.css", type: "text/css; charset=utf-8" },
  { path: "/ui/page.js", file: "page.js", type: "text/javascript; charset=utf-8" },
] as const;

/** Nothing of another origin, nothing written into the page, and no page of others around it. */
const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "connect-src 'self'",
  "img-src data:",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join("; ");

const HEADERS = { "content-security-policy": POLICY, "referrer-policy": "no-referrer" };

/** The page's files are read when they are asked for. */
export function uiRoutes(): Route[] {
  return FILES.map(({ path, file, type }) => ({
    path,
    methods: {
      GET: async () => ({
        status: 200,
        type,
        headers: HEADERS,
        pieces: [await readFile(join(packageRoot(), "ui", file), "utf8")],
      }),
    },
  }));
}
