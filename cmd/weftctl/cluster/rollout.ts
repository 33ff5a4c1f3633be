// Owns waiting for what a DaemonSet does on the nodes. Must not know what it does.

import { setTimeout as sleep } from "node:timers/promises";
import * as z from "zod";
import { type Kube, type KubeName, pathOf } from "./kube.js";

const PERIOD_MS = 1000;

const daemonSet = z.object({
  metadata: z.object({ generation: z.number().default(0) }),
  status: z
    .object({
      observedGeneration: z.number().default(0),
      desiredNumberScheduled: z.number().default(0),
      updatedNumberScheduled: z.number().default(0),
      numberReady: z.number().default(0),
    })
    .prefault({}),
});

const condition = z.object({ type: z.string(), status: z.string(), message: z.string().default("") });

const state = z.object({
  waiting: z.object({ reason: z.string().default(""), message: z.string().default("") }).optional(),
  terminated: z.object({ reason: z.string().default(""), message: z.string().default("") }).optional(),
});

const container = z.object({
  restartCount: z.number().default(0),
  state: state.prefault({}),
  lastState: state.prefault({}),
});

export const podList = z.object({
  items: z.array(
    z.object({
      metadata: z.object({ name: z.string(), deletionTimestamp: z.string().optional() }),
      spec: z.object({ nodeName: z.string().default("") }),
      status: z
        .object({
          phase: z.string().default(""),
          conditions: z.array(condition).default([]),
          containerStatuses: z.array(container).default([]),
          initContainerStatuses: z.array(container).default([]),
        })
        .prefault({}),
    }),
  ),
});
export type PodOfSet = z.output<typeof podList>["items"][number];

export interface Rollout {
  readonly desired: number;
  readonly ready: number;
  readonly isDone: boolean;
}

export function daemonSetNamed(name: string, namespace: string): KubeName {
  return { apiVersion: "apps/v1", kind: "DaemonSet", metadata: { name, namespace } };
}

export async function podsOf(kube: Kube, namespace: string, name: string): Promise<PodOfSet[]> {
  const selector = encodeURIComponent(`app.kubernetes.io/name=${name}`);
  const path = `/api/v1/namespaces/${encodeURIComponent(namespace)}/pods?labelSelector=${selector}`;
  return (await kube.get(path, podList))?.items ?? [];
}

export function isReady({ status }: PodOfSet): boolean {
  return status.conditions.some(({ type, status: is }) => type === "Ready" && is === "True");
}

/** Why a pod is not ready, as far as Kubernetes tells. */
export function troubleOf(pod: PodOfSet): string {
  const { conditions, phase } = pod.status;
  const unmet = conditions.find(({ status: is, message }) => is !== "True" && message !== "");
  return standstillOf(pod) ?? unmet?.message ?? (phase || "it has not started");
}

/** Why a container of it does not run now; undefined where each one does, or has done what it was to do. */
export function standstillOf({ status }: PodOfSet): string | undefined {
  const statuses = [...status.initContainerStatuses, ...status.containerStatuses];
  const texts = statuses.flatMap(({ state: { waiting, terminated }, lastState, restartCount }) =>
    [waiting, terminated].flatMap((each) => {
      if (each === undefined || each.reason === "Completed" || each.reason === "PodInitializing") return [];
      const again = restartCount > 0 ? `, started anew ${restartCount} times` : "";
      // Its last words say more than how long the kubelet waits.
      const said = lastLine(lastState.terminated?.message) ?? lastLine(each.message);
      return [[each.reason, said].filter(Boolean).join(": ") + again];
    }),
  );
  return texts[0];
}

/** undefined: there is none. */
function lastLine(text = ""): string | undefined {
  return text.trim().split("\n").at(-1) || undefined;
}

/** Waits until every node has it ready, or time is up; gives how far it has come. */
export async function rolledOut(
  kube: Kube,
  namespace: string,
  name: string,
  deadline: number,
): Promise<Rollout> {
  const path = pathOf(daemonSetNamed(name, namespace));
  for (;;) {
    const found = await kube.get(path, daemonSet);
    const { observedGeneration, desiredNumberScheduled, updatedNumberScheduled, numberReady } =
      found?.status ?? daemonSet.shape.status.parse({});
    const isSeen =
      found !== undefined && observedGeneration >= found.metadata.generation && observedGeneration > 0;
    const desired = desiredNumberScheduled;
    const isDone = isSeen && updatedNumberScheduled >= desired && numberReady >= desired;
    if (isDone || Date.now() > deadline) return { desired, ready: numberReady, isDone };
    await sleep(PERIOD_MS);
  }
}

/** Waits until `is` holds, or time is up; gives whether it does. */
export async function comesTrue(is: () => Promise<boolean>, deadline: number): Promise<boolean> {
  while (!(await is())) {
    if (Date.now() > deadline) return false;
    await sleep(PERIOD_MS);
  }
  return true;
}
