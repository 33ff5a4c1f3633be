#!/usr/bin/env node
// Owns the command line of the daemon. Must not know what the daemon is made of.

import "../daemon/base/heap.js";
import { readFileSync } from "node:fs";
import { Command } from "commander";
import { configInvalid, describe, type WeftError } from "../daemon/base/errors.js";
import { addConfigOptions, loadConfig } from "../daemon/config/config.js";

const EXIT = { failure: 1, usage: 2 } as const;

const program = new Command("weftd")
  .description(
    "Governs the pods of this node: subscribes to a control plane, compiles what it says into BPF maps, and routes and authorizes connections in the kernel.",
  )
  .addHelpText(
    "after",
    `
Signals: SIGTERM and SIGINT stop the daemon, SIGHUP opens the access log's file anew.
Exit codes: 0 stopped by SIGTERM or SIGINT, 1 could not start or go on, 2 wrong usage or configuration.
The kernel goes on enforcing after weftd has stopped, however it stopped; only 'weftd uninstall' ends that.

Examples:
  weftd --xds-address 127.0.0.1:15010 --pod shop/web=/run/netns/web
  weftd --config /etc/weft.yaml
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
  const loaded = loadConfig(flags, process.env, (path) => readFileSync(path, "utf8"));
  if (!loaded.ok) return fail(configInvalid(loaded.errors), EXIT.usage);
  for (const warning of loaded.warnings) process.stderr.write(`weftd: ${warning}\n`);
  // Loaded late, so that --help and a bad configuration need neither the addon nor privileges.
  const { startDaemon } = await import("../daemon/main.js");
  const daemon = await startDaemon(loaded.config);
  if (!daemon.ok) return fail(daemon.error, EXIT.failure);
  process.on("SIGHUP", () => daemon.value.reopenAccessLog());
  let isStopping = false;
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.on(signal, () => {
      if (isStopping) return;
      isStopping = true;
      void daemon.value.stop().then(() => process.exit());
    });
  }
});

program
  .command("uninstall")
  .description("detach every hook and remove every map and pin; ends enforcement, counters and enrolments")
  .option("--bpffs <PATH>", "BPF file system that weftd was given", "/sys/fs/bpf")
  .option("--cgroup <PATH>", "cgroup v2 directory that weftd was given")
  .action(async (_options: unknown, command: Command) => {
    const { bpffs, cgroup } = command.optsWithGlobals<{ bpffs: string; cgroup?: string }>();
    const { uninstallAll } = await import("../daemon/main.js");
    const removed = await uninstallAll(bpffs, cgroup);
    if (!removed.ok) return fail(removed.error, EXIT.failure);
    process.stdout.write(`weft is uninstalled: ${removed.value.links} hooks detached\n`);
  });

await program.parseAsync();

function fail(error: WeftError, exitCode: number): never {
  process.stderr.write(`weftd: ${describe(error)}\n`);
  process.exit(exitCode);
}
