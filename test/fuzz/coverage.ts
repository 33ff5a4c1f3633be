// Owns what V8 tells of the code that has run: how much of our own, and whether any of it is new.
// Must not know what ran.

import { Session } from "node:inspector";

interface Range {
  readonly startOffset: number;
  readonly endOffset: number;
  readonly count: number;
}
interface Script {
  readonly scriptId: string;
  readonly url: string;
  readonly functions: readonly { readonly ranges: readonly Range[] }[];
}

export class Coverage {
  readonly #session = new Session();
  /** By function: 1 for each character of it that has run at some time. */
  readonly #reached = new Map<string, Uint8Array>();
  readonly #isOwn: (url: string) => boolean;

  /** Of the thread that makes it. `isOwn` chooses scripts by their URLs. */
  constructor(isOwn: (url: string) => boolean) {
    this.#isOwn = isOwn;
    this.#session.connect();
    this.#session.post("Profiler.enable");
    this.#session.post("Profiler.startPreciseCoverage", { callCount: true, detailed: true });
  }

  /** Functions that have run at some time. */
  get functions(): number {
    return this.#reached.size;
  }

  /** Whether code ran, since the last call, that never did before. It counts as reached unless `peek`. */
  isFresh(peek = false): boolean {
    let isFresh = false;
    for (const { url, scriptId, functions } of this.#take()) {
      if (!this.#isOwn(url)) continue;
      for (const { ranges } of functions) {
        const [whole] = ranges;
        if (whole === undefined || whole.count === 0) continue;
        if (this.#reaches(`${scriptId} ${whole.startOffset} ${whole.endOffset}`, whole, ranges, peek))
          isFresh = true;
      }
    }
    return isFresh;
  }

  /** V8 leaves out a block that ran as often as what is around it: so one goes by the text that is left. */
  #reaches(key: string, { startOffset, endOffset }: Range, ranges: readonly Range[], peek: boolean): boolean {
    const ran = new Uint8Array(endOffset - startOffset);
    for (const range of ranges)
      ran.fill(range.count > 0 ? 1 : 0, range.startOffset - startOffset, range.endOffset - startOffset);
    const before = this.#reached.get(key);
    if (before === undefined) {
      if (!peek) this.#reached.set(key, ran);
      return true;
    }
    let isFresh = false;
    for (const [index, byte] of ran.entries()) {
      if (byte === 0 || before[index] === 1) continue;
      isFresh = true;
      if (peek) return true;
      before[index] = 1;
    }
    return isFresh;
  }

  close(): void {
    this.#session.disconnect();
  }

  /** The session answers before post() returns: it is of this very thread. */
  #take(): readonly Script[] {
    let scripts: readonly Script[] = [];
    this.#session.post("Profiler.takePreciseCoverage", (error: Error | null, taken: { result: Script[] }) => {
      if (error === null) scripts = taken.result;
    });
    return scripts;
  }
}
