import { execFileSync } from "node:child_process";
import {
  closeSync,
  constants,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, expect, it } from "vitest";
import { LineWriter, type LineWriterOptions } from "./line-writer.js";

let directory = "";
let path = "";

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "weft-lines-"));
  path = join(directory, "lines");
});

afterEach(() => rmSync(directory, { recursive: true }));

function openWriter(file: string, options: LineWriterOptions = {}): LineWriter {
  const result = LineWriter.open(file, options);
  if (!result.ok) throw result.error;
  return result.value;
}

/** A pipe with a reader, which holds 64 KiB. */
function openPipe(): { fifo: string; reader: number } {
  const fifo = join(directory, "fifo");
  execFileSync("mkfifo", [fifo]);
  return { fifo, reader: openSync(fifo, constants.O_RDONLY | constants.O_NONBLOCK) };
}

/** All that a pipe holds now. */
function readAll(fd: number): string {
  const buffer = Buffer.alloc(65536);
  let text = "";
  for (;;) {
    try {
      const count = readSync(fd, buffer);
      if (count === 0) return text;
      text += buffer.toString("latin1", 0, count);
    } catch (error) {
      expect(error).toMatchObject({ code: "EAGAIN" });
      return text;
    }
  }
}

it("keeps order and whole lines", async () => {
  const writer = openWriter(path);
  const lines = Array.from({ length: 5000 }, (_, index) => `line ${index} é`);
  for (const line of lines) writer.write(line);
  await writer.close();
  expect(readFileSync(path, "utf8")).toBe(`${lines.join("\n")}\n`);
  expect([writer.written, writer.dropped, writer.lastLoss]).toEqual([5000, 0, undefined]);
});

it("begins a file anew before it is larger than it may be, and keeps as many as asked", async () => {
  const rotation = { bytes: 1_000, files: 2, onTrouble: (text: string) => expect(text).toBe("") };
  const writer = openWriter(path, { rotation });
  const lines = Array.from({ length: 100 }, (_, index) => String(index).padStart(99, "é"));
  for (const line of lines) writer.write(line);
  await writer.flush();
  const long = "x".repeat(2_000);
  writer.write(long);
  await writer.close();
  const kept = [`${path}.2`, `${path}.1`, path].map((file) => readFileSync(file, "utf8").split("\n"));
  expect(kept).toEqual([
    [...lines.slice(-10, -5), ""],
    [...lines.slice(-5), ""],
    [long, ""],
  ]);
  expect(readdirSync(directory)).toHaveLength(3);
  expect([writer.written, writer.dropped]).toEqual([101, 0]);
});

it("goes on with a file of another daemon from its size on, and never begins a pipe anew", async () => {
  writeFileSync(path, `${"x".repeat(990)}\n`);
  const rotation = { bytes: 1_000, files: 1, onTrouble: (text: string) => expect(text).toBe("") };
  for (const file of [path, openPipe().fifo]) {
    const writer = openWriter(file, { rotation });
    for (let count = 0; count < 20; count++) writer.write("nine more");
    await writer.close();
  }
  expect(readFileSync(path, "utf8")).toBe("nine more\n".repeat(20));
  expect(readdirSync(directory).sort()).toEqual(["fifo", "lines", "lines.1"]);
});

it("goes on with a file that cannot be begun anew, and says so", async () => {
  mkdirSync(`${path}.1/full`, { recursive: true });
  const troubles: string[] = [];
  const rotation = { bytes: 1_000, files: 1, onTrouble: (text: string) => void troubles.push(text) };
  const writer = openWriter(path, { rotation });
  for (let count = 0; count < 250; count++) writer.write("nine more");
  await writer.close();
  expect(readFileSync(path, "utf8")).toBe("nine more\n".repeat(250));
  expect(troubles).toEqual(Array(2).fill(expect.stringMatching(/lines is not begun anew, and grows on: /)));
});

it("follows a rotation", async () => {
  const writer = openWriter(path);
  writer.write("before");
  await writer.flush();
  renameSync(path, `${path}.1`);
  expect(writer.reopen().ok).toBe(true);
  writer.write("after");
  await writer.close();
  expect(readFileSync(`${path}.1`, "utf8")).toBe("before\n");
  expect(readFileSync(path, "utf8")).toBe("after\n");
});

it("drops and counts when the reader is stuck, and never waits", async () => {
  const { fifo, reader } = openPipe();
  const writer = openWriter(fifo, { limit: 256 * 1024 });
  for (let count = 0; count < 1000; count++) {
    writer.write("x".repeat(1023));
    if (count % 100 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  expect(writer.dropped).toBeGreaterThanOrEqual(600);
  expect(writer.lastLoss?.reason).toMatch(/too slowly/);
  const started = Date.now();
  await writer.close(50);
  expect(Date.now() - started).toBeLessThan(5_000);
  // What was taken is not lost when somebody reads again.
  let text = "";
  while (writer.written + writer.dropped < 1000) {
    text += readAll(reader);
    await sleep(1);
  }
  closeSync(reader);
  expect((text.match(/\n/g) ?? []).length).toBeLessThanOrEqual(writer.written);
});

it("writes the last lines at once when the process ends", () => {
  const writer = openWriter(path);
  writer.write("last words");
  writer.flushNow();
  expect(readFileSync(path, "utf8")).toBe("last words\n");
  expect(writer.written).toBe(1);
});

it("tells a full disk from a reader that went away", async () => {
  const full = openWriter("/dev/full");
  full.write("lost");
  await full.close();
  expect([full.written, full.dropped]).toEqual([0, 1]);
  expect(full.lastLoss?.reason).toMatch(/no room.*ENOSPC/);

  const { fifo, reader } = openPipe();
  const piped = openWriter(fifo);
  closeSync(reader);
  piped.write("lost");
  await piped.close();
  expect([piped.written, piped.dropped]).toEqual([0, 1]);
  expect(piped.lastLoss?.reason).toMatch(/nobody reads.*EPIPE/);
});

it("does not go on in half a line that was left by an error", async () => {
  const { fifo, reader } = openPipe();
  const writer = openWriter(fifo);
  writer.write("x".repeat(100_000));
  // The pipe takes a part; its reader goes away before the rest.
  await sleep(100);
  closeSync(reader);
  await writer.flush();
  expect([writer.written, writer.dropped]).toEqual([0, 1]);
  const next = openSync(fifo, constants.O_RDONLY | constants.O_NONBLOCK);
  expect(readAll(next)).toMatch(/^x+$/);
  writer.write("whole");
  await writer.close();
  expect(readAll(next)).toBe("\nwhole\n");
  expect([writer.written, writer.dropped]).toEqual([1, 1]);
  closeSync(next);
});

it("says what to do about a path that cannot be opened", () => {
  const result = LineWriter.open(join(directory, "none", "access.log"));
  expect(!result.ok && result.error.code).toBe("LOG_FILE_UNWRITABLE");
});
