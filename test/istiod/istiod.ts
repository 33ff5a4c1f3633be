// Owns a real istiod as a process, what its API server would remember across its deaths, and its own dump.
// Must not know weftd.

import { existsSync } from "node:fs";
import { join } from "node:path";
import { parseAllDocuments } from "yaml";
import { packageRoot } from "../../daemon/base/package-root.js";
import type { Lab } from "../../lab/lab.js";
import { freePort } from "../../lab/mesh.js";
import type { RunningProcess } from "../../lab/process.js";
import { until } from "../../lab/wait.js";
import { type HeldMesh, meshOf } from "../conformance/ambientz.js";

export interface IstiodOptions {
  /** Serve TLS beside plain gRPC; root-cert.pem appears in this directory. */
  readonly tlsDirectory?: string;
  /** The token that is good on the TLS port, as this file holds it at the time. */
  readonly tokenFile?: string;
}

/** What istiod's process is told; see harness/main.go. */
type Command =
  | { readonly apply: string }
  | { readonly delete: string }
  | { readonly dump: "ambientz" | "syncz" | "connections" }
  | { readonly listen: { readonly plain: string; readonly tls?: string } }
  | { readonly close: true }
  | { readonly settle: true }
  | { readonly rotate: "leaf" | "root" };

interface Answer {
  readonly id: number;
  readonly error?: string;
  /** Unix milliseconds. */
  readonly at: number;
  readonly ms: number;
  readonly result?: unknown;
}

interface Pending {
  resolve(answer: Answer): void;
  reject(error: Error): void;
}

/** Starts istiod with these Kubernetes objects; it serves them from its first moment on. */
export async function startIstiod(lab: Lab, yaml = "", options: IstiodOptions = {}): Promise<Istiod> {
  const istiod = new Istiod(lab, options, { plain: await freePort(), tls: await freePort() });
  istiod.remember(yaml);
  await istiod.start();
  return istiod;
}

export class Istiod {
  /** What the API server holds, by kind, namespace and name. istiod's process forgets it, the cluster does not. */
  readonly #objects = new Map<string, string>();
  readonly #pending = new Map<number, Pending>();
  #process: RunningProcess | undefined;
  #next = 1;

  constructor(
    readonly lab: Lab,
    readonly options: IstiodOptions,
    /** Of loopback, the same after every restart. */
    readonly ports: { readonly plain: number; readonly tls: number },
  ) {}

  get running(): boolean {
    return this.#process?.running === true;
  }

  /** Starts the process, gives it the cluster's objects, lets it come to rest, and only then serves. */
  async start(): Promise<void> {
    const { tlsDirectory, tokenFile } = this.options;
    const argv = [
      program(),
      ...(tlsDirectory === undefined ? [] : ["--tls-directory", tlsDirectory]),
      ...(tokenFile === undefined ? [] : ["--token-file", tokenFile]),
    ];
    const child = this.lab.spawnDaemon(argv);
    this.#process = child;
    child.onLine((line) => this.#onLine(line));
    void child.exited
      .catch(() => -1)
      .then((code) => {
        const said = child.stderr.split("\n").slice(-8).join("\n");
        for (const { reject } of this.#pending.values())
          reject(new Error(`istiod ended (${code}):\n${said}`));
        this.#pending.clear();
      });
    if (this.#objects.size > 0) await this.#call({ apply: [...this.#objects.values()].join("\n---\n") });
    await this.settle();
    await this.serve();
  }

  /** Listens on its ports; idempotent only after cut(). */
  async serve(): Promise<void> {
    const { plain, tls } = this.ports;
    const secure = this.options.tlsDirectory === undefined ? {} : { tls: `127.0.0.1:${tls}` };
    // A port that was just given up may be a client's for a moment.
    await until("istiod listening", async () => {
      await this.#call({ listen: { plain: `127.0.0.1:${plain}`, ...secure } });
      return true;
    });
  }

  /** Closes the ports and cuts every stream; istiod itself lives on. */
  async cut(): Promise<void> {
    await this.#call({ close: true });
  }

  /** Ends the process without a word; its objects stay for the next start(). */
  async kill(): Promise<void> {
    this.#process?.kill("SIGKILL");
    await this.#process?.exited;
  }

  /**
   * Creates or replaces Kubernetes objects, in the cluster alone while istiod is down. Returns Unix milliseconds
   * of the change.
   */
  async apply(yaml: string): Promise<number> {
    this.remember(yaml);
    return this.running ? (await this.#call({ apply: yaml })).at : Date.now();
  }

  /** Deletes objects by name, as apply(). */
  async delete(yaml: string): Promise<number> {
    for (const { key } of objectsIn(yaml)) this.#objects.delete(key);
    return this.running ? (await this.#call({ delete: yaml })).at : Date.now();
  }

  /** Puts objects into the cluster without telling istiod, which takes them at its start. */
  remember(yaml: string): void {
    for (const { key, text } of objectsIn(yaml)) this.#objects.set(key, text);
  }

  /** Resolves when istiod has pushed all that it knows. */
  async settle(): Promise<void> {
    await this.#call({ settle: true });
  }

  /** New certificate, under a new root where asked. */
  async rotate(what: "leaf" | "root"): Promise<void> {
    await this.#call({ rotate: what });
  }

  /** istiod's ambient index, as it prints it itself. */
  async ambientz(): Promise<HeldMesh> {
    return meshOf((await this.#call({ dump: "ambientz" })).result as Parameters<typeof meshOf>[0]);
  }

  #call(command: Command): Promise<Answer> {
    const child = this.#process;
    if (child === undefined || !child.running) throw new Error("istiod is not running");
    const id = this.#next++;
    child.stdin.write(`${JSON.stringify({ id, ...command })}\n`);
    return new Promise((resolve, reject) => this.#pending.set(id, { resolve, reject }));
  }

  #onLine(line: string): void {
    const answer = JSON.parse(line) as Answer;
    const pending = this.#pending.get(answer.id);
    this.#pending.delete(answer.id);
    if (answer.error === undefined) pending?.resolve(answer);
    else pending?.reject(new Error(`istiod: ${answer.error}`));
  }
}

/** The built istiod. Throws when it is not built. */
function program(): string {
  const file = join(packageRoot(), "build", "istiod");
  if (!existsSync(file)) throw new Error(`${file} is missing: run make test-istiod`);
  return file;
}

function objectsIn(yaml: string): { readonly key: string; readonly text: string }[] {
  return parseAllDocuments(yaml).flatMap((document) => {
    const object = document.toJS() as {
      kind: string;
      metadata: { name: string; namespace?: string };
    } | null;
    if (object === null) return [];
    const { name, namespace = "" } = object.metadata;
    return [{ key: `${object.kind} ${namespace}/${name}`, text: JSON.stringify(object) }];
  });
}
