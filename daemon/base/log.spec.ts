import { describe, expect, it } from "vitest";
import { createLogs, type LogFormat } from "./log.js";
import { parseLogLevels } from "./log-levels.js";

function logsTo(lines: string[], format: LogFormat, levels = "info") {
  const parsed = parseLogLevels(levels);
  if (!parsed.ok) throw new Error(parsed.reason);
  return createLogs({ levels: parsed.levels, format, output: { write: (line) => void lines.push(line) } });
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
    expect(lines[0]).toMatch(/^\S+Z WARN {2}bpf {7}full map=slots why="no room" n=1\n$/);
  });

  it("shows an error's stack in text", () => {
    const lines: string[] = [];
    logsTo(lines, "text")
      .logger("main")
      .error({ err: new Error("boom") }, "failed");
    expect(lines[0]).toContain("Error: boom");
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
