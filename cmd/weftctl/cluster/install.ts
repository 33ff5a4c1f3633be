// Owns `weftctl install`: weft's objects, printed or applied. Must not know what is in them.

import { stringify } from "yaml";
import * as z from "zod";
import { parseDuration } from "../../../daemon/base/parse.js";
import { CommandFailure, ExitCode } from "../failure.js";
import type { Output } from "../output.js";
import type { Kube } from "./kube.js";
import { manifests } from "./manifests.js";
import { isReady, podsOf, rolledOut, troubleOf } from "./rollout.js";

export interface InstallOptions {
  readonly namespace: string;
  readonly image?: string;
  readonly imagePullPolicy?: string;
  readonly istiod?: string;
  readonly clusterId?: string;
  /** KEY=VALUE */
  readonly set: readonly string[];
  readonly print?: true;
  readonly force?: true;
  readonly timeout: string;
}

/** Meshes that take the same pods' traffic, by the label of their DaemonSets. */
const OTHERS = ["ztunnel", "kmesh"];

const daemonSets = z.object({
  items: z.array(z.object({ metadata: z.object({ name: z.string(), namespace: z.string() }) })),
});

export async function install(out: Output, kubeOf: () => Kube, options: InstallOptions): Promise<void> {
  const limit = durationOf(options.timeout);
  const objects = manifests({
    namespace: options.namespace,
    image: options.image,
    imagePullPolicy: options.imagePullPolicy,
    config: {
      ...(options.istiod === undefined ? {} : { "xds-address": options.istiod }),
      ...(options.clusterId === undefined ? {} : { "cluster-id": options.clusterId }),
      ...Object.fromEntries(options.set.map(keyAndValue)),
    },
  });
  if (options.print) {
    out.piece(objects.map((object) => `---\n${stringify(object, { lineWidth: 0 })}`).join(""));
    return;
  }
  const kube = kubeOf();
  if (!options.force) await refuseBesideOthers(kube);
  for (const object of objects) {
    await kube.apply(object);
    out.message(`${object.kind.toLowerCase()}/${object.metadata.name} applied`);
  }
  const { desired, ready, isDone } = await rolledOut(kube, options.namespace, "weft", Date.now() + limit);
  const summary = `weft is ready on ${ready} of ${desired} nodes`;
  if (isDone) return out.data({ desired, ready }, () => summary);
  const pods = await podsOf(kube, options.namespace, "weft");
  const late = pods.filter((pod) => !isReady(pod)).map((pod) => `${pod.spec.nodeName}: ${troubleOf(pod)}`);
  throw new CommandFailure(`${summary} after ${options.timeout}; ${late.join("; ")}`);
}

async function refuseBesideOthers(kube: Kube): Promise<void> {
  const selector = encodeURIComponent(`app in (${OTHERS.join(",")})`);
  const found = await kube.get(`/apis/apps/v1/daemonsets?labelSelector=${selector}`, daemonSets);
  const [other] = found?.items ?? [];
  if (other === undefined) return;
  const { name, namespace } = other.metadata;
  throw new CommandFailure(
    `${name} runs in ${namespace}: it and weft would both take the pods' connections; remove it first (docs/migrate.md), or use --force where they govern different nodes`,
  );
}

function keyAndValue(text: string): [string, unknown] {
  const [, key, value] = /^([a-z0-9-]+)=(.*)$/s.exec(text) ?? [];
  if (key === undefined || value === undefined)
    throw new CommandFailure(`"${text}" is no KEY=VALUE such as access-log=true`, ExitCode.usage);
  return [key, value];
}

/** Milliseconds. */
export function durationOf(text: string): number {
  const parsed = parseDuration(text);
  if (parsed.ok) return parsed.value;
  throw new CommandFailure(parsed.reason, ExitCode.usage);
}
