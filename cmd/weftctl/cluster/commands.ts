// Owns the verbs that ask the cluster, with their arguments and help. Must not know how they do their work.

import { Argument, type Command, InvalidArgumentError, Option } from "commander";
import type { Context } from "../context.js";
import { named } from "../named.js";
import { type InstallOptions, install } from "./install.js";
import { NAMESPACE } from "./manifests.js";
import { type UninstallOptions, uninstall } from "./uninstall.js";
import {
  type ApplyOptions,
  applyWaypoint,
  type DeleteOptions,
  deleteWaypoints,
  type GenerateOptions,
  generateWaypoint,
  type ListOptions,
  listWaypoints,
  type StatusOptions,
  TRAFFIC_TYPES,
  waypointStatus,
} from "./waypoint.js";

export type Verb = (parent: Command, name: string, description: string, shown: readonly string[]) => Command;
export type Act = (
  action: (context: Context, command: Command) => Promise<void>,
) => (...given: unknown[]) => Promise<void>;

const inNamespace = () =>
  named(
    new Option("-n, --namespace <NAMESPACE>", "where weft is installed").default(NAMESPACE),
    "cluster namespace",
  );

export function addCluster(program: Command, verb: Verb, act: Act): void {
  const each = (value: string, before: string[] | undefined) => [...(before ?? []), value];
  verb(program, "install", "install weft in the cluster of the kubeconfig, as the Helm chart does", [
    "install",
    "install --image registry.example/weft:0.1.0 --set access-log=true",
    "install --print > weft.yaml",
  ])
    .addOption(inNamespace())
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
    .addOption(inNamespace())
    .option("--nodes-only", "leave accounts, roles and configuration, as Helm removes them itself")
    .option("--timeout <DURATION>", "how long to wait for the nodes", "2m")
    .action(act(({ out, kube }, command) => uninstall(out, kube(), command.opts<UninstallOptions>())));
  const waypoint = verb(
    program,
    "waypoint",
    "waypoints of the cluster, with the flags of istioctl waypoint",
    ["waypoint apply -n shop --enroll-namespace --wait", "waypoint list -A"],
  );
  addWaypoint(waypoint, verb, act);
}

const inOwn = () =>
  named(
    new Option("-n, --namespace <NAMESPACE>", "where it is (default: the kubeconfig's)"),
    "cluster namespace",
  );
const EVERYWHERE = ["-A, --all-namespaces", "in every namespace"] as const;
const PATIENCE = ["--waypoint-timeout <DURATION>", "how long to wait", "90s"] as const;

function addWaypoint(waypoint: Command, verb: Verb, act: Act): void {
  const described = (name: string, description: string, shown: readonly string[]) =>
    verb(waypoint, name, description, shown)
      .addOption(inOwn())
      .addOption(named(new Option("--name <NAME>", "of the waypoint").default("waypoint"), "waypoint"))
      .addOption(
        new Option("--for <TRAFFIC>", "what goes through it (default: service)").choices(TRAFFIC_TYPES),
      )
      .option("-r, --revision <REVISION>", "of istiod that is to serve it");
  described("generate", "write a waypoint's Gateway, and ask no cluster", [
    "waypoint generate -n shop --for all > waypoint.yaml",
  ]).action(act((context, command) => generateWaypoint(context, command.opts<GenerateOptions>())));
  described("apply", "make or change a waypoint", ["waypoint apply -n shop --enroll-namespace --wait"])
    .option("--enroll-namespace", "label the namespace to use it")
    .option("--overwrite", "also where the namespace uses another")
    .option("-w, --wait", "until it is programmed")
    .option(...PATIENCE)
    .action(act((context, command) => applyWaypoint(context, command.opts<ApplyOptions>())));
  verb(waypoint, "list", "waypoints, and whether they are programmed", ["waypoint list -A"])
    .addOption(inOwn())
    .option(...EVERYWHERE)
    .action(act((context, command) => listWaypoints(context, command.opts<ListOptions>())));
  verb(waypoint, "status", "waits until waypoints are programmed, and says what keeps them", [
    "waypoint status -n shop",
    "waypoint status -A --wait=false",
  ])
    .addOption(inOwn())
    .option(...EVERYWHERE)
    .addOption(
      new Option("-w, --wait [BOOL]", "until they are programmed")
        .argParser(yesOrNo)
        .default(true)
        .preset(true),
    )
    .option(...PATIENCE)
    .action(act((context, command) => waypointStatus(context, command.opts<StatusOptions>())));
  verb(waypoint, "delete", "delete waypoints", [
    "waypoint delete waypoint -n shop",
    "waypoint delete --all -n shop",
  ])
    .addArgument(named(new Argument("[NAME...]", "waypoints"), "waypoint"))
    .addOption(inOwn())
    .option("--all", "every one of the namespace")
    .option("-r, --revision <REVISION>", "every one of this revision in the namespace")
    .action(
      act((context, command) =>
        deleteWaypoints(context, command.processedArgs[0] as string[], command.opts<DeleteOptions>()),
      ),
    );
}

function yesOrNo(value: string): boolean {
  if (value === "true" || value === "false") return value === "true";
  throw new InvalidArgumentError("Allowed choices are true, false.");
}
