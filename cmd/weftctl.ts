#!/usr/bin/env node
// Owns weftctl's process: streams, Ctrl-C, exit code. Must not know the verbs.

import process from "node:process";
import { run } from "./weftctl/program.js";

// `weftctl dump ... | head` closes the pipe early: that is no failure.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code !== "EPIPE") throw error;
  process.exit(0);
});

process.exitCode = await run(process.argv.slice(2), {
  stdin: process.stdin,
  stdout: process.stdout,
  stderr: process.stderr,
  env: process.env,
  interruption() {
    const interrupt = new AbortController();
    process.once("SIGINT", () => interrupt.abort());
    return interrupt.signal;
  },
});
