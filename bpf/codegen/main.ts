// Owns the command behind `make -C bpf generate`: object file in, TypeScript out. Knows no struct.

import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { readBtf } from "./btf.js";
import { emitLayout } from "./emit.js";
import { readLayout } from "./layout.js";

const [object, output, option] = process.argv.slice(2);
if (object === undefined || output === undefined || (option !== undefined && option !== "--without-maps")) {
  process.stderr.write("usage: tsx bpf/codegen/main.ts OBJECT OUTPUT [--without-maps]\n");
  process.exit(2);
}
try {
  const json = execFileSync(process.env.BPFTOOL ?? "bpftool", ["btf", "dump", "-j", "file", object], {
    encoding: "utf8",
    maxBuffer: 64 * 1024 * 1024,
  });
  writeFileSync(output, emitLayout(readLayout(readBtf(json), option === undefined)));
} catch (error) {
  process.stderr.write(`codegen: ${object}: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exit(1);
}
