// Owns the proof that the page at /ui works in a real browser: what it shows, by mouse and by keyboard, with a
// thousand workloads, and that it asks nobody but the daemon.

import { join } from "node:path";
import type { Browser } from "puppeteer-core";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { base, serveEachTest, setPage } from "../../daemon/admin/test-server.js";
import { packageRoot } from "../../daemon/base/package-root.js";
import { slowness, until } from "../../lab/wait.js";
import { openTab, startBrowser, type Tab } from "./browser.js";

serveEachTest();

let browser: Browser | undefined;
let tab: Tab | undefined;
beforeAll(async () => {
  browser = await startBrowser();
});
afterAll(() => browser?.close());
afterEach(async () => {
  const faults = [...(tab?.faults ?? [])];
  // Before its server ends, which it goes on asking.
  await tab?.close();
  tab = undefined;
  expect(faults).toEqual([]);
});

/** A line of the page of metrics. */
function line(
  family: string,
  value: number,
  from: string,
  to: string,
  more: Record<string, string> = {},
): string {
  const name = (end: string) => end.split("/") as [string, string];
  const labels = {
    reporter: "source",
    ...{ source_workload_namespace: name(from)[0], source_workload: name(from)[1] },
    ...{ destination_service: `${name(to)[1]}.svc`, destination_service_namespace: name(to)[0] },
    ...{ destination_workload_namespace: name(to)[0], destination_workload: name(to)[1] },
    response_flags: "-",
    ...more,
  };
  const text = Object.entries(labels).map(([label, shown]) => `${label}=${JSON.stringify(shown)}`);
  return `kmesh_tcp_${family}_total{${text.join(",")}} ${value}\n`;
}

/** The page after its first look. */
async function open(): Promise<Tab> {
  if (browser === undefined) throw new Error("there is no browser");
  const opened = await openTab(browser);
  tab = opened;
  await opened.page.goto(`${base}/ui`);
  await until("the page's first look", async () => (await looks(opened)) >= 1);
  return opened;
}

/** How often the page has asked and shown. */
const looks = (of: Tab) => of.evaluate<number>("Number(document.body.dataset.looks ?? 0)");

test("shows who talks to whom, finds them, and says why, by keyboard alone", async () => {
  setPage(
    line("connections_opened", 7, "shop/cart", "default/web") +
      line("connections_failed", 3, "shop/evil", "default/web", {
        reporter: "destination",
        response_flags: "DENY",
      }) +
      line("connections_opened", 2, "shop/<img src=x onerror=alert(1)>", "default/web"),
  );
  const { page, evaluate } = await open();
  const { keyboard } = page;
  const cells = await evaluate<string[]>(
    "[...document.querySelectorAll('tbody tr')].map((row) => row.className + ':' + [...row.cells].slice(0, 8).map((cell) => cell.textContent).join('|'))",
  );
  expect(cells.sort()).toEqual([
    ":shop/<img src=x onerror=alert(1)>|default/web|web.svc|0.0|2|0 B|0|0",
    ":shop/cart|default/web|web.svc|0.0|7|0 B|0|0",
    "denied:shop/evil|default/web|web.svc|0.0|0|0 B|0|3",
  ]);
  expect(await evaluate("document.querySelectorAll('svg path').length")).toBe(3);
  expect(await evaluate("document.querySelectorAll('svg path.denied').length")).toBe(1);
  expect(await evaluate("document.getElementById('state').textContent")).toBe("ready");

  await evaluate("document.getElementById('find').focus()");
  await keyboard.sendCharacter("cart");
  expect(await evaluate("document.getElementById('found').textContent")).toBe("1 of 3 pairs");
  expect(await evaluate("document.querySelectorAll('svg path').length")).toBe(1);
  // The heads of eight columns, then the first row's button.
  for (let index = 0; index < 9; index++) await keyboard.press("Tab");
  expect(await evaluate("document.activeElement.getAttribute('aria-label')")).toBe(
    "Why shop/cart to default/web",
  );
  await keyboard.press("Enter");
  expect(await evaluate("document.getElementById('why').open")).toBe(true);
  await until("the policies", async () =>
    (await evaluate<string>("document.getElementById('policies').textContent")).includes(
      "ALLOW default/viewers",
    ),
  );
  await evaluate("document.querySelector('[name=port]').focus()");
  await keyboard.sendCharacter("8080");
  await keyboard.press("Enter");
  await until("the verdict", async () =>
    (await evaluate<string>("document.getElementById('verdict').textContent")).includes(
      "Refused by no policy (authz_no_allow)",
    ),
  );
  await keyboard.press("Escape");
  expect(await evaluate("document.getElementById('why').open")).toBe(false);
});

/** A small shop, for the picture in the README. */
const SHOP = [
  ["shop/ingress", "shop/productpage", 1840],
  ["shop/productpage", "shop/details", 1790],
  ["shop/productpage", "shop/reviews", 1811],
  ["shop/reviews", "shop/ratings", 1203],
  ["shop/ratings", "data/mongodb", 1190],
  ["shop/cart", "data/redis", 640],
  ["shop/cart", "default/web", 7],
  ["ops/prometheus", "shop/productpage", 120],
] as const;

test("has a name for all that is to be operated, and a table beside the picture", async () => {
  setPage(
    SHOP.map(
      ([from, to, count]) =>
        line("connections_opened", count, from, to) + line("sent_bytes", count * 4096, from, to),
    ).join("") +
      line("connections_failed", 31, "ops/debug", "data/mongodb", {
        reporter: "destination",
        response_flags: "DENY",
      }) +
      line("connections_failed", 4, "shop/cart", "data/redis", { response_flags: "TIMEOUT" }),
  );
  const { page, protocol } = await open();
  const picture = process.env.WEFT_UI_PICTURE;
  if (picture !== undefined) await page.screenshot({ path: join(packageRoot(), picture) as `${string}.png` });
  const { nodes } = await protocol.send("Accessibility.getFullAXTree");
  const heard = nodes.filter(({ ignored }) => !ignored);
  const named = (role: string) =>
    heard.filter((node) => node.role?.value === role).map(({ name }) => name?.value ?? "");
  expect(named("table")).toEqual(["Who talks to whom: connections a second, and in all"]);
  expect(named("searchbox")).toEqual(["Search"]);
  expect(named("button")).toContain("Why shop/cart to default/web");
  expect(named("button").filter((name) => name === "")).toEqual([]);
  expect(named("columnheader")).toHaveLength(9);
});

test("a thousand workloads are there without holding the page up", async () => {
  const whole = (round: number) =>
    Array.from({ length: 1000 }, (_, index) =>
      line("connections_opened", 10 + round * (index % 7), `shop/client-${index}`, `shop/web-${index % 40}`),
    ).join("");
  setPage(whole(0));
  const opened = await open();
  const { protocol, evaluate } = opened;
  // Time that the page's thread ran, whatever else the machine did.
  await protocol.send("Performance.enable", { timeDomain: "threadTicks" });
  const busy = async () => {
    const { metrics } = await protocol.send("Performance.getMetrics");
    return metrics.find(({ name }) => name === "TaskDuration")?.value ?? Number.NaN;
  };
  expect(await evaluate("document.querySelectorAll('tbody tr').length")).toBe(1000);
  const before = await busy();
  const seen = await looks(opened);
  setPage(whole(1));
  await until("a look at other counts", async () => (await looks(opened)) >= seen + 2, { timeoutMs: 60_000 });
  const seconds = (await busy()) - before;
  // Some 0.3 beside other work, for all that a look costs: asking, writing, laying out, painting.
  expect(seconds).toBeGreaterThan(0);
  expect(seconds).toBeLessThan(3 * slowness);
});

test("asks nobody but the daemon, and may not", async () => {
  const answer = await fetch(`${base}/ui`);
  expect(answer.headers.get("content-security-policy")).toContain("default-src 'none'");
  expect(answer.headers.get("x-content-type-options")).toBe("nosniff");
  const text = await answer.text();
  expect(text).not.toMatch(/https?:/);
  expect(text).not.toMatch(/ on\w+=|<script>|style=/);
  expect((await fetch(`${base}/ui/../package.json`)).status).toBe(404);
});
