// Owns the unix socket on which the CNI plugin asks: one request a connection. Must not know what governing is.

import { chmodSync, mkdirSync, rmSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import { dirname } from "node:path";
import * as z from "zod";
import { describe, messageOf, type Result } from "../base/errors.js";
import type { Logger } from "../base/log.js";
import { parseJson } from "../base/parse.js";
import type { Governor, Sandbox } from "./governor.js";

/** Bytes of a request at most, and milliseconds until it has come. */
const MAX_BYTES = 64 * 1024;
const REQUEST_MS = 5_000;

/** CNI 1.1, section 2: "try again later", and its STATUS: "the plugin is not available". */
const TRY_AGAIN = 11;
const NOT_AVAILABLE = 50;

/** What the plugin sends: the environment that the runtime gave it, CNI 1.1, section 2. */
const request = z.object({
  command: z.enum(["ADD", "DEL", "CHECK", "STATUS"]),
  containerId: z.string().default(""),
  netns: z.string().default(""),
  /** `KEY=VALUE;KEY=VALUE` */
  args: z.string().default(""),
});
type Request = z.output<typeof request>;

/** What it gets. */
export interface Answer {
  /** 0: done; otherwise the code of CNI's error. */
  readonly code: number;
  readonly message: string;
}

export interface CniServerOptions {
  readonly path: string;
  readonly governor: Pick<Governor, "admit" | "release">;
  /** Why new pods cannot be governed at present; undefined when they can. */
  readonly trouble: () => string | undefined;
  readonly log: Logger;
}

/** Listens; resolves with what ends that. @throws when the path cannot be listened on. */
export async function serveCni(options: CniServerOptions): Promise<() => Promise<void>> {
  const { path, log } = options;
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  // Of a daemon that was killed: two daemons at once are prevented elsewhere.
  rmSync(path, { force: true });
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    void converse(socket, options);
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(path, resolve);
  });
  server.on("error", (error) => log.error(`the CNI socket failed: ${error.message}`));
  chmodSync(path, 0o600);
  return () =>
    new Promise((resolve) => {
      server.close(() => resolve());
      for (const socket of sockets) socket.destroy();
    });
}

async function converse(socket: Socket, options: CniServerOptions): Promise<void> {
  // A plugin that leaves has been given up by the runtime, which asks again.
  socket.on("error", () => undefined);
  socket.setTimeout(REQUEST_MS, () => socket.destroy());
  const text = await requestOn(socket);
  if (text === undefined) return;
  socket.setTimeout(0);
  const answer = await answerTo(text, options).catch((error: unknown) => ({
    code: TRY_AGAIN,
    message: messageOf(error),
  }));
  if (answer.code !== 0) options.log.warn(`a pod has to wait: ${answer.message}`);
  socket.end(JSON.stringify(answer));
}

/** All that is sent until the sending end is closed; undefined when it breaks off or is too long. */
function requestOn(socket: Socket): Promise<string | undefined> {
  return new Promise((resolve) => {
    let text = "";
    socket.setEncoding("utf8");
    socket.on("data", (chunk: string) => {
      text += chunk;
      if (text.length > MAX_BYTES) socket.destroy();
    });
    socket.on("end", () => resolve(text));
    socket.on("close", () => resolve(undefined));
  });
}

async function answerTo(text: string, options: CniServerOptions): Promise<Answer> {
  const parsed = request.safeParse(parseJson(text));
  if (!parsed.success)
    return { code: TRY_AGAIN, message: `not understood: ${z.prettifyError(parsed.error)}` };
  const { command } = parsed.data;
  const { governor, trouble } = options;
  if (command === "STATUS") {
    const why = trouble();
    return why === undefined ? DONE : { code: NOT_AVAILABLE, message: why };
  }
  const sandbox = sandboxOf(parsed.data);
  // Not a pod of Kubernetes: somebody else uses the same network.
  if (sandbox === undefined) return DONE;
  if (command === "DEL") {
    await governor.release(sandbox);
    return DONE;
  }
  // CHECK asks whether it is governed, if it is to be: admitting it again says so, and is nothing new.
  return answerOf(await governor.admit(sandbox));
}

const DONE: Answer = { code: 0, message: "" };

function answerOf(result: Result<unknown>): Answer {
  if (result.ok) return DONE;
  return { code: TRY_AGAIN, message: describe(result.error) };
}

function sandboxOf({ args, netns }: Request): Sandbox | undefined {
  const words = new Map(
    args.split(";").map((word) => [word.split("=")[0], word.slice(word.indexOf("=") + 1)]),
  );
  const namespace = words.get("K8S_POD_NAMESPACE");
  const name = words.get("K8S_POD_NAME");
  if (namespace === undefined || name === undefined) return undefined;
  // containerd says /var/run, which is a link to it on the node: a namespace has one path here.
  return { namespace, name, uid: words.get("K8S_POD_UID"), netns: netns.replace(/^\/var\/run\//, "/run/") };
}
