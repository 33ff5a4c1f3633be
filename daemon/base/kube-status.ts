// Owns why an API server of Kubernetes has refused, out of its answer. Must not know what was asked.

import { parseJson } from "./parse.js";

/** The message of a meta/v1 Status; the text itself, cut, where something between here and the server has answered. */
export function reasonOfStatus(text: string): string {
  const read = parseJson(text) as { readonly message?: unknown } | null | undefined;
  return typeof read?.message === "string" ? read.message : text.slice(0, 200);
}
