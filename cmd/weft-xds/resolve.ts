// Owns the references inside a mesh: names to keys, endpoints to the workloads that carry them.
// Must not know where the mesh was written, nor the wire.

import type { Problem } from "../../daemon/base/schema-problems.js";
import { qualified } from "../../daemon/model/policy-words.js";
import type { Port } from "../../daemon/model/workload.js";
import type { MeshFile, MeshService, MeshWorkload } from "./mesh-schema.js";

/** A workload with what others say about it. */
export interface ResolvedWorkload {
  readonly workload: MeshWorkload;
  readonly uid: string;
  /** Service key -> ports served there. */
  readonly services: ReadonlyMap<string, readonly Port[]>;
  /** Keys of the policies that select it. */
  readonly policies: readonly string[];
}

export interface ResolvedMesh {
  readonly workloads: readonly ResolvedWorkload[];
  /** References to nothing, and names given twice. */
  readonly problems: readonly Problem[];
}

export function hostnameOf(service: MeshService): string {
  return service.hostname ?? `${service.name}.${service.namespace}.svc.cluster.local`;
}

export function keyOf(service: MeshService): string {
  return `${service.namespace}/${hostnameOf(service)}`;
}

/** Follows every reference. What it builds is complete only without problems. */
export function resolveMesh(mesh: MeshFile): ResolvedMesh {
  const problems: Problem[] = [];
  const workloads = mesh.workloads.map((workload) => ({
    workload,
    uid: workload.uid ?? `${workload.clusterId}//Pod/${workload.namespace}/${workload.name}`,
    services: new Map<string, readonly Port[]>(),
    policies: [] as string[],
  }));
  const byUid = indexed(workloads, (entry) => entry.uid, "workloads", problems);
  const byName = new Map(
    workloads.map((entry) => [`${entry.workload.namespace}/${entry.workload.name}`, entry]),
  );
  const services = indexed(mesh.services, keyOf, "services", problems);
  const byServiceName = new Map(
    mesh.services.map((service) => [`${service.namespace}/${service.name}`, service]),
  );
  indexed(mesh.policies, (policy) => `${policy.namespace}/${policy.name}`, "policies", problems);

  const findWorkload = (reference: string, namespace: string, path: Problem["path"]) => {
    const found = byName.get(qualified(reference, namespace)) ?? byUid.get(reference);
    if (found === undefined) problems.push({ path, reason: `no workload ${JSON.stringify(reference)}` });
    return found;
  };
  const serve = (
    entry: (typeof workloads)[number],
    service: MeshService,
    ports: readonly Port[],
    path: Problem["path"],
  ) => {
    const named = ports.filter((port) => port.targetPort === 0).map((port) => port.servicePort);
    if (named.length > 0)
      problems.push({ path, reason: `needs a target port of its own for ${named.join(", ")}` });
    if (entry.services.has(keyOf(service)))
      problems.push({ path, reason: "is an endpoint of this service twice" });
    entry.services.set(keyOf(service), ports);
  };

  for (const [i, entry] of workloads.entries()) {
    for (const [reference, ports] of Object.entries(entry.workload.services)) {
      const path = ["workloads", i, "services", reference];
      const name = qualified(reference, entry.workload.namespace);
      const service = byServiceName.get(name) ?? services.get(name);
      if (service === undefined) problems.push({ path, reason: `no service ${JSON.stringify(reference)}` });
      else serve(entry, service, ports ?? service.ports, path);
    }
  }
  for (const [i, service] of mesh.services.entries()) {
    for (const [j, endpoint] of service.endpoints.entries()) {
      const path = ["services", i, "endpoints", j];
      const entry = findWorkload(endpoint.workload, service.namespace, path);
      if (entry !== undefined) serve(entry, service, endpoint.ports ?? service.ports, path);
    }
  }
  for (const [i, policy] of mesh.policies.entries()) {
    for (const [j, reference] of (policy.workloads ?? []).entries()) {
      const entry = findWorkload(reference, policy.namespace, ["policies", i, "workloads", j]);
      entry?.policies.push(`${policy.namespace}/${policy.name}`);
    }
  }
  return { workloads, problems };
}

function indexed<T>(
  items: readonly T[],
  keyOf: (item: T) => string,
  list: string,
  problems: Problem[],
): Map<string, T> {
  const index = new Map<string, T>();
  for (const [i, item] of items.entries()) {
    const key = keyOf(item);
    if (index.has(key)) problems.push({ path: [list, i], reason: `${key} is there twice` });
    index.set(key, item);
  }
  return index;
}
