// Owns the proof that objects which were built for another weft are refused by name, and that nothing is left of them.

import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from "vitest";
import { packageRoot } from "../../daemon/base/package-root.js";
import { inSlices } from "../../daemon/base/slices.js";
import { Dataplane } from "../../daemon/bpf/dataplane.js";
import { JOINT_OBJECT } from "../../daemon/bpf/hooks.js";
import { check } from "../../lab/process.js";
import { loadNative } from "../../native/index.js";
import { ownBpffs } from "./bpffs.js";

const native = loadNative(packageRoot());
const built = process.env.WEFT_BPF_OBJECTS ?? join(packageRoot(), "build", "bpf");

/** What the sources of another weft have in place of a text in ours. */
const OTHERS = {
  longer: ["struct pod_info {", "struct pod_info { __u64 more;"],
  wider: ["struct slot {", "struct slot { __u64 more;"],
  poorer: ["connected_pods", "other_pods"],
} as const;
type Other = keyof typeof OTHERS;

let directory: string;
beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "weft-stale-"));
  for (const other of Object.keys(OTHERS) as Other[]) await build(other);
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

async function build(other: Other): Promise<void> {
  const out = join(directory, other);
  const sources = join(out, "bpf");
  cpSync(join(packageRoot(), "bpf"), sources, { recursive: true });
  const [text, instead] = OTHERS[other];
  for (const file of readdirSync(sources, { recursive: true, encoding: "utf8" })) {
    if (!/\.[ch]$/.test(file)) continue;
    const path = join(sources, file);
    writeFileSync(path, readFileSync(path, "utf8").replaceAll(text, instead));
  }
  const made = ["layout", "connect", JOINT_OBJECT].map((name) => join(out, `${name}.o`));
  await check(["make", "-s", "-C", sources, `BUILD=${out}`, ...made]);
}

const bpffs = ownBpffs("weft-stale");
const pins = () => join(bpffs.path, "weft");
let objects: string;
beforeEach(() => {
  objects = join(directory, "objects");
  mkdirSync(objects);
  for (const name of readdirSync(built))
    if (name.endsWith(".o")) cpSync(join(built, name), join(objects, name));
});
afterEach(() => {
  rmSync(objects, { recursive: true });
  rmSync(pins(), { recursive: true, force: true });
});

/** From here on `object` is that of another weft. */
const replace = (object: string, other: Other) =>
  cpSync(join(directory, other, object), join(objects, object));
const open = () =>
  Dataplane.open(native, { bpffs: bpffs.path, cgroup: "/nowhere" }, objects, { entries: 1024, series: 1024 });
const stale = (object: string, cause: string) => ({
  ok: false,
  error: {
    code: "BPF_OBJECT_STALE",
    message: `BPF object ${join(objects, object)} does not fit this weftd: run 'make build'`,
    cause: { message: expect.stringContaining(cause) },
  },
});

it("a layout of other sizes makes no long-lived map", () => {
  replace("layout.o", "longer");
  expect(open()).toMatchObject(stale("layout.o", "map pod_info has keys of 8 and values of 584 bytes"));
  expect(readdirSync(join(pins(), "state"))).toEqual([]);
});

it("a layout of other sizes is not given the long-lived maps that there are", () => {
  expect(open()).toMatchObject({ ok: true });
  const before = readdirSync(join(pins(), "state"));
  replace("layout.o", "longer");
  expect(open()).toMatchObject(stale("layout.o", "value size"));
  expect(readdirSync(join(pins(), "state"))).toEqual(before);
});

it("a layout without a map that weftd has is named with the map", () => {
  replace("layout.o", "poorer");
  expect(open()).toMatchObject(stale("layout.o", "it has no map connected_pods"));
});

it("what is no object at all is refused in the same way", () => {
  writeFileSync(join(objects, "layout.o"), "no object");
  expect(open()).toMatchObject(stale("layout.o", "layout.o"));
});

it.each([
  ["wider", "map 'slots': the map given has value size"],
  ["poorer", "it has no map connected_pods"],
  ["longer", "value size"],
] as const)("a program's object that is %s leaves no generation", async (other, cause) => {
  const opened = open();
  if (!opened.ok) throw opened.error;
  replace(`${JOINT_OBJECT}.o`, other);
  replace("connect.o", other);
  const installed = await inSlices(opened.value.install({}, [], () => undefined));
  expect(installed).toMatchObject(stale("connect.o", cause));
  expect(readdirSync(pins()).filter((name) => name.startsWith("generation"))).toEqual([]);
});
