// Owns a terminal that is only text, for specs of weftctl. Must not be imported by anything else.

import { Readable, Writable } from "node:stream";
import { run } from "./program.js";

class Sink extends Writable {
  text = "";
  isTTY = false;
  onText: ((text: string) => void) | undefined;
  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.text += chunk.toString();
    this.onText?.(this.text);
    done();
  }
}

export interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

export interface RunOptions {
  readonly tty?: boolean;
  readonly env?: Record<string, string>;
  readonly interrupt?: AbortSignal;
  /** What standard input holds. */
  readonly input?: string;
  /** Called with all that was written to standard output, whenever it is more. */
  readonly onOutput?: (text: string) => void;
}

/** Runs one command line and gives what it wrote. */
export async function runWeftctl(args: readonly string[], options: RunOptions = {}): Promise<Ran> {
  const stdout = new Sink();
  stdout.isTTY = options.tty ?? false;
  stdout.onText = options.onOutput;
  const stderr = new Sink();
  const code = await run(args, {
    stdin: Readable.from([options.input ?? ""]),
    stdout,
    stderr,
    env: options.env ?? {},
    interruption: () => options.interrupt ?? new AbortController().signal,
  });
  return { code, out: stdout.text, err: stderr.text };
}
