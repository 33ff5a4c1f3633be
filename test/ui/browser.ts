// Owns a headless Chromium on a page, spoken to over a pipe in the browser's own protocol (CDP).
// Must not know the page.

import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable, Writable } from "node:stream";

interface Message {
  readonly id?: number;
  readonly method?: string;
  readonly params?: Readonly<Record<string, unknown>>;
  readonly result?: unknown;
  readonly error?: { readonly message: string };
}

type Waiter = { resolve(result: unknown): void; reject(error: Error): void };

const FLAGS = [
  "--headless=new",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-dev-shm-usage",
  "--no-first-run",
  "--remote-debugging-pipe",
  "--window-size=1200,900",
];

export class Browser {
  readonly #child: ChildProcess;
  readonly #directory: string;
  readonly #waiters = new Map<number, Waiter>();
  /** What the page's console and the browser's log said that is wrong. */
  readonly faults: string[] = [];
  #ids = 0;
  #rest = "";
  #session: string | undefined;

  private constructor() {
    this.#directory = mkdtempSync(join(tmpdir(), "weft-browser-"));
    this.#child = spawn("chromium", [...FLAGS, `--user-data-dir=${this.#directory}`], {
      stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"],
    });
    this.#child.on("error", (error) => this.#end(error));
    this.#child.on("exit", () => this.#end(new Error("the browser has ended")));
    const { to, from } = this.#pipes;
    to.on("error", () => undefined);
    from.on("error", () => undefined);
    from.setEncoding("utf8").on("data", (text: string) => this.#read(text));
  }

  /** A browser with one empty page. */
  static async start(): Promise<Browser> {
    const browser = new Browser();
    const { targetId } = (await browser.send("Target.createTarget", { url: "about:blank" })) as {
      targetId: string;
    };
    const attached = await browser.send("Target.attachToTarget", { targetId, flatten: true });
    browser.#session = (attached as { sessionId: string }).sessionId;
    for (const domain of ["Page", "Runtime", "Log"]) await browser.send(`${domain}.enable`);
    return browser;
  }

  send(method: string, params: object = {}): Promise<unknown> {
    const id = ++this.#ids;
    const { to } = this.#pipes;
    return new Promise((resolve, reject) => {
      this.#waiters.set(id, { resolve, reject });
      const session = this.#session === undefined ? {} : { sessionId: this.#session };
      to.write(`${JSON.stringify({ id, method, params, ...session })}\0`);
    });
  }

  /** What an expression is in the page; throws what it throws. */
  async evaluate<T>(expression: string): Promise<T> {
    const asked = { expression, returnByValue: true, awaitPromise: true };
    const { result, exceptionDetails } = (await this.send("Runtime.evaluate", asked)) as {
      result: { value: T };
      exceptionDetails?: { text: string; exception?: { description?: string } };
    };
    if (exceptionDetails !== undefined)
      throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    return result.value;
  }

  /** Presses a key as a keyboard would. */
  async press(key: string): Promise<void> {
    const code = { Enter: 13, Tab: 9, Escape: 27 }[key] ?? 0;
    const event = { key, code: key, windowsVirtualKeyCode: code, ...(key === "Enter" ? { text: "\r" } : {}) };
    await this.send("Input.dispatchKeyEvent", { type: "keyDown", ...event });
    await this.send("Input.dispatchKeyEvent", { type: "keyUp", ...event });
  }

  /** A picture of what is to be seen, PNG. */
  async screenshot(): Promise<Buffer> {
    const { data } = (await this.send("Page.captureScreenshot", { format: "png" })) as { data: string };
    return Buffer.from(data, "base64");
  }

  async close(): Promise<void> {
    const ended = new Promise((resolve) => this.#child.once("exit", resolve));
    if (this.#child.exitCode === null && this.#child.kill("SIGKILL")) await ended;
    rmSync(this.#directory, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
  }

  get #pipes(): { to: Writable; from: Readable } {
    const [, , , to, from] = this.#child.stdio as unknown as [null, null, null, Writable, Readable];
    return { to, from };
  }

  #read(text: string): void {
    const messages = (this.#rest + text).split("\0");
    this.#rest = messages.pop() ?? "";
    for (const message of messages) this.#take(JSON.parse(message) as Message);
  }

  #take({ id, method, params, result, error }: Message): void {
    if (method === "Runtime.exceptionThrown" || method === "Log.entryAdded")
      this.faults.push(JSON.stringify(params));
    const waiter = id === undefined ? undefined : this.#waiters.get(id);
    if (id === undefined || waiter === undefined) return;
    this.#waiters.delete(id);
    if (error === undefined) waiter.resolve(result);
    else waiter.reject(new Error(error.message));
  }

  #end(error: Error): void {
    for (const waiter of this.#waiters.values()) waiter.reject(error);
    this.#waiters.clear();
  }
}
