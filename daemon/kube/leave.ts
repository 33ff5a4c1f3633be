// Owns taking back what weft has told the API server of this node's pods. Must not know a running daemon.

import * as z from "zod";
import { ok, type Result } from "../base/errors.js";
import type { ApiServer } from "./api-server.js";
import { podObject, REDIRECTION } from "./objects.js";
import { podsOfNode } from "./paths.js";
import { setRedirection } from "./redirection.js";

const podList = z.object({ items: z.array(podObject) });

/** Takes the annotation from each pod of the node that has it, so that istiod treats none as meshed; gives how many. */
export async function takeBackAnnotations(
  server: Pick<ApiServer, "get" | "patch">,
  nodeName: string,
): Promise<Result<number>> {
  const listed = await server.get(podsOfNode(nodeName), podList);
  if (!listed.ok) return listed;
  const marked = listed.value.items.filter(({ metadata }) => REDIRECTION in metadata.annotations);
  for (const pod of marked) {
    const patched = await setRedirection(server, pod, null);
    if (!patched.ok) return patched;
  }
  return ok(marked.length);
}
