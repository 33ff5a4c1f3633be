// Owns the names that completion offers: whom it asks for which kind, and for how long. Must not know shells, nor any verb.

import * as z from "zod";
import { api } from "../../daemon/admin/api.js";
import type { Kube } from "./cluster/kube.js";
import { type Reached, reach, type Terminal } from "./context.js";
import type { NameKind, Wanted } from "./named.js";

/** Milliseconds after which nobody waits for a name any more: with the start of weftctl less than a second. */
const PATIENCE_MS = 600;

/** As many names as the API server is asked for. */
const LIMIT = 500;

/** What was typed before the name: values by option. */
export type Given = ReadonlyMap<string, string>;

/** Names that begin with `prefix`; none where nobody answers in time, or nobody lets us ask. Never throws. */
export async function namesOf(
  { kind, suffix }: Wanted,
  prefix: string,
  given: Given,
  { env }: Pick<Terminal, "env">,
): Promise<string[]> {
  const options = Object.fromEntries(given);
  let way: Reached | undefined;
  try {
    way = reach(options, env, { milliseconds: PATIENCE_MS, signal: AbortSignal.timeout(PATIENCE_MS) });
    const names = await ask(way, kind, prefix, options.namespace);
    return names.map((name) => name + suffix);
  } catch {
    // There is nobody to tell: a message would stand in the midst of the command line.
    return [];
  } finally {
    await way?.close();
  }
}

function ask(way: Reached, kind: NameKind, prefix: string, namespace: string | undefined): Promise<string[]> {
  switch (kind) {
    case "cluster namespace":
      return list(way.kube(), "/api/v1/namespaces");
    case "node":
      return list(way.kube(), "/api/v1/nodes");
    case "cluster pod":
      return podsOf(way.kube(), prefix);
    case "waypoint":
      return list(
        way.kube(),
        `/apis/gateway.networking.k8s.io/v1/${placeOf(way.kube(), namespace)}/gateways`,
      );
    default:
      return way.client.call(api.names, { query: { kind, prefix } }).then(({ names }) => [...names]);
  }
}

/** Namespaces first, then the pods of the one that is typed. */
async function podsOf(kube: Kube, prefix: string): Promise<string[]> {
  const [namespace = "", name] = prefix.split("/");
  if (name === undefined) return (await list(kube, "/api/v1/namespaces")).map((each) => `${each}/`);
  const pods = await list(kube, `/api/v1/namespaces/${encodeURIComponent(namespace)}/pods`);
  return pods.map((each) => `${namespace}/${each}`);
}

function placeOf(kube: Kube, namespace: string | undefined): string {
  return `namespaces/${encodeURIComponent(namespace ?? kube.connection.namespace)}`;
}

const metadataList = z.object({ items: z.array(z.object({ metadata: z.object({ name: z.string() }) })) });

async function list(kube: Kube, path: string): Promise<string[]> {
  const accept = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";
  const found = await kube.get(`${path}?limit=${LIMIT}`, metadataList, accept);
  return (found?.items ?? []).map(({ metadata }) => metadata.name);
}
