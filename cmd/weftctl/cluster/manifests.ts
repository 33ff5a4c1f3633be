// Owns what weft's objects in a cluster are: the chart as rendered with its defaults, with a few values of one's own.
// Must not know how they get there.

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parse, parseAllDocuments, stringify } from "yaml";
import { configInvalid, describe } from "../../../daemon/base/errors.js";
import { packageRoot } from "../../../daemon/base/package-root.js";
import { loadConfig } from "../../../daemon/config/config.js";
import { CommandFailure, ExitCode } from "../failure.js";
import type { KubeObject } from "./kube.js";

/** The namespace that the chart was rendered for. */
export const NAMESPACE = "weft-system";

const CONFIG_HASH = "weft/config-hash";
export const MANAGED_BY = "app.kubernetes.io/managed-by";

export interface ManifestOptions {
  readonly namespace: string;
  readonly image?: string | undefined;
  readonly imagePullPolicy?: string | undefined;
  /** Keys of weftd, over those of the chart. */
  readonly config: Readonly<Record<string, unknown>>;
}

/** Volumes of the node whose place a key of weftd names. */
const PLACES = { "cni-bin-dir": "cni-bin", "cni-conf-dir": "cni-conf", "state-dir": "state" } as const;

interface Volume {
  readonly name: string;
  readonly hostPath?: { readonly path: string };
}

interface Mount {
  readonly name: string;
  readonly mountPath: string;
}

interface Container {
  readonly image: string;
  readonly imagePullPolicy: string;
  readonly volumeMounts: readonly Mount[];
}

interface PodTemplate {
  readonly metadata: { readonly annotations: Readonly<Record<string, string>> };
  readonly spec: { readonly containers: readonly Container[]; readonly volumes: readonly Volume[] };
}

/** Every object, in the order in which they are to be made. @throws CommandFailure for what weftd would refuse. */
export function manifests(options: ManifestOptions): KubeObject[] {
  const text = readFileSync(join(packageRoot(), "deploy", "manifests", "weft.yaml"), "utf8");
  const rendered = parseAllDocuments(text).map((document) => document.toJS() as KubeObject);
  const { namespace } = options;
  const config = configText(rendered, options.config);
  const objects = rendered.map((object) => {
    const moved = inNamespace(object, namespace);
    if (object.kind === "ConfigMap") return { ...moved, data: { "weft.yaml": config } };
    return object.kind === "DaemonSet" ? daemonSet(moved, options, config) : moved;
  });
  // Where a cluster asks for it, as pods of the node's network and its files are not everybody's.
  const labels = { [MANAGED_BY]: "weftctl", "pod-security.kubernetes.io/enforce": "privileged" };
  return [{ apiVersion: "v1", kind: "Namespace", metadata: { name: namespace, labels } }, ...objects];
}

function configText(objects: readonly KubeObject[], own: Readonly<Record<string, unknown>>): string {
  const map = objects.find(({ kind }) => kind === "ConfigMap") as
    | { data?: Record<string, string> }
    | undefined;
  const text = stringify({ ...(parse(map?.data?.["weft.yaml"] ?? "") as object), ...own });
  const loaded = loadConfig({ config: "weft.yaml" }, {}, () => text);
  if (!loaded.ok) throw new CommandFailure(describe(configInvalid(loaded.errors)), ExitCode.usage);
  return text;
}

/** With everything in it that the namespace's name stands in. */
function inNamespace(object: KubeObject, namespace: string): KubeObject {
  const text = JSON.stringify(object)
    .replaceAll(`"${NAMESPACE}"`, JSON.stringify(namespace))
    .replaceAll(`"weft-${NAMESPACE}"`, JSON.stringify(`weft-${namespace}`))
    .replaceAll(`"${MANAGED_BY}":"Helm"`, `"${MANAGED_BY}":"weftctl"`);
  return JSON.parse(text) as KubeObject;
}

function daemonSet(object: KubeObject, options: ManifestOptions, config: string): KubeObject {
  const spec = object.spec as { readonly template: PodTemplate };
  const { template } = spec;
  const places = placesOf(config);
  const containers = template.spec.containers.map((container) => ({
    ...container,
    image: options.image ?? container.image,
    imagePullPolicy: options.imagePullPolicy ?? container.imagePullPolicy,
    volumeMounts: container.volumeMounts.map((mount) => ({
      ...mount,
      mountPath: places.get(mount.name) ?? mount.mountPath,
    })),
  }));
  const volumes = template.spec.volumes.map((volume) => {
    const path = places.get(volume.name);
    return path === undefined ? volume : { ...volume, hostPath: { ...volume.hostPath, path } };
  });
  const annotations = { ...template.metadata.annotations, [CONFIG_HASH]: hash(config) };
  const metadata = { ...template.metadata, annotations };
  return {
    ...object,
    spec: { ...spec, template: { metadata, spec: { ...template.spec, containers, volumes } } },
  };
}

function placesOf(config: string): ReadonlyMap<string, string> {
  const keys = parse(config) as Readonly<Record<string, unknown>>;
  return new Map(Object.entries(PLACES).map(([key, volume]) => [volume, String(keys[key])]));
}

function hash(text: string): string {
  return createHash("sha256").update(text).digest("hex").slice(0, 16);
}
