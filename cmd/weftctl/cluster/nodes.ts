// Owns finding weftd on the nodes of a cluster, and `weftctl status --all`. Must not know how a node is reached.

import * as z from "zod";
import type { StatusResponse } from "../../../daemon/admin/answers.js";
import { api } from "../../../daemon/admin/api.js";
import { messageOf } from "../../../daemon/base/errors.js";
import { AdminClient } from "../client.js";
import { CommandFailure, ExitCode } from "../failure.js";
import { age, type Column, type Output } from "../output.js";
import { type Forward, forward } from "./forward.js";
import { type Kube, pathOf } from "./kube.js";
import { isReady, type PodOfSet, podsOf, standstillOf, troubleOf } from "./rollout.js";

/** weftd's admin port, on the node's loopback. */
const ADMIN_PORT = 15_200;

/** Nodes that are asked at a time. */
const AT_ONCE = 16;

/** Of which node weftd is asked. */
export interface NodeChoice {
  /** weft's own. */
  readonly namespace: string;
  readonly node?: string | undefined;
  /** NAMESPACE/NAME of a pod that runs there. */
  readonly pod?: string | undefined;
}

const placed = z.object({ spec: z.object({ nodeName: z.string().default("") }) });

/** The way to one node's weftd. @throws CommandFailure that says why there is none. */
export async function reachNode(kube: Kube, choice: NodeChoice): Promise<Forward> {
  const node = choice.node ?? (await nodeOf(kube, choice.pod ?? ""));
  const pods = await podsOf(kube, choice.namespace, "weft");
  const weftd = pods.find(({ spec }) => spec.nodeName === node);
  if (weftd === undefined)
    throw new CommandFailure(noWeftd(node, pods, choice.namespace), ExitCode.unreachable);
  return forwardTo(kube, choice.namespace, weftd);
}

function forwardTo(kube: Kube, namespace: string, { metadata }: PodOfSet): Promise<Forward> {
  return forward(kube.connection, { namespace, pod: metadata.name, port: ADMIN_PORT });
}

async function nodeOf(kube: Kube, pod: string): Promise<string> {
  const [namespace, name, ...rest] = pod.split("/");
  if (!namespace || !name || rest.length > 0)
    throw new CommandFailure(`"${pod}" is no NAMESPACE/NAME such as default/web`, ExitCode.usage);
  const found = await kube.get(
    pathOf({ apiVersion: "v1", kind: "Pod", metadata: { namespace, name } }),
    placed,
  );
  if (found === undefined) throw new CommandFailure(`there is no pod ${pod}`);
  if (found.spec.nodeName === "") throw new CommandFailure(`pod ${pod} is on no node yet`);
  return found.spec.nodeName;
}

function noWeftd(node: string, pods: readonly PodOfSet[], namespace: string): string {
  if (pods.length === 0)
    return `no weft runs from namespace ${namespace}: where it was installed elsewhere, name that with --weft-namespace`;
  return `no weftd runs on node ${node}: it runs on ${pods.map(({ spec }) => spec.nodeName).join(", ")}`;
}

/** A line of the table. */
interface NodeStatus {
  readonly node: string;
  readonly pod: string;
  readonly status: StatusResponse | null;
  /** Why it is not well; null when it is. */
  readonly trouble: string | null;
}

const columns: readonly Column<NodeStatus>[] = [
  { title: "NODE", value: ({ node }) => node },
  {
    title: "STATE",
    value: stateOf,
    paint: (row) => (stateOf(row) === "ready" ? "green" : "red"),
  },
  { title: "VERSION", value: ({ status }) => status?.version.version ?? "" },
  { title: "UP", value: ({ status }) => (status === null ? "" : age(status.started)) },
  { title: "CONTROL-PLANE", value: ({ status }) => status?.xds.state ?? "" },
  { title: "PODS", value: ({ status }) => status?.pods.length ?? "", right: true },
  { title: "WORKLOADS", value: ({ status }) => status?.resources.workloads ?? "", right: true },
  { title: "SERVICES", value: ({ status }) => status?.resources.services ?? "", right: true },
  { title: "POLICIES", value: ({ status }) => status?.resources.policies ?? "", right: true },
  { title: "POD", value: ({ pod }) => pod, wide: true },
  { title: "COMMIT", value: ({ status }) => status?.version.commit ?? "", wide: true },
  { title: "TROUBLE", value: ({ trouble }) => trouble ?? "", paint: () => "yellow" },
];

function stateOf({ status }: NodeStatus): string {
  if (status === null) return "unreachable";
  if (status.disabled) return "disabled";
  return status.ready ? "ready" : "not ready";
}

/** Fails when a node is not ready, after everything is printed. */
export async function statusOfAll(out: Output, kube: Kube, namespace: string): Promise<void> {
  const pods = await podsOf(kube, namespace, "weft");
  if (pods.length === 0) throw new CommandFailure(noWeftd("", pods, namespace), ExitCode.unreachable);
  const nodes: NodeStatus[] = [];
  for (let from = 0; from < pods.length; from += AT_ONCE)
    nodes.push(
      ...(await Promise.all(pods.slice(from, from + AT_ONCE).map((pod) => statusOf(kube, namespace, pod)))),
    );
  nodes.sort((a, b) => a.node.localeCompare(b.node, "en", { numeric: true }));
  out.data({ nodes }, () => out.table(columns, nodes, ""));
  const bad = nodes.filter((node) => stateOf(node) !== "ready").length;
  if (bad > 0) throw new CommandFailure(`${bad} of ${nodes.length} nodes are not ready`);
}

async function statusOf(kube: Kube, namespace: string, pod: PodOfSet): Promise<NodeStatus> {
  const known = { node: pod.spec.nodeName, pod: pod.metadata.name };
  if (pod.status.phase !== "Running") return { ...known, status: null, trouble: troubleOf(pod) };
  const way = await forwardTo(kube, namespace, pod);
  try {
    const status = await new AdminClient(way.url).call(api.status);
    return { ...known, status, trouble: troubleIn(status) };
  } catch (error) {
    const why = standstillOf(pod) ?? way.failure() ?? (isReady(pod) ? messageOf(error) : troubleOf(pod));
    return { ...known, status: null, trouble: why };
  } finally {
    way.close();
  }
}

/** The first thing that somebody should know. */
function troubleIn({ components, warnings }: StatusResponse): string | null {
  const [bad, ...more] = [
    ...components.filter(({ ready }) => !ready).map(({ name, detail }) => `${name}: ${detail}`),
    ...warnings,
  ];
  if (bad === undefined) return null;
  return more.length === 0 ? bad : `${bad} (and ${more.length} more: weftctl status --node)`;
}
