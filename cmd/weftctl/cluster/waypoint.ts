// Owns `weftctl waypoint`: Gateways of class istio-waypoint, as istioctl makes them. Must not know what a waypoint does.

import { stringify } from "yaml";
import * as z from "zod";
import type { Context } from "../context.js";
import { CommandFailure, ExitCode } from "../failure.js";
import type { Column } from "../output.js";
import { durationOf } from "./install.js";
import { type Kube, type KubeName, type KubeObject, pathOf } from "./kube.js";
import { comesTrue } from "./rollout.js";

const GATEWAY_API = "gateway.networking.k8s.io/v1";
const CLASS = "istio-waypoint";
const FOR = "istio.io/waypoint-for";
const REVISION = "istio.io/rev";
const USE = "istio.io/use-waypoint";
const MODE = "istio.io/dataplane-mode";

/** What istiod takes for `istio.io/waypoint-for`. */
export const TRAFFIC_TYPES = ["all", "none", "service", "workload"] as const;

/** Of every verb. */
interface Place {
  readonly namespace?: string;
}

export interface GenerateOptions extends Place {
  readonly name: string;
  readonly for?: (typeof TRAFFIC_TYPES)[number];
  readonly revision?: string;
}

export interface ApplyOptions extends GenerateOptions {
  readonly enrollNamespace?: true;
  readonly overwrite?: true;
  readonly wait?: true;
  readonly waypointTimeout: string;
}

export interface ListOptions extends Place {
  readonly allNamespaces?: true;
}

export interface StatusOptions extends ListOptions {
  readonly wait: boolean;
  readonly waypointTimeout: string;
}

export interface DeleteOptions extends Place {
  readonly all?: true;
  readonly revision?: string;
}

const texts = z.record(z.string(), z.string()).default({});

const condition = z.object({
  type: z.string(),
  status: z.string(),
  reason: z.string().default(""),
  message: z.string().default(""),
});

const gateway = z.object({
  metadata: z.object({ name: z.string(), namespace: z.string(), labels: texts }),
  spec: z.object({ gatewayClassName: z.string() }),
  status: z.object({ conditions: z.array(condition).default([]) }).prefault({}),
});
type Gateway = z.output<typeof gateway>;

const gateways = z.object({ items: z.array(gateway) });
const labelled = z.object({ metadata: z.object({ labels: texts }) });

/** Writes the Gateway, and asks no cluster. */
export async function generateWaypoint({ out }: Context, options: GenerateOptions): Promise<void> {
  const object = gatewayOf(options, options.namespace);
  out.data(object, () => stringify(object));
}

/** Makes or changes it; with `wait` fails when it is not programmed in time. */
export async function applyWaypoint({ out, kube: kubeOf }: Context, options: ApplyOptions): Promise<void> {
  const limit = durationOf(options.waypointTimeout);
  const kube = kubeOf();
  const namespace = options.namespace ?? kube.connection.namespace;
  const object = gatewayOf(options, namespace);
  const { name } = object.metadata;
  if ((await kube.get(`/apis/${GATEWAY_API}`, z.unknown())) === undefined) throw noGateways();
  if (options.enrollNamespace) {
    const { metadata } = await namespaceOf(kube, namespace);
    const { [USE]: used, [MODE]: mode } = metadata.labels;
    if (used !== undefined && used !== name && !options.overwrite)
      throw new CommandFailure(`namespace ${namespace} uses waypoint ${used}: --overwrite changes that`);
    if (!["ambient", "kmesh"].includes(mode?.toLowerCase() ?? ""))
      out.message(
        `namespace ${namespace} is not in the mesh: kubectl label namespace ${namespace} ${MODE}=ambient`,
      );
  }
  await kube.apply(object);
  out.message(`waypoint ${namespace}/${name} applied`);
  out.message(
    "the proxy that istiod deploys for it expects HBONE, and weft speaks PROXY protocol v2: docs/waypoints.md",
  );
  if (options.wait) {
    const isReady = async () => isProgrammed(await kube.get(pathOf(object), gateway));
    if (!(await comesTrue(isReady, Date.now() + limit)))
      throw new CommandFailure(
        `waypoint ${namespace}/${name} is not programmed after ${options.waypointTimeout}: weftctl waypoint status --wait=false -n ${namespace}`,
      );
    out.message(`waypoint ${namespace}/${name} is ready`);
  }
  if (options.enrollNamespace) {
    await kube.merge(namespaceNamed(namespace), { metadata: { labels: { [USE]: name } } });
    out.message(`namespace ${namespace} labelled ${USE}=${name}`);
  }
  const done = { namespace, name, ready: options.wait ?? null, enrolled: options.enrollNamespace ?? false };
  out.data(done, () => "");
}

/** Waypoints of a namespace, or of all. */
export async function listWaypoints({ out, kube }: Context, options: ListOptions): Promise<void> {
  const found = await waypointsOf(kube(), options);
  const rows = found.map((each) => ({
    namespace: each.metadata.namespace,
    name: each.metadata.name,
    revision: each.metadata.labels[REVISION] ?? "default",
    // As istiod has it where nobody says.
    trafficType: each.metadata.labels[FOR] ?? "service",
    programmed: programmedOf(each)?.status ?? "Unknown",
  }));
  out.data({ waypoints: rows }, () => out.table(listColumns, rows, "no waypoints"));
}

/** Fails when one is not programmed, after everything is printed. */
export async function waypointStatus({ out, kube: kubeOf }: Context, options: StatusOptions): Promise<void> {
  const deadline = Date.now() + durationOf(options.waypointTimeout);
  const kube = kubeOf();
  let found: Gateway[] = [];
  await comesTrue(async () => {
    found = await waypointsOf(kube, options);
    return !options.wait || found.every(isProgrammed);
  }, deadline);
  const rows = found.map((each) => ({
    namespace: each.metadata.namespace,
    name: each.metadata.name,
    ...(programmedOf(each) ?? { status: "Unknown", type: "Programmed", reason: "", message: "" }),
  }));
  out.data({ waypoints: rows }, () => out.table(statusColumns, rows, "no waypoints"));
  const bad = found.filter((each) => !isProgrammed(each)).length;
  if (bad > 0) throw new CommandFailure(`${bad} of ${found.length} waypoints are not programmed`);
}

/** Fails when one that was named is not there, after the others are deleted. */
export async function deleteWaypoints(
  { out, kube: kubeOf }: Context,
  names: readonly string[],
  { all, revision, namespace }: DeleteOptions,
): Promise<void> {
  const isMany = all === true || revision !== undefined;
  if (isMany === names.length > 0)
    throw new CommandFailure("name waypoints, or say --all or --revision", ExitCode.usage);
  const kube = kubeOf();
  const found = await waypointsOf(kube, { ...(namespace === undefined ? {} : { namespace }) });
  const chosen = found.filter(({ metadata: { name, labels } }) =>
    isMany ? revision === undefined || labels[REVISION] === revision : names.includes(name),
  );
  const deleted: string[] = [];
  for (const { metadata } of chosen) {
    const named = { apiVersion: GATEWAY_API, kind: "Gateway", metadata };
    if (await kube.delete(named)) deleted.push(`${metadata.namespace}/${metadata.name}`);
  }
  out.data({ deleted }, () => deleted.map((name) => `waypoint ${name} deleted`).join("\n"));
  const place = namespace ?? kube.connection.namespace;
  // Who may not read the namespace has deleted waypoints all the same.
  const used = await namespaceOf(kube, place).then(
    ({ metadata }) => metadata.labels[USE],
    () => undefined,
  );
  if (used !== undefined && deleted.includes(`${place}/${used}`))
    out.message(`namespace ${place} names ${used} still: kubectl label namespace ${place} ${USE}-`);
  const missing = names.filter((name) => !chosen.some(({ metadata }) => metadata.name === name));
  if (missing.length > 0)
    throw new CommandFailure(`no waypoint ${missing.map((name) => `${place}/${name}`).join(", ")}`);
}

function gatewayOf(options: GenerateOptions, namespace: string | undefined): KubeObject {
  const { name, for: traffic, revision } = options;
  // A service says by it that it uses none.
  if (name === "none") throw new CommandFailure('a waypoint cannot be called "none"', ExitCode.usage);
  const labels = {
    ...(traffic === undefined ? {} : { [FOR]: traffic }),
    ...(revision === undefined ? {} : { [REVISION]: revision }),
  };
  return {
    apiVersion: GATEWAY_API,
    kind: "Gateway",
    metadata: {
      ...(Object.keys(labels).length === 0 ? {} : { labels }),
      name,
      ...(namespace === undefined ? {} : { namespace }),
    },
    spec: { gatewayClassName: CLASS, listeners: [{ name: "mesh", port: 15_008, protocol: "HBONE" }] },
  };
}

async function waypointsOf(kube: Kube, { namespace, allNamespaces }: ListOptions): Promise<Gateway[]> {
  const place = encodeURIComponent(namespace ?? kube.connection.namespace);
  const path = allNamespaces ? "gateways" : `namespaces/${place}/gateways`;
  const found = await kube.get(`/apis/${GATEWAY_API}/${path}`, gateways);
  if (found === undefined) throw noGateways();
  const key = ({ metadata }: Gateway) => `${metadata.namespace}/${metadata.name}`;
  return found.items
    .filter(({ spec }) => spec.gatewayClassName === CLASS)
    .sort((a, b) => key(a).localeCompare(key(b), "en", { numeric: true }));
}

function noGateways(): CommandFailure {
  return new CommandFailure(
    "the cluster knows no Gateways: install the Gateway API's definitions first (https://gateway-api.sigs.k8s.io)",
  );
}

function namespaceNamed(name: string): KubeName {
  return { apiVersion: "v1", kind: "Namespace", metadata: { name } };
}

async function namespaceOf(kube: Kube, name: string) {
  const found = await kube.get(pathOf(namespaceNamed(name)), labelled);
  if (found === undefined) throw new CommandFailure(`there is no namespace ${name}`);
  return found;
}

function programmedOf({ status }: Gateway) {
  return status.conditions.find(({ type }) => type === "Programmed");
}

function isProgrammed(found: Gateway | undefined): boolean {
  return found !== undefined && programmedOf(found)?.status === "True";
}

interface Named {
  readonly namespace: string;
  readonly name: string;
}

const names: readonly Column<Named>[] = [
  { title: "NAMESPACE", value: ({ namespace }) => namespace },
  { title: "NAME", value: ({ name }) => name },
];

const listColumns: readonly Column<
  Named & { readonly revision: string; readonly trafficType: string; readonly programmed: string }
>[] = [
  ...names,
  { title: "REVISION", value: ({ revision }) => revision },
  { title: "TRAFFIC-TYPE", value: ({ trafficType }) => trafficType },
  { title: "PROGRAMMED", value: ({ programmed }) => programmed, paint: (row) => colourOf(row.programmed) },
];

const statusColumns: readonly Column<Named & z.output<typeof condition>>[] = [
  ...names,
  { title: "STATUS", value: ({ status }) => status, paint: ({ status }) => colourOf(status) },
  { title: "TYPE", value: ({ type }) => type },
  { title: "REASON", value: ({ reason }) => reason },
  { title: "MESSAGE", value: ({ message }) => message },
];

function colourOf(status: string) {
  return status === "True" ? "green" : "yellow";
}
