// Owns where the API server has what weft asks for. Must not know what comes from there.

/** A namespace, or a pod in it. */
export function pathOf(namespace: string, pod?: string): string {
  const path = `/api/v1/namespaces/${encodeURIComponent(namespace)}`;
  return pod === undefined ? path : `${path}/pods/${encodeURIComponent(pod)}`;
}

/** The pods of a node; more of the query may follow. */
export function podsOfNode(node: string): string {
  return `/api/v1/pods?fieldSelector=spec.nodeName%3D${encodeURIComponent(node)}`;
}
