#!/usr/bin/env node
// Owns the command line of the daemon. Must not know what the daemon is made of.

import { onReopen, stopAsked } from "./weftd/signals.js";
import "../daemon/base/heap.js";
import { readFileSync } from "node:fs";
import { Command } from "commander";
import { configInvalid, describe, type WeftError } from "../daemon/base/errors.js";
import { readBuild } from "../daemon/base/version.js";
import { loadConfig } from "../daemon/config/config.js";
import { addConfigOptions } from "../daemon/config/flags.js";
import type { Config } from "../daemon/config/schema.js";

const EXIT = { failure: 1, usage: 2 } as const;

const build = readBuild();

const program = new Command("weftd")
  .version(`${build.version} (${build.commit})`, "--version", "the version of this weftd")
  .description(
    "Governs the pods of this node: subscribes to a control plane, compiles what it says into BPF maps, and routes and authorizes connections in the kernel.",
  )
  .addHelpText(
    "after",
    `
Signals: SIGTERM and SIGINT stop the daemon, the second one at once; SIGHUP and SIGUSR1 open the access log's file anew.
Exit codes: 0 stopped by SIGTERM or SIGINT, 1 could not start or go on, or ended by a second one of these signals,
2 wrong usage or configuration.
The kernel goes on enforcing after weftd has stopped, however it stopped; only 'weftd uninstall' ends that,
and 'weftd disable' until 'weftd enable'.

Examples:
  weftd --xds-address 127.0.0.1:15010 --pod shop/web=/run/netns/web
  weftd --config /etc/weft.yaml
  weftd disable
  weftd uninstall`,
  )
  .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : EXIT.usage))
  .configureOutput({
    outputError: (text, write) =>
      write(
        `weftd: ${text
          .replace(/^error: /, "")
          .trim()
          .replaceAll("\n", " ")}\n`,
      ),
  });

addConfigOptions(program).action(async (flags: Record<string, unknown>) => {
  const config = configOf(flags);
  // Loaded late, so that --help and a bad configuration need neither the addon nor privileges.
  const { startDaemon } = await import("../daemon/main.js");
  const started = await startDaemon(config);
  if (!started.ok) return fail(started.error, EXIT.failure);
  const daemon = started.value;
  onReopen(() => daemon.reopenAccessLog());
  const failure = await Promise.race([daemon.failure, stopAsked]);
  await daemon.stop();
  if (failure !== undefined) return fail(failure, EXIT.failure);
  process.exit(0);
});

program
  .command("uninstall")
  .description("detach every hook and remove every map and pin; ends enforcement, counters and enrolments")
  .addHelpText(
    "after",
    `
It looks below the BPF file system of --bpffs, WEFT_BPFFS or --config FILE, found as the daemon finds it; the snapshot
and the events below --state-dir, WEFT_STATE_DIR or the file's state-dir go too, and so do the CNI plugin in
--cni-bin-dir and --cni-conf-dir and, with --kubernetes, the annotations of this node's pods.`,
  )
  .action(async (_options: unknown, command: Command) => {
    const config = configOf(command.optsWithGlobals());
    const { bpffs, stateDir, cniBinDir: binDir, cniConfDir: confDir } = config;
    const { uninstallFrom } = await import("../daemon/bpf/uninstall.js");
    const { removeJournal } = await import("../daemon/events/journal.js");
    const { removeSnapshot } = await import("../daemon/xds/snapshot.js");
    const uninstalled = await uninstallFrom(bpffs, async () => {
      // First: a pod that starts meanwhile would wait for a daemon that does not come.
      if (binDir !== undefined && confDir !== undefined) {
        const { removeCni } = await import("../daemon/kube/cni-install.js");
        removeCni({ binDir, confDir });
      }
      if (config.kubernetes) await leaveCluster(config);
    });
    if (!uninstalled.ok) return fail(uninstalled.error, EXIT.failure);
    if (stateDir !== undefined) {
      removeJournal(stateDir);
      removeSnapshot(stateDir);
    }
    const { root, links, silent, unanswered } = uninstalled.value;
    if (silent > 0)
      process.stderr.write(
        `weftd: ${silent} connections to waypoints say nothing and could not be given their header: end them\n`,
      );
    if (unanswered > 0)
      process.stdout.write(
        `${unanswered} connections were ended that no waypoint had answered: their applications connect anew\n`,
      );
    process.stdout.write(
      links === undefined
        ? `nothing of weft is at ${root}: name another BPF file system with --bpffs\n`
        : `weft is uninstalled: ${links} hooks detached, ${root} removed\n`,
    );
  });

program
  .command("disable")
  .description("leave all traffic alone at once, unenforced and unrouted, until 'weftd enable'")
  .addHelpText(
    "after",
    `
Works whether or not a daemon runs, and outlives restarts of it. It looks below the BPF file system of --bpffs,
WEFT_BPFFS or --config FILE, found as the daemon finds it.
Exit codes: 0 weft is disabled, also if it was before; 1 it is not; 2 wrong usage or configuration.`,
  )
  .action((_options: unknown, command: Command) => switchWeft(command, true));

program
  .command("enable")
  .description(
    "route and enforce again after 'weftd disable'; what was let in meanwhile is judged by the daemon",
  )
  .addHelpText(
    "after",
    "\nExit codes: 0 weft governs, also if it did before; 1 it does not; 2 wrong usage or configuration.",
  )
  .action((_options: unknown, command: Command) => switchWeft(command, false));

await program.parseAsync();

/** Whoever is told that pods are in the mesh would send them what nobody takes apart. A cluster that is away is no reason to stay. */
async function leaveCluster({ kubernetesApi: url, serviceAccountDir, nodeName }: Config): Promise<void> {
  const { ApiServer, accountIn } = await import("../daemon/kube/api-server.js");
  const { takeBackAnnotations } = await import("../daemon/kube/leave.js");
  const server = new ApiServer({ url, ...accountIn(serviceAccountDir) });
  const left = await takeBackAnnotations(server, nodeName);
  if (!left.ok) process.stderr.write(`weftd: pods keep their annotations: ${describe(left.error)}\n`);
}

async function switchWeft(command: Command, disabled: boolean): Promise<void> {
  const { bpffs } = configOf(command.optsWithGlobals());
  const { switchDisabled } = await import("../daemon/bpf/disabled.js");
  const switched = switchDisabled(bpffs, disabled);
  if (!switched.ok) return fail(switched.error, EXIT.failure);
  const { root, changed } = switched.value;
  if (changed === undefined) {
    process.stderr.write(
      `weftd: no weft that can be disabled is at ${root}: name another BPF file system with --bpffs; one of another version is disabled by its own weftd\n`,
    );
    process.exit(EXIT.failure);
  }
  const before = changed ? "" : " (as before)";
  process.stdout.write(
    disabled
      ? `weft is disabled${before}: all traffic passes unenforced and unrouted, until 'weftd enable'\n`
      : `weft is enabled${before}: it routes and enforces\n`,
  );
}

/** Ends the process where the configuration is wrong. */
function configOf(flags: Readonly<Record<string, unknown>>): Config {
  const loaded = loadConfig(flags, process.env, (path) => readFileSync(path, "utf8"));
  if (!loaded.ok) return fail(configInvalid(loaded.errors), EXIT.usage);
  for (const warning of loaded.warnings) process.stderr.write(`weftd: ${warning}\n`);
  return loaded.config;
}

function fail(error: WeftError, exitCode: number): never {
  process.stderr.write(`weftd: ${describe(error)}\n`);
  process.exit(exitCode);
}
