// Owns the verbs that ask the cluster, with their arguments and help. Must not know how they do their work.

import type { Command } from "commander";
import { Option } from "commander";
import type { Context } from "../context.js";
import { type InstallOptions, install } from "./install.js";
import { NAMESPACE } from "./manifests.js";
import { type UninstallOptions, uninstall } from "./uninstall.js";

export type Verb = (parent: Command, name: string, description: string, shown: readonly string[]) => Command;
export type Act = (
  action: (context: Context, command: Command) => Promise<void>,
) => (...given: unknown[]) => Promise<void>;

const IN_NAMESPACE = ["-n, --namespace <NAMESPACE>", "where weft is installed", NAMESPACE] as const;

export function addCluster(program: Command, verb: Verb, act: Act): void {
  const each = (value: string, before: string[] | undefined) => [...(before ?? []), value];
  verb(program, "install", "install weft in the cluster of the kubeconfig, as the Helm chart does", [
    "install",
    "install --image registry.example/weft:0.1.0 --set access-log=true",
    "install --print > weft.yaml",
  ])
    .option(...IN_NAMESPACE)
    .option("--image <IMAGE>", "weft's image (default: the one of this version)")
    .addOption(
      new Option("--image-pull-policy <POLICY>", "of it").choices(["Always", "IfNotPresent", "Never"]),
    )
    .option("--istiod <HOST:PORT>", "istiod as pods reach it (default: istiod.istio-system.svc:15012)")
    .option("--cluster-id <NAME>", "istiod's CLUSTER_ID (default: Kubernetes)")
    .addOption(
      new Option("--set <KEY=VALUE>", "a key of weftd, see 'weftd --help'; may be repeated")
        .argParser(each)
        .default([], "none"),
    )
    .option("--print", "write the objects to standard output, and ask no cluster")
    .option("--force", "also beside ztunnel or Kmesh")
    .option("--timeout <DURATION>", "how long to wait for the nodes", "2m")
    .action(act(({ out, kube }, command) => install(out, kube, command.opts<InstallOptions>())));
  verb(program, "uninstall", "take weft off every node, then out of the cluster", [
    "uninstall",
    "uninstall -n istio-system --timeout 5m",
  ])
    .option(...IN_NAMESPACE)
    .option("--nodes-only", "leave accounts, roles and configuration, as Helm removes them itself")
    .option("--timeout <DURATION>", "how long to wait for the nodes", "2m")
    .action(act(({ out, kube }, command) => uninstall(out, kube(), command.opts<UninstallOptions>())));
}
