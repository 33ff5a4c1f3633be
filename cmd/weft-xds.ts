#!/usr/bin/env node
// Owns the command line of weft-xds. Must not know how resources are made or served.

import { logVerbosity, setLogVerbosity } from "@grpc/grpc-js";
import { Command, InvalidArgumentError, Option } from "commander";
import { messageOf, WeftError } from "../daemon/base/errors.js";
import { type ControlPlane, startControlPlane } from "./weft-xds/control-plane.js";

/** Exit codes: the file or the command line is wrong; the address cannot be bound. */
const EXIT_INVALID = 2;
const EXIT_BIND = 3;

const EXAMPLE = `
Example of a mesh file:

  workloads:
    - {name: reviews-v1, namespace: bookinfo, addresses: [10.0.0.5], serviceAccount: reviews}
    - {name: reviews-v2, namespace: bookinfo, addresses: [10.0.0.6], capacity: 3}
    - {name: ratings-v1, namespace: bookinfo, addresses: [10.0.0.7], status: UNHEALTHY}
  services:
    - {name: reviews, namespace: bookinfo, vips: [10.96.0.10, fd00::10], ports: {80: 9080},
       endpoints: [reviews-v1, {workload: reviews-v2, ports: {80: 9081}}]}
    - {name: ratings, namespace: bookinfo, vips: [10.96.0.11], ports: {80: 9080}, endpoints: [ratings-v1]}
  policies:
    - {name: deny-ratings, namespace: bookinfo, action: DENY, workloads: [ratings-v1],
       rules: [{principals: ["*/sa/reviews"], destinationPorts: [9080]}]}

Every change of the file is pushed; a file with a mistake is refused, and the last good one stays served.
With --replay each line on standard input (a key on a terminal) sends the next recorded response.
All keys: docs/weft-xds.md. Exit codes: 0 ended by a signal, 2 wrong file or option, 3 cannot listen.`;

interface Options {
  readonly listen: string;
  readonly file?: string;
  readonly replay?: string;
  readonly interval?: number;
  readonly tlsCert?: string;
  readonly tlsKey?: string;
  readonly token?: string;
  readonly quiet?: boolean;
}

const program = new Command("weft-xds")
  .description("A small control plane: serves a mesh file, or a recorded stream, over delta xDS.")
  .addOption(new Option("--listen <host:port>", "address to serve on").default("127.0.0.1:15010"))
  .addOption(new Option("--file <mesh.yaml>", "mesh to serve, watched for changes").conflicts("replay"))
  .addOption(new Option("--replay <file.bin[.gz]>", "recorded stream to serve, with its .json beside it"))
  .addOption(
    new Option("--interval <ms>", "with --replay: next response after so long").argParser(milliseconds),
  )
  .addOption(new Option("--tls-cert <file.pem>", "serve TLS with this certificate"))
  .addOption(new Option("--tls-key <file.pem>", "its key"))
  .addOption(
    new Option("--token <file>", "with TLS: let in only who shows this file's content as bearer token"),
  )
  .addOption(new Option("--quiet", "no log of what is sent and answered"))
  .addHelpText("after", EXAMPLE)
  .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : EXIT_INVALID));

// What the library prints is told by the errors here, in words of its own.
setLogVerbosity(logVerbosity.NONE);
await main(program.parse().opts<Options>());

async function main(options: Options): Promise<void> {
  const log = (line: string) => {
    if (!options.quiet) process.stdout.write(`${new Date().toISOString().slice(11, 23)} ${line}\n`);
  };
  const { file, replay, interval } = options;
  const source = file !== undefined ? { file } : replay !== undefined ? { replay } : undefined;
  if (source === undefined)
    return fail("name a mesh with --file, or a recording with --replay", EXIT_INVALID);
  if (interval !== undefined && replay === undefined) return fail("--interval needs --replay", EXIT_INVALID);
  const { tlsCert, tlsKey, token } = options;
  if ((tlsCert === undefined) !== (tlsKey === undefined))
    return fail("TLS needs both --tls-cert and --tls-key", EXIT_INVALID);
  const tls =
    tlsCert === undefined || tlsKey === undefined ? undefined : { certificate: tlsCert, key: tlsKey };
  let plane: ControlPlane;
  try {
    plane = await startControlPlane({ listen: options.listen, source, tls, token, log });
  } catch (error) {
    return fail(
      messageOf(error),
      error instanceof WeftError && error.code === "ADDRESS_IN_USE" ? EXIT_BIND : EXIT_INVALID,
    );
  }
  process.stdout.write(`serving ${file ?? replay} on ${plane.address}\n`);
  const stopPlaying = replay === undefined ? () => undefined : play(plane, interval);
  const stop = () => {
    stopPlaying();
    void plane.close().then(() => process.exit(0));
  };
  process.once("SIGTERM", stop);
  process.once("SIGINT", stop);
}

/** Sends one response for each tick, or for each key or line; gives back how to stop. */
function play(plane: ControlPlane, interval: number | undefined): () => void {
  if (interval !== undefined) {
    const timer = setInterval(() => plane.next() || clearInterval(timer), interval);
    return () => clearInterval(timer);
  }
  const { stdin } = process;
  if (stdin.isTTY) stdin.setRawMode(true);
  stdin.on("data", (typed: Buffer) => {
    const text = typed.toString("utf8");
    if (!stdin.isTTY) for (const _line of text.matchAll(/\n/g)) plane.next();
    // A raw terminal does not turn Ctrl-C and Ctrl-D into a signal.
    else if (text === "\x03" || text === "\x04") process.kill(process.pid, "SIGINT");
    else plane.next();
  });
  return () => {
    if (stdin.isTTY) stdin.setRawMode(false);
    stdin.pause();
  };
}

function milliseconds(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1)
    throw new InvalidArgumentError("expected milliseconds, at least 1");
  return value;
}

function fail(message: string, code: number): never {
  for (const line of message.split("\n")) process.stderr.write(`weft-xds: ${line}\n`);
  process.exit(code);
}
