// Owns requests to the API server on behalf of whoever runs weftctl. Must not know what the objects mean.

import { request as requestPlain } from "node:http";
import { request } from "node:https";
import { text as textOf } from "node:stream/consumers";
import type * as z from "zod";
import { messageOf } from "../../../daemon/base/errors.js";
import { reasonOfStatus } from "../../../daemon/base/kube-status.js";
import { CommandFailure, ExitCode } from "../failure.js";
import type { Connection } from "./kubeconfig.js";

/** Milliseconds that an answer may take. */
const ANSWER_MS = 30_000;

/** Who the fields belong to that are applied. */
const MANAGER = "weftctl";

/** An object as it is sent: what else is in it is kept. */
export interface KubeObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string | undefined;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
  };
  readonly [field: string]: unknown;
}

/** What names an object. */
export type KubeName = Pick<KubeObject, "apiVersion" | "kind" | "metadata">;

interface Answer {
  readonly status: number;
  readonly text: string;
}

/** Every method throws CommandFailure: with what the API server says, or that it does not answer. */
export class Kube {
  /** `signal` ends every request. */
  constructor(
    readonly connection: Connection,
    readonly signal?: AbortSignal | undefined,
  ) {}

  /** `path` as pathOf() gives it, or of a list; undefined: there is none. */
  async get<T>(path: string, schema: z.ZodType<T>, accept = "application/json"): Promise<T | undefined> {
    const answer = await this.#ask("GET", path, undefined, { accept });
    if (answer.status === 404) return undefined;
    return this.#read(path, this.#checked("GET", path, answer), schema);
  }

  /** Creates or changes it, as server-side apply does. */
  async apply(object: KubeObject): Promise<void> {
    const path = `${pathOf(object)}?fieldManager=${MANAGER}&force=true`;
    const type = { "content-type": "application/apply-patch+yaml" };
    this.#checked("PATCH", path, await this.#ask("PATCH", path, JSON.stringify(object), type));
  }

  /** Merges `change` into it (RFC 7386). */
  async merge(object: KubeName, change: unknown): Promise<void> {
    const path = pathOf(object);
    const type = { "content-type": "application/merge-patch+json" };
    this.#checked("PATCH", path, await this.#ask("PATCH", path, JSON.stringify(change), type));
  }

  /** Whether it was there. What it owns is deleted after it. */
  async delete(object: KubeName): Promise<boolean> {
    const path = `${pathOf(object)}?propagationPolicy=Background`;
    const answer = await this.#ask("DELETE", path);
    if (answer.status === 404) return false;
    this.#checked("DELETE", path, answer);
    return true;
  }

  #checked(method: string, path: string, { status, text }: Answer): string {
    if (status >= 200 && status < 300) return text;
    throw new CommandFailure(
      `the API server refuses ${method} ${path.split("?")[0]} (${status}: ${reasonOfStatus(text)})`,
    );
  }

  #read<T>(path: string, text: string, schema: z.ZodType<T>): T {
    try {
      return schema.parse(JSON.parse(text));
    } catch (error) {
      throw new CommandFailure(`the API server's answer to ${path} is not as expected: ${messageOf(error)}`);
    }
  }

  #ask(method: string, path: string, body?: string, headers: Record<string, string> = {}): Promise<Answer> {
    const { url } = this.connection;
    const target = new URL(url.replace(/\/+$/, "") + path);
    return new Promise((resolve, reject) => {
      const fail = (error: unknown) =>
        reject(
          new CommandFailure(
            `the API server does not answer at ${url}: ${messageOf(error)}`,
            ExitCode.unreachable,
          ),
        );
      const options = {
        method,
        signal: inTime(ANSWER_MS, this.signal),
        ...tlsOf(this.connection),
        headers: { accept: "application/json", ...headers, ...authorizationOf(this.connection) },
      };
      const sent = (target.protocol === "http:" ? requestPlain : request)(target, options, (response) => {
        textOf(response).then((text) => resolve({ status: response.statusCode ?? 0, text }), fail);
      });
      sent.on("error", fail);
      sent.end(body);
    });
  }
}

function inTime(milliseconds: number, signal: AbortSignal | undefined): AbortSignal {
  const limit = AbortSignal.timeout(milliseconds);
  return signal === undefined ? limit : AbortSignal.any([limit, signal]);
}

export function tlsOf({ ca, cert, key, serverName, isUnchecked }: Connection) {
  return {
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
    ...(serverName === undefined ? {} : { servername: serverName }),
    ...(isUnchecked ? { rejectUnauthorized: false } : {}),
  };
}

export function authorizationOf({ token }: Connection): Record<string, string> {
  return token === undefined ? {} : { authorization: `Bearer ${token}` };
}

/** Of the kinds that weft uses the plural is the kind and an s. */
export function pathOf({ apiVersion, kind, metadata: { name, namespace } }: KubeName): string {
  const group = apiVersion.includes("/") ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
  const place = namespace === undefined ? "" : `/namespaces/${encodeURIComponent(namespace)}`;
  return `${group}${place}/${kind.toLowerCase()}s/${encodeURIComponent(name)}`;
}
