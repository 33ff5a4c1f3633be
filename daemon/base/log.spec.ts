import { execFileSync, spawn } from "node:child_process";
import { closeSync, constants, mkdtempSync, openSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { podNetnsMissing } from "./errors.js";
import { createLogs, type LogFormat } from "./log.js";
import { parseLogLevels } from "./log-levels.js";

function logsTo(lines: string[], format: LogFormat, levels = "info") {
  const parsed = parseLogLevels(levels);
  if (!parsed.ok) throw new Error(parsed.reason);
  return createLogs({
    levels: parsed.levels,
    format,
    output: { write: (line) => void lines.push(line), written: 0, dropped: 0, close: async () => undefined },
  });
}

describe("parseLogLevels", () => {
  it("reads a level for all and levels of single subsystems", () => {
    const result = parseLogLevels("warn, xds:debug,bpf:trace");
    expect(result.ok && [result.levels.default, ...result.levels.subsystems]).toEqual([
      "warn",
      ["xds", "debug"],
      ["bpf", "trace"],
    ]);
    const single = parseLogLevels("xds:debug");
    expect(single.ok && single.levels.default).toBe("info");
  });

  it("says what is wrong", () => {
    expect(parseLogLevels("loud")).toMatchObject({ ok: false });
    expect(parseLogLevels("")).toMatchObject({ ok: false });
    const unknown = parseLogLevels("kernel:info");
    expect(!unknown.ok && unknown.reason).toContain('"kernel" is no subsystem');
  });
});

/** A pipe that nobody reads. */
function openPipe(): number {
  const directory = mkdtempSync(join(tmpdir(), "weft-log-"));
  try {
    execFileSync("mkfifo", [join(directory, "fifo")]);
    return openSync(join(directory, "fifo"), constants.O_RDWR);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

describe("createLogs", () => {
  it("writes JSON with subsystem, level and time", () => {
    const lines: string[] = [];
    logsTo(lines, "json").logger("xds").info({ type: "Address" }, "acknowledged");
    expect(JSON.parse(lines[0] ?? "")).toMatchObject({
      level: "info",
      subsystem: "xds",
      type: "Address",
      msg: "acknowledged",
      time: expect.stringMatching(/^\d{4}-.*Z$/),
    });
  });

  it("writes text with fields quoted when they need it", () => {
    const lines: string[] = [];
    logsTo(lines, "text").logger("bpf").warn({ map: "slots", why: "no room", n: 1n.toString() }, "full");
    expect(lines[0]).toMatch(/^\S+Z WARN {2}bpf {7}full map=slots why="no room" n=1$/);
  });

  it("shows an error's stack in text", () => {
    const lines: string[] = [];
    logsTo(lines, "text")
      .logger("main")
      .error({ err: new Error("boom") }, "failed");
    expect(lines[0]).toContain("Error: boom");
  });

  it("shows an expected failure without a stack", () => {
    const err = podNetnsMissing("shop/web", "/run/x", new Error("ENOENT"));
    const lines: string[] = [];
    logsTo(lines, "text").logger("main").error({ err }, "not enrolled");
    logsTo(lines, "json").logger("main").error({ err }, "not enrolled");
    expect(lines[0]).toMatch(/not enrolled code=POD_NETNS_MISSING cause=ENOENT$/);
    expect(JSON.parse(lines[1] ?? "").err).toEqual({
      code: "POD_NETNS_MISSING",
      message: err.message,
      cause: "ENOENT",
    });
  });

  it("is one line of text without controls, whatever a name holds", () => {
    const lines: string[] = [];
    const name = "a\n2026-01-01T00:00:00Z ERROR main forged\r\u001b[31m\u009b31m\u2028";
    logsTo(lines, "text").logger("xds").warn({ name }, `rejected ${name}`);
    expect(lines[0]).not.toMatch(/[\p{Cc}\u2028]/u);
    expect(lines[0]).toContain(
      "rejected a\\n2026-01-01T00:00:00Z ERROR main forged\\x0d\\x1b[31m\\x9b31m\\u2028",
    );
  });

  it.each(["socket", "pipe"])("goes on, and ends, while nobody reads its %s", async (kind) => {
    const script = `
      const { createLogs } = await import("./daemon/base/log.ts");
      const logs = createLogs({ levels: { default: "info", subsystems: new Map() }, format: "json" });
      for (let n = 0; n < 20; n++) {
        for (let i = 0; i < 5000; i++) logs.logger("xds").info({ text: "x".repeat(100) }, "line");
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
      await logs.close();
      process.stdout.write(String(logs.lines.dropped), () => process.exit(0));`;
    const stuck = kind === "socket" ? "pipe" : openPipe();
    // What Node gives a child as a pipe is a socket.
    const child = spawn(process.execPath, ["--import", "tsx", "--input-type=module", "-e", script], {
      stdio: ["ignore", "pipe", stuck],
      // Then tsx starts a child that switches a shared socket back to waiting.
      env: { ...process.env, TSX_DISABLE_CACHE: "1" },
    });
    onTestFinished(() => void child.kill("SIGKILL"));
    let text = "";
    child.stdout?.on("data", (data: Buffer) => (text += data.toString()));
    const code = await new Promise((resolve) => child.once("exit", resolve));
    if (stuck !== "pipe") closeSync(stuck);
    expect(code).toBe(0);
    expect(Number.parseInt(text, 10)).toBeGreaterThan(10_000);
  });

  it("changes levels at run time, one or all", () => {
    const lines: string[] = [];
    const logs = logsTo(lines, "json", "info,bpf:error");
    const xds = logs.logger("xds");
    xds.debug("unseen");
    expect(logs.setLevel("xds", "debug")).toEqual({ ok: true });
    xds.debug("seen");
    logs.logger("bpf").info("unseen");
    expect(lines).toHaveLength(1);
    expect(logs.levels()).toContainEqual({ name: "bpf", level: "error" });
    expect(logs.setLevel("default", "silent")).toEqual({ ok: true });
    expect(new Set(logs.levels().map(({ level }) => level))).toEqual(new Set(["silent"]));
    expect(logs.setLevel("nothing", "info")).toMatchObject({ ok: false });
    expect(logs.setLevel("xds", "loud")).toMatchObject({ ok: false });
  });
});
