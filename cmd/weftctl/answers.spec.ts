// Owns the proof that weftctl takes from a server only what is an answer, and lets no text of it at the terminal raw.

import { createServer, type RequestListener, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, expect, it } from "vitest";
import { parse } from "yaml";
import { base, serveEachTest } from "../../daemon/admin/test-server.js";
import { ExitCode } from "./failure.js";
import { runWeftctl as weftctl } from "./test-terminal.js";

serveEachTest();

const servers: Server[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
});

async function standIn(answer: RequestListener): Promise<string> {
  const server = createServer(answer);
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const kinds: Readonly<Record<string, RequestListener>> = {
  "a page of another server": (_, response) => response.end("<html>hello</html>"),
  "JSON of another server": (_, response) => response.end('{"hello": "world"}'),
  "a failure of another server": (_, response) => response.writeHead(502).end("bad gateway"),
  "JSON that ends too early": (_, response) => response.end('{"workloads": [{"uid": "a'),
  "a connection that ends too early": (_, response) => {
    response.writeHead(200, { "content-length": 1000 });
    response.write('{"maps": {');
    setTimeout(() => response.destroy(), 20);
  },
  "a field of another kind": (_, response) => response.end('{"pods": [{"namespace": 7}], "differences": 1}'),
};
const verbs = [
  ["version"],
  ["status"],
  ["dump", "workload"],
  ["dump", "bpf"],
  ["diff"],
  ["log"],
  ["accesslog"],
  ["monitoring"],
  ["enroll", "default/db=/run/netns/db"],
  ["unenroll", "default/db"],
];

it.each(Object.entries(kinds))("%s: one line and exit 3", async (_, answer) => {
  const other = await standIn(answer);
  for (const verb of verbs) {
    const { code, err } = await weftctl(["--admin", other, ...verb]);
    expect([code, err.split("\n").length], verb.join(" ")).toEqual([ExitCode.unreachable, 2]);
    expect(err).toMatch(/^weftctl: the answer of http.* is none of weftd's: .*\[ADMIN_ANSWER_INVALID\]\n$/);
  }
});

it.each(["7", "null", "[]", '"a"'])("an entry of a map whose key is %s is named", async (key) => {
  const entries = `[{"key": {}, "value": {}}, {"key": ${key}, "value": {}}]`;
  const body = `{"maps": {"slots": {"type": "ARRAY", "capacity": 1, "entries": ${entries}}}}`;
  const other = await standIn((_, response) => response.end(body));
  const { code, err } = await weftctl(["--admin", other, "dump", "bpf"]);
  expect([code, err]).toEqual([
    ExitCode.unreachable,
    expect.stringContaining("maps.slots.entries.1.key: expected an object"),
  ]);
});

it("keeps what a newer daemon says beyond what is known here", async () => {
  const more = { enabled: true, file: null, written: 1, dropped: 0, dropReason: null, rotated: 3 };
  const other = await standIn((_, response) => response.end(JSON.stringify(more)));
  const { out } = await weftctl(["--admin", other, "accesslog", "-o", "json"]);
  expect(JSON.parse(out)).toEqual(more);
});

it("asks below the path of --admin", async () => {
  const asked: (string | undefined)[] = [];
  const other = await standIn((request, response) => {
    asked.push(request.url);
    response.end("{}");
  });
  await weftctl(["--admin", `${other}/node/7/`, "accesslog"]);
  expect(asked).toEqual(["/node/7/accesslog"]);
  expect(await weftctl(["--admin", `${other}/?x=1`, "status"])).toMatchObject({ code: ExitCode.usage });
});

it.each([
  "table",
  "wide",
  "json",
  "yaml",
])("no control character, and none that turns text round, reaches the terminal in %s", async (format) => {
  const evil = "\x1b[2J\u009b2J\x7f\r\u0085\u202e\u2066\u200b\u{e0041}\ud800\u2028e\ninjected";
  const held = JSON.stringify(evil).slice(1, -1);
  // Keys, times and the words of enums are left as they are: the schema names them.
  const poison = (value: unknown): unknown => {
    if (typeof value === "string")
      return /^\d{4}-|^(tls|plaintext|connected|enrolled|unanswered)$/.test(value) ? value : value + evil;
    if (Array.isArray(value)) return value.map(poison);
    if (typeof value !== "object" || value === null) return value;
    return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, poison(each)]));
  };
  const other = await standIn(async (request, response) => {
    const answer = await fetch(base + request.url);
    response.end(JSON.stringify(poison(await answer.json())));
  });
  for (const verb of [
    ["version"],
    ["status"],
    ["dump", "service"],
    ["dump", "bpf"],
    ["log"],
    ["accesslog"],
  ]) {
    const { out, err } = await weftctl(["--admin", other, "-o", format, ...verb]);
    expect(out.length, `${verb.join(" ")}: ${err}`).toBeGreaterThan(10);
    expect(out, verb.join(" ")).not.toMatch(/[^\P{Cc}\n]|[\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u);
    expect(out, verb.join(" ")).not.toMatch(/^injected/m);
    // A program that reads it gets what the daemon said.
    if (verb[0] !== "status") continue;
    if (format === "json") expect(JSON.stringify(JSON.parse(out))).toContain(held);
    if (format === "yaml") expect(JSON.stringify(parse(out))).toContain(held);
  }
});

it("no control character reaches the terminal from the live access log", async () => {
  const other = await standIn((_, response) => {
    response.write("src.workload=a\u009b2J\x1b[2Jb\nhalf a");
    setTimeout(() => response.end(" line\n"), 20);
  });
  expect((await weftctl(["--admin", other, "accesslog", "tail"])).out).toBe(
    "src.workload=a\\x9b2J\\x1b[2Jb\nhalf a line\n",
  );
  const json = (await weftctl(["--admin", other, "accesslog", "tail", "-o", "json"])).out;
  expect(json).toContain("\\u009b2J");
  expect(json).not.toMatch(/[^\P{Cc}\n]/u);
});
