import { expect, it, vi } from "vitest";
import { happened } from "../../daemon/admin/test-operator-view.js";
import { base, serveEachTest, view } from "../../daemon/admin/test-server.js";
import { ExitCode } from "./failure.js";
import { type RunOptions, runWeftctl } from "./test-terminal.js";

serveEachTest();

const events = (args: string[] = [], options: RunOptions = {}) =>
  runWeftctl(["--admin", base, "events", ...args], options);

it("shows what changed since a time, of the types that are asked for", async () => {
  const { code, out } = await events(["--since", "2024-01-01T00:00:00Z"]);
  expect(code).toBe(ExitCode.ok);
  expect(out.split("\n")[0]).toMatch(/^TIME +TYPE +WHAT HAPPENED$/);
  expect(out).toMatch(/^2024-09-14T09:00:00\.000Z +policy +policy default\/no-web was added: DENY/m);
  expect((await events(["-o", "wide", "--since", "2024-01-01T00:00:00Z"])).out).toMatch(
    /policy +default\/no-web +policy/,
  );
  const some = await events([
    "--since",
    "2024-01-01T00:00:00Z",
    "--type",
    "policy",
    "--type",
    "nack",
    "-o",
    "json",
  ]);
  expect(JSON.parse(some.out)).toEqual({ events: [happened[1]] });
  expect((await events()).out).toBe("nothing changed in the last 1h\n");
});

it("refuses a time and a type that are none", async () => {
  expect(await events(["--since", "yesterday"])).toMatchObject({
    code: ExitCode.failure,
    err: expect.stringContaining("since: is no duration such as 1h"),
  });
  expect(await events(["--type", "weather"])).toMatchObject({
    code: ExitCode.usage,
    err: expect.stringContaining("Allowed choices are daemon, control-plane,"),
  });
  expect((await runWeftctl(["__complete", "--", "events", "--type", "out"])).out).toBe("outlier\n");
});

it.each([
  "table",
  "json",
])("follows in %s, nothing of a stranger's text reaching the terminal raw", async (format) => {
  const interrupt = new AbortController();
  const running = events(["-f", "--type", "pod", "-o", format], {
    interrupt: interrupt.signal,
    onOutput: () => interrupt.abort(),
  });
  await vi.waitUntil(() => view.followers.size > 0, { timeout: 30_000, interval: 5 });
  const event = {
    at: "2026-01-01T00:00:00.000Z",
    type: "pod",
    subject: "a",
    what: "x",
    text: "\x1b[2J\nz",
  } as const;
  view.happen(event);
  const { code, out } = await running;
  expect(code).toBe(ExitCode.ok);
  if (format === "json") expect(JSON.parse(out)).toEqual(event);
  else expect(out).toBe("2026-01-01T00:00:00.000Z  pod            \\x1b[2J\\nz\n");
  expect(out).not.toMatch(/[^\P{Cc}\n]/u);
  expect(await events(["-f", "-o", "yaml"])).toMatchObject({ code: ExitCode.usage });
});
