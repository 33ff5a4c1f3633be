// Owns the proof that objects are opened, shared, loaded and refused as promised.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createLab, type Lab } from "../../lab/lab.js";
import type { BpfError } from "../../native/index.js";
import {
  bpfDescriptors,
  collectGarbage,
  descriptors,
  loadObject,
  native,
  objectPath,
  pack,
  runScript,
  thrownBy,
} from "./support.js";

let lab: Lab;
beforeAll(async () => {
  lab = await createLab();
});
afterAll(() => lab.remove());

describe("an object", () => {
  it("names its maps and programs, in any state", () => {
    const object = native.openObject(objectPath("hooks"));
    expect([...object.mapNames].sort()).toEqual(["cookie", "destroyed", "lingering", "mains", "packets"]);
    expect(object.programNames).toContain("lookup_drop");
    object.close();
    expect(object.programNames).toContain("lookup_drop");
  });

  it("says what is wrong with a file", () => {
    expect(thrownBy(() => native.openObject("/nowhere/x.o"))).toMatchObject({ code: "ENOENT", errno: 2 });
    const text = join(lab.directory, "text.o");
    writeFileSync(text, "not an object\n".repeat(100));
    const error = thrownBy(() => native.openObject(text));
    expect(error.message).toContain(text);
    expect(error.message).not.toContain("\n");
    expect(error.errno).toBeGreaterThan(0);
    expect(() => native.openObject("")).toThrow(TypeError);
    expect(() => native.openObject(7 as unknown as string)).toThrow(TypeError);
  });

  it("gives nothing before it is loaded, and nothing that it lacks", () => {
    const object = native.openObject(objectPath("hooks"));
    expect(thrownBy(() => object.map("cookie")).message).toContain("map 'cookie' before load()");
    expect(thrownBy(() => object.program("lookup_drop")).message).toContain("before load()");
    object.load();
    expect(thrownBy(() => object.map("nope"))).toMatchObject({
      code: "ENOENT",
      message: expect.stringContaining("object 'hooks' has no map 'nope'"),
    });
    expect(thrownBy(() => object.program("nope")).code).toBe("ENOENT");
    expect(() => object.map(undefined as unknown as string)).toThrow(TypeError);
    expect(thrownBy(() => object.load()).code).toBe("EINVAL");
    object.close();
  });

  it("keeps the verifier's whole log and sums it up in one line", () => {
    const before = descriptors();
    const object = native.openObject(objectPath("broken"));
    const error = thrownBy(() => object.load());
    object.close();
    expect(descriptors()).toEqual(before);
    expect(error.code).toBe("EACCES");
    expect(error.errno).toBe(13);
    expect(error.message).toBe(
      "object 'broken': program 'unchecked_pointer' refused by the verifier: " +
        "R0 invalid mem access 'map_value_or_null': EACCES (Permission denied)",
    );
    const log = error.verifierLog ?? "";
    // 2,000 unrolled calls with a little arithmetic, a line for each instruction, from the first to the verdict.
    expect(log.split("\n").length).toBeGreaterThan(5_000);
    expect(log).toMatch(/^(func#0 @0\n)?0: /);
    expect(log).toMatch(/R0 invalid mem access 'map_value_or_null'\nprocessed \d+ insns .*\n$/);
    expect(Object.keys(error)).not.toContain("verifierLog");
  });

  it("takes another size before it is loaded, not after", () => {
    const object = loadObject("maps", (o) => o.setMaxEntries("hash", 3));
    expect(object.map("hash").info.maxEntries).toBe(3);
    expect(thrownBy(() => object.setMaxEntries("hash", 4)).code).toBe("EBUSY");
    expect(() => native.openObject(objectPath("maps")).setMaxEntries("hash", 0)).toThrow(RangeError);
    const ring = loadObject("maps", (o) => o.setMaxEntries("ring", 64 * 1024));
    expect(ring.map("ring").info.maxEntries).toBe(64 * 1024);
  });

  it("shares maps of every type with another object", () => {
    const first = loadObject("maps", (o) => o.setMaxEntries("hash", 50));
    const second = loadObject("maps", (o) => {
      for (const name of o.mapNames) o.reuseMap(name, first.map(name));
    });
    for (const name of first.mapNames) {
      expect(second.map(name).info).toEqual(first.map(name).info);
    }
    first.map("hash").update(pack(4, 1), Buffer.alloc(12, 5));
    expect(second.map("hash").lookup(pack(4, 1))).toEqual(Buffer.alloc(12, 5));
    // A program of the second object counts in the map that the first one made.
    first.close();
    second.program("produce").testRun({ data: Buffer.alloc(64), repeat: 4 });
    expect(second.map("sequence").lookup(pack(4, 0))).toEqual(pack(8, 4));
  });

  it("refuses to share a map of another shape", () => {
    const other = loadObject("maps");
    const object = native.openObject(objectPath("broken"));
    const cases = {
      lru: "type 9, the object's own has 1",
      trie: "type 11, the object's own has 1",
      hash: "value size 12, the object's own has 8",
      plain: "flags 0, the object's own has 1",
    };
    for (const [name, text] of Object.entries(cases)) {
      const error = thrownBy(() => object.reuseMap("values", other.map(name)));
      expect(error.code).toBe("EINVAL");
      expect(error.message).toContain(`reuseMap of map 'values': the map given has ${text}`);
    }
    expect(() => object.reuseMap("values", other as never)).toThrow("expected a BpfMap");
    const closed = other.map("hash");
    closed.close();
    expect(thrownBy(() => object.reuseMap("values", closed)).code).toBe("EBADF");
  });

  it("may go while its maps and programs stay", () => {
    const object = loadObject("maps");
    const map = object.map("sequence");
    const program = object.program("produce");
    object.close();
    object.close();
    program.testRun({ data: Buffer.alloc(64) });
    expect(map.lookup(pack(4, 0))).toEqual(pack(8, 1));
    for (const action of [
      () => object.load(),
      () => object.map("hash"),
      () => object.program("produce"),
      () => object.setMaxEntries("hash", 1),
      () => object.reuseMap("hash", map),
    ]) {
      expect(thrownBy(action).code).toBe("EBADF");
    }
  });

  it("leaks no descriptor, whatever fails", () => {
    const before = descriptors();
    for (let i = 0; i < 20; i++) {
      thrownBy(() => native.openObject("/nowhere"));
      const object = native.openObject(objectPath("broken"));
      thrownBy(() => object.load());
      thrownBy(() => object.map("values"));
      object.close();
    }
    expect(descriptors()).toEqual(before);
  });

  it("is loaded on another thread as on this one, and is nobody else's meanwhile", async () => {
    const object = native.openObject(objectPath("hooks"));
    const loading = object.loadAsync();
    for (const action of [() => object.load(), () => object.loadAsync(), () => object.program("lookup_drop")])
      expect(thrownBy(action)).toMatchObject({ code: "EBUSY" });
    await loading;
    expect(object.program("lookup_drop").info.name).toBe("lookup_drop");
    await expect(object.loadAsync()).rejects.toMatchObject({ code: "EINVAL" });
    object.close();
    expect(thrownBy(() => object.loadAsync()).code).toBe("EBADF");
  });

  it("says on another thread too what the verifier objected to", async () => {
    const object = native.openObject(objectPath("broken"));
    const error = await object.loadAsync().then(
      () => undefined,
      (rejected: unknown) => rejected as BpfError,
    );
    expect(error).toMatchObject({ code: "EACCES", errno: 13 });
    expect(error?.message).toContain(
      "program 'unchecked_pointer' refused by the verifier: R0 invalid mem access",
    );
    expect((error?.verifierLog ?? "").split("\n").length).toBeGreaterThan(5_000);
    object.close();
  });

  it("may be closed, or forgotten, while it is being loaded", async () => {
    await collectGarbage();
    const before = bpfDescriptors();
    const closed = native.openObject(objectPath("hooks"));
    const loading = closed.loadAsync();
    closed.close();
    await loading;
    expect(thrownBy(() => closed.program("lookup_drop")).code).toBe("EBADF");
    const outcomes = await Promise.allSettled(
      ["hooks", "broken", "hooks"].map((name) => native.openObject(objectPath(name)).loadAsync()),
    );
    expect(outcomes.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled"]);
    await collectGarbage();
    expect(bpfDescriptors()).toEqual(before);
  });

  it("keeps libbpf off stderr", async () => {
    const result = await runScript(`
      for (const action of [() => native.openObject("/nowhere"), () => load("broken")]) {
        try { action(); } catch (error) { console.log(error.code); }
      }`);
    expect(result).toMatchObject({ code: 0, stdout: "ENOENT\nEACCES\n", stderr: "" });
  });
});
