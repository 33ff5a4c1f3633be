// Owns what can go wrong between weftd and the API server, in words that say what to do. Must not know who asked.

import * as z from "zod";
import { failed, ok, type Result, WeftError } from "../base/errors.js";

export function kubeUnreachable(url: string, cause: unknown): WeftError {
  return new WeftError(
    "KUBE_UNREACHABLE",
    `the API server does not answer at ${url}: pods stay as they are, and new ones wait`,
    cause,
  );
}

/** `reason` is what the API server said. */
export function kubeRefused(method: string, path: string, status: number, reason: string): WeftError {
  const advice =
    status === 401 || status === 403
      ? ": bind weft's ClusterRole to the service account that weftd runs as"
      : "";
  return new WeftError(
    "KUBE_REFUSED",
    `the API server refuses ${method} ${path} (${status}: ${reason})${advice}`,
  );
}

function kubeUnreadable(path: string, reason: string): WeftError {
  return new WeftError(
    "KUBE_UNREADABLE",
    `the API server's answer to ${path.split("?")[0]} is not as expected: ${reason}`,
  );
}

/** An object that the API server has sent from `path`; KUBE_UNREADABLE where it is not as expected. */
export function readAs<T>(schema: z.ZodType<T>, path: string, object: unknown): Result<T> {
  const parsed = schema.safeParse(object);
  return parsed.success ? ok(parsed.data) : failed(kubeUnreadable(path, z.prettifyError(parsed.error)));
}
