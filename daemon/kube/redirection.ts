// Owns telling istiod, by a pod's annotation, that the pod is meshed. Must not know which pods are.

import type { Result } from "../base/errors.js";
import type { ApiServer } from "./api-server.js";
import { type PodObject, REDIRECTION } from "./objects.js";
import { pathOf } from "./paths.js";

/** null takes the annotation away. With the pod's uid: another one of the same name is none of this one's business. */
export function setRedirection(
  server: Pick<ApiServer, "patch">,
  { metadata: { namespace, name, uid } }: PodObject,
  value: "enabled" | null,
): Promise<Result<unknown>> {
  return server.patch(`${pathOf(namespace, name)}/status`, {
    metadata: { uid, annotations: { [REDIRECTION]: value } },
  });
}
