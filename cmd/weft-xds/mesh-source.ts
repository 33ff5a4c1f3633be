// Owns the mesh file while it is served: reading, watching, what an edit changes. Must not know clients.

import { type FSWatcher, readFileSync, watch } from "node:fs";
import { basename, dirname } from "node:path";
import { messageOf } from "../../daemon/base/errors.js";
import { encodeMesh } from "./encode.js";
import { parseMesh } from "./mesh-file.js";
import type { Change, ServedState } from "./served.js";
import type { Source } from "./source.js";

/** Editors write a file in steps: milliseconds of quiet before it is read, and at most after its first event. */
const QUIET_MS = 75;
const LONGEST_MS = 500;

/** Serves a file's last good content. */
export class MeshSource implements Source {
  readonly #file: string;
  readonly #state: ServedState;
  readonly #push: (change: Change) => void;
  readonly #log: (line: string) => void;
  #text: string | undefined;
  #watcher: FSWatcher | undefined;
  #timer: NodeJS.Timeout | undefined;
  /** When the first event came that the timer is about. */
  #dirtySince = 0;

  constructor(file: string, state: ServedState, push: (change: Change) => void, log: (line: string) => void) {
    this.#file = file;
    this.#state = state;
    this.#push = push;
    this.#log = log;
  }

  load(): readonly string[] {
    let text: string;
    try {
      text = readFileSync(this.#file, "utf8");
    } catch (error) {
      return [`${this.#file}: ${messageOf(error)}`];
    }
    if (text === this.#text) return [];
    this.#text = text;
    const parsed = parseMesh(text, this.#file);
    if (!parsed.ok) return parsed.problems;
    for (const change of this.#state.changesTo(encodeMesh(parsed.mesh))) this.#push(change);
    return [];
  }

  start(): void {
    // The directory, because an editor that renames replaces the file under the watch; any event of it, because
    // a mounted ConfigMap changes through a link beside the file.
    this.#watcher = watch(dirname(this.#file), (_event, name) =>
      this.#changed(name === basename(this.#file)),
    );
    this.#watcher.on("error", (error) =>
      this.#log(`${this.#file} is not watched any more: ${error.message}`),
    );
    // An edit between load() and now.
    this.#changed(false);
  }

  next(): boolean {
    return false;
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#watcher?.close();
  }

  /** Only events of the file itself prolong the wait: its neighbours may never come to rest. */
  #changed(itself: boolean): void {
    if (this.#timer === undefined) this.#dirtySince = Date.now();
    else if (!itself || Date.now() - this.#dirtySince >= LONGEST_MS) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#reload(), QUIET_MS);
  }

  #reload(): void {
    this.#timer = undefined;
    const problems = this.load();
    for (const problem of problems) this.#log(problem);
    if (problems.length > 0) this.#log(`${this.#file} is refused: the last good one stays served`);
  }
}
