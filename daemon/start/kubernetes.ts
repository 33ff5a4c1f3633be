// Owns the composition of what governs by Kubernetes' labels: lists, governor, CNI. Must not decide for any of them.

import { join } from "node:path";
import { messageOf } from "../base/errors.js";
import type { Logger } from "../base/log.js";
import type { OpenParts } from "../base/open-parts.js";
import { packageRoot } from "../base/package-root.js";
import type { Config } from "../config/schema.js";
import type { Enforcement } from "../enforce/enforcement.js";
import { ApiServer, accountIn } from "../kube/api-server.js";
import { PLUGIN } from "../kube/cni-config.js";
import { CniInstall } from "../kube/cni-install.js";
import { serveCni } from "../kube/cni-server.js";
import { Governor } from "../kube/governor.js";
import type { Kubernetes } from "../kube/kubernetes.js";
import { NetnsFinder } from "../kube/netns-finder.js";
import { namespaceObject, podObject } from "../kube/objects.js";
import { podsOfNode } from "../kube/paths.js";
import { Watched } from "../kube/watched.js";

/** Milliseconds after which what could not be done is tried again. */
const RETRY_MS = 10_000;

/** Where containerd, CRI-O and cri-dockerd keep the namespaces of pods by name. */
const NETNS_DIRECTORIES = ["/run/netns", "/run/docker/netns"];

/** Begins where it is asked for. undefined: pods are named by hand. */
export async function governByKubernetes(
  config: Config,
  { pods: keeper }: Pick<Enforcement, "pods">,
  log: Logger,
  open: OpenParts,
): Promise<Kubernetes | undefined> {
  if (!config.kubernetes) return undefined;
  const server = new ApiServer({ url: config.kubernetesApi, ...accountIn(config.serviceAccountDir) });
  const changed = () => governor.act();
  const pods = new Watched({
    ...{ server, log, changed, schema: podObject },
    path: podsOfNode(config.nodeName),
  });
  const namespaces = new Watched({
    ...{ server, log, changed, schema: namespaceObject },
    path: "/api/v1/namespaces?",
  });
  const finder = new NetnsFinder({ proc: "/proc", directories: NETNS_DIRECTORIES });
  const governor: Governor = new Governor({ server, pods, namespaces, keeper, finder, log });
  const stopping = new AbortController();
  const running = [pods.run(stopping.signal), namespaces.run(stopping.signal)];
  const timer = setInterval(changed, RETRY_MS);
  open.add(async () => {
    clearInterval(timer);
    stopping.abort();
    await Promise.all(running);
    await governor.settled();
  });
  const listening = await listen(config, governor, log, open);
  const install = installCni(config, log, open);
  return {
    trouble: () =>
      listening ??
      (pods.lastError ?? namespaces.lastError)?.message ??
      (pods.isComplete && namespaces.isComplete ? undefined : "the API server has not listed pods yet") ??
      install?.trouble ??
      lostWords(governor.lost),
  };
}

/** Gives why it does not listen; then pods wait, or pass where that was chosen, and the rest goes on. */
async function listen(
  config: Config,
  governor: Governor,
  log: Logger,
  open: OpenParts,
): Promise<string | undefined> {
  try {
    const close = await serveCni({ path: config.cniSocket, governor, log, trouble: () => undefined });
    open.add(close);
    return undefined;
  } catch (error) {
    const words = `the CNI plugin cannot be answered at ${config.cniSocket}: ${messageOf(error)}`;
    log.error(words);
    return words;
  }
}

function installCni(config: Config, log: Logger, open: OpenParts): CniInstall | undefined {
  const { cniBinDir: binDir, cniConfDir: confDir } = config;
  if (binDir === undefined || confDir === undefined) return undefined;
  const install = new CniInstall({
    ...{ binDir, confDir, log },
    binary: join(packageRoot(), "build", "cni", PLUGIN),
    entry: { type: PLUGIN, socket: config.cniSocket, failOpen: config.cniFailOpen },
  });
  open.add(install.start());
  return install;
}

function lostWords(lost: readonly string[]): string | undefined {
  if (lost.length === 0) return undefined;
  return `${lost.length} pods are labelled and not governed, such as ${lost[0]}: their network namespaces are not found`;
}
