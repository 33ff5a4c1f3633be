// Owns what other rooms may ask of governing by Kubernetes' labels. Must not know how it is done.

import { WeftError } from "../base/errors.js";

export interface Kubernetes {
  /** A clause: why pods may not be governed as labelled; undefined while all is well. */
  trouble(): string | undefined;
}

/** To whoever enrolls by hand there: the next look at the labels would undo it. */
export function podsOfKubernetes(): WeftError {
  return new WeftError(
    "PODS_OF_KUBERNETES",
    "pods of this node are governed by their labels: use 'kubectl label namespace NAME istio.io/dataplane-mode=ambient', or none on a pod",
  );
}
