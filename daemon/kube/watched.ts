// Owns a copy of the API server's objects of one kind: listed once, then watched, for ever.
// Must not know what is done with them.

import { setTimeout as sleep } from "node:timers/promises";
import * as z from "zod";
import { Backoff } from "../base/backoff.js";
import { describe, type WeftError } from "../base/errors.js";
import type { Logger } from "../base/log.js";
import type { ApiServer, WatchEvent } from "./api-server.js";
import { readAs } from "./failure.js";

const versioned = z.object({ metadata: z.object({ resourceVersion: z.string() }) });

function listOf<T>(schema: z.ZodType<T>) {
  return versioned.extend({ items: z.array(schema) });
}

/** What every object has that is copied here. */
interface Named {
  readonly metadata: { readonly namespace: string; readonly name: string; readonly uid: string };
}

export interface WatchedOptions<T extends Named> {
  readonly server: Pick<ApiServer, "get" | "watch">;
  /** Such as `/api/v1/pods?fieldSelector=spec.nodeName%3Da`; with a query, be it empty. */
  readonly path: string;
  readonly schema: z.ZodType<T>;
  /** Called after each change, and after each list. */
  readonly changed: () => void;
  readonly log: Logger;
}

/** The copy. While the server is away it stays as it was. */
export class Watched<T extends Named> {
  readonly #options: WatchedOptions<T>;
  #items = new Map<string, T>();
  /** Uids of what was learnt and has not been seen by the watch, which may be behind. */
  readonly #learnt = new Map<string, string>();
  /** From which on the watch goes on; undefined: it has to begin with a list. */
  #version: string | undefined;
  #isComplete = false;
  #lastError: WeftError | undefined;

  constructor(options: WatchedOptions<T>) {
    this.#options = options;
  }

  /** By `namespace/name`; the first part is empty for what belongs to no namespace. */
  get items(): ReadonlyMap<string, T> {
    return this.#items;
  }

  /** A list has come: what is not in `items` is not there. */
  get isComplete(): boolean {
    return this.#isComplete;
  }

  /** Why the copy may be behind; undefined while it is followed. */
  get lastError(): WeftError | undefined {
    return this.#lastError;
  }

  /** Takes in an object that was got by other means, before the watch shows it: what it says until then is old. */
  learn(object: T): void {
    this.#items.set(keyOf(object), object);
    this.#learnt.set(keyOf(object), object.metadata.uid);
  }

  /** What was learnt has gone before the watch has shown it. */
  unlearn(key: string): void {
    if (this.#learnt.delete(key)) this.#items.delete(key);
  }

  /** Follows the server until `signal` ends it. */
  async run(signal: AbortSignal): Promise<void> {
    const backoff = new Backoff();
    while (!signal.aborted) {
      const error = await this.#round(signal, () => backoff.reset());
      if (signal.aborted) return;
      if (error !== undefined && error.message !== this.#lastError?.message)
        this.#options.log.warn(describe(error));
      this.#lastError = error;
      await sleep(backoff.next(), undefined, { signal }).catch(() => undefined);
    }
  }

  /** A list where one is needed, and a watch to its end. */
  async #round(signal: AbortSignal, isWell: () => void): Promise<WeftError | undefined> {
    const { server, path, schema } = this.#options;
    if (this.#version === undefined) {
      // A list that cannot be read whole is a failure: it would say nothing of what it leaves out.
      const listed = await server.get(path, listOf(schema));
      if (!listed.ok) return listed.error;
      this.#takeList(listed.value);
    }
    this.#lastError = undefined;
    const from = `${path}&allowWatchBookmarks=true&resourceVersion=${this.#version}`;
    const watched = await server.watch(
      from,
      (event) => {
        isWell();
        this.#takeEvent(event);
      },
      signal,
    );
    if (watched.ok) return undefined;
    // What a server refuses to go on from has to be listed again; one that is away may come back in time.
    if (watched.error.code === "KUBE_REFUSED") this.#version = undefined;
    return watched.error;
  }

  #takeList({ metadata, items }: z.output<ReturnType<typeof listOf<T>>>): void {
    const before = this.#items;
    this.#items = new Map(items.map((item) => [keyOf(item), item]));
    for (const [key, uid] of this.#learnt) {
      const learnt = before.get(key);
      // The list may have been made before.
      if (this.#items.get(key)?.metadata.uid !== uid && learnt !== undefined) this.#items.set(key, learnt);
      else this.#learnt.delete(key);
    }
    this.#version = metadata.resourceVersion;
    this.#isComplete = true;
    this.#options.changed();
  }

  #takeEvent({ type, object }: WatchEvent): void {
    // An ERROR is a Status, 410 mostly: the version is too old to go on from.
    const version = type === "ERROR" ? undefined : versioned.safeParse(object).data?.metadata.resourceVersion;
    this.#version = version;
    if (version === undefined || type === "BOOKMARK") return;
    const { schema, path, log, changed } = this.#options;
    const read = readAs(schema, path, object);
    if (!read.ok) {
      log.warn(describe(read.error));
      return;
    }
    const item = read.value;
    const key = keyOf(item);
    // Of the one that had the name before.
    if (this.#learnt.has(key) && this.#learnt.get(key) !== item.metadata.uid) return;
    this.#learnt.delete(key);
    if (type === "DELETED") this.#items.delete(key);
    else this.#items.set(key, item);
    changed();
  }
}

function keyOf({ metadata: { namespace, name } }: Named): string {
  return `${namespace}/${name}`;
}
