// Owns a headless Chromium, and pages in it that note what goes wrong. Must not know what they show.

import { type Browser, type CDPSession, launch, type Page } from "puppeteer-core";
import { slowness } from "../../lab/wait.js";

/** Debian's own: puppeteer-core brings none along. */
const CHROMIUM = "/usr/bin/chromium";

export function startBrowser(): Promise<Browser> {
  return launch({
    executablePath: CHROMIUM,
    pipe: true,
    args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
    defaultViewport: { width: 1200, height: 900 },
    timeout: 60_000 * slowness,
    protocolTimeout: 60_000 * slowness,
  });
}

/** One page, alone in a profile of its own. */
export interface Tab {
  readonly page: Page;
  /** The browser's own protocol, for what Puppeteer has no word for. */
  readonly protocol: CDPSession;
  /** What the page threw, and what console and browser said that is wrong. */
  readonly faults: readonly string[];
  /** What an expression is in the page; throws what it throws. */
  evaluate<T>(expression: string): Promise<T>;
  close(): Promise<void>;
}

export async function openTab(browser: Browser): Promise<Tab> {
  const context = await browser.createBrowserContext();
  const page = await context.newPage();
  const faults: string[] = [];
  page.on("pageerror", (error) => faults.push(String(error)));
  page.on("console", (message) => {
    if (["error", "warn"].includes(message.type())) faults.push(message.text());
  });
  return {
    page,
    protocol: await page.createCDPSession(),
    faults,
    evaluate: async <T>(expression: string) => (await page.evaluate(expression)) as T,
    close: () => context.close(),
  };
}
