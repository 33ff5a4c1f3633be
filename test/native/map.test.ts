// Owns the proof that maps of every type in use can be read and written, one by one and in batches.

import { createServer, type Server } from "node:net";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { createLab } from "../../lab/lab.js";
import { slowness } from "../../lab/wait.js";
import { type BpfMap, UpdateFlag } from "../../native/index.js";
import { loadObject, native, nextMessage, pack, startWorker, thrownBy } from "./support.js";

const object = loadObject("maps");
afterAll(() => object.close());

const cpus = native.possibleCpus();

/** A map of the given name that nobody else writes. */
function fresh(name: string, maxEntries?: number): BpfMap {
  return loadObject("maps", (o) => {
    if (maxEntries !== undefined) o.setMaxEntries(name, maxEntries);
  }).map(name);
}

/** Bytes of one value: all CPUs. */
function valueBytes(map: BpfMap): number {
  const perCpu = [5, 6, 10].includes(map.info.type);
  return perCpu ? cpus * Math.ceil(map.info.valueSize / 8) * 8 : map.info.valueSize;
}

/** A value that tells its entry's number, the same in every CPU's part, padding zero. */
function valueFor(map: BpfMap, n: number): Buffer {
  const value = Buffer.alloc(valueBytes(map));
  const part = value.length === map.info.valueSize ? value.length : value.length / cpus;
  for (let at = 0; at < value.length; at += part) value.fill(n % 251, at, at + map.info.valueSize);
  return value;
}

function keyFor(map: BpfMap, n: number): Buffer {
  // A trie's key begins with its prefix length; the rest are plain numbers.
  return map.info.name === "trie" ? pack(4, 32, n) : pack(4, n);
}

function entriesOf(map: BpfMap): Map<string, string> {
  const { count, keys, values } = map.entries();
  const { keySize } = map.info;
  const size = valueBytes(map);
  expect(keys.length).toBe(count * keySize);
  expect(values.length).toBe(count * size);
  const found = new Map<string, string>();
  for (let i = 0; i < count; i++) {
    const key = keys.toString("hex", i * keySize, (i + 1) * keySize);
    expect(found.has(key), "an entry twice").toBe(false);
    found.set(key, values.toString("hex", i * size, (i + 1) * size));
  }
  return found;
}

function range(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i);
}

describe("a map", () => {
  it("knows its shape", () => {
    expect(object.map("hash").info).toMatchObject({
      type: 1,
      name: "hash",
      keySize: 4,
      valueSize: 12,
      maxEntries: 10_000,
      flags: 1,
    });
    expect(Object.isFrozen(object.map("hash").info)).toBe(true);
  });

  it("looks up, updates and deletes one entry", () => {
    const map = fresh("hash");
    const key = pack(4, 7);
    expect(map.lookup(key)).toBeUndefined();
    expect(map.delete(key)).toBe(false);
    map.update(key, Buffer.alloc(12, 1));
    expect(map.lookup(key)).toEqual(Buffer.alloc(12, 1));
    map.update(new Uint8Array(key), new Uint8Array(12).fill(2));
    expect(map.lookup(key)).toEqual(Buffer.alloc(12, 2));
    expect(map.delete(key)).toBe(true);
    expect(map.lookup(key)).toBeUndefined();
  });

  it("takes views at any offset of their memory", () => {
    const map = fresh("hash");
    const whole = Buffer.alloc(64, 9);
    whole.writeUInt32LE(77, 13);
    map.update(whole.subarray(13, 17), whole.subarray(20, 32));
    expect(map.lookup(pack(4, 77))).toEqual(Buffer.alloc(12, 9));
  });

  it("obeys update flags", () => {
    const map = fresh("hash");
    const key = pack(4, 1);
    const value = Buffer.alloc(12);
    expect(thrownBy(() => map.update(key, value, UpdateFlag.exist))).toMatchObject({
      code: "ENOENT",
      errno: 2,
    });
    map.update(key, value, UpdateFlag.noExist);
    expect(thrownBy(() => map.update(key, value, UpdateFlag.noExist)).code).toBe("EEXIST");
    map.update(key, value, UpdateFlag.exist);
  });

  it("says which map is full", () => {
    const map = fresh("hash", 1);
    map.update(pack(4, 1), Buffer.alloc(12));
    const error = thrownBy(() => map.update(pack(4, 2), Buffer.alloc(12)));
    expect(error.code).toBe("E2BIG");
    expect(error.message).toContain("map 'hash': update: E2BIG");
  });

  it("agrees with a JavaScript Map after any operations", () => {
    const operation = fc.record({
      kind: fc.constantFrom("put", "delete"),
      key: fc.nat(15),
      value: fc.nat(250),
    });
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 60 }), (operations) => {
        const map = fresh("hash");
        const model = new Map<string, string>();
        for (const { kind, key, value } of operations) {
          const bytes = pack(4, key);
          if (kind === "put") {
            map.update(bytes, valueFor(map, value));
            model.set(bytes.toString("hex"), valueFor(map, value).toString("hex"));
          } else {
            expect(map.delete(bytes)).toBe(model.delete(bytes.toString("hex")));
          }
        }
        expect(new Map([...entriesOf(map)].sort())).toEqual(new Map([...model].sort()));
        map.close();
      }),
      { numRuns: 25 },
    );
  });

  it.each(["hash", "lru", "percpu_hash", "trie"])("reads and writes %s in batches", (name) => {
    const map = fresh(name);
    const numbers = range(name === "lru" ? 200 : 1000);
    const keys = Buffer.concat(numbers.map((n) => keyFor(map, n)));
    const values = Buffer.concat(numbers.map((n) => valueFor(map, n)));
    expect(map.updateBatch(keys, values, numbers.length)).toEqual({ done: numbers.length });
    const expected = numbers.map((n) => [keyFor(map, n).toString("hex"), valueFor(map, n).toString("hex")]);
    expect([...entriesOf(map)].sort()).toEqual(expected.sort());
    expect(map.lookup(keyFor(map, 5))).toEqual(valueFor(map, 5));

    const half = Buffer.concat(numbers.slice(0, numbers.length / 2).map((n) => keyFor(map, n)));
    expect(map.deleteBatch(half, numbers.length / 2)).toEqual({ done: numbers.length / 2 });
    expect(map.entries().count).toBe(numbers.length / 2);
    // Absent keys are passed over, wherever they stand.
    expect(map.deleteBatch(keys, numbers.length)).toEqual({ done: numbers.length });
    expect(map.entries()).toEqual({ count: 0, keys: Buffer.alloc(0), values: Buffer.alloc(0) });
  });

  it.each(["array", "percpu_array"])("reads and writes %s in batches", (name) => {
    const map = fresh(name);
    const numbers = range(map.info.maxEntries);
    const keys = Buffer.concat(numbers.map((n) => keyFor(map, n)));
    const values = Buffer.concat(numbers.map((n) => valueFor(map, n)));
    expect(map.updateBatch(keys, values, numbers.length)).toEqual({ done: numbers.length });
    expect(map.entries()).toEqual({ count: numbers.length, keys, values });
    const { done, error } = map.deleteBatch(keys.subarray(0, 8), 2);
    expect([done, error?.code]).toEqual([0, "EINVAL"]);
  });

  it("reads a hash of many batches", () => {
    const map = fresh("hash");
    const numbers = range(10_000);
    const keys = Buffer.concat(numbers.map((n) => keyFor(map, n)));
    map.updateBatch(keys, Buffer.alloc(12 * 10_000, 3), 10_000);
    expect(entriesOf(map).size).toBe(10_000);
  });

  it("says how far a batch came", () => {
    const map = fresh("hash", 10);
    const keys = Buffer.concat(range(20).map((n) => keyFor(map, n)));
    const full = map.updateBatch(keys, Buffer.alloc(20 * 12), 20);
    expect(full.done).toBe(10);
    expect(full.error?.code).toBe("E2BIG");
    expect(full.error?.message).toContain("map 'hash': updateBatch after 10 entries");

    map.deleteBatch(keys.subarray(0, 28), 7);
    const collision = map.updateBatch(keys, Buffer.alloc(20 * 12), 20, UpdateFlag.noExist);
    expect([collision.done, collision.error?.code]).toEqual([7, "EEXIST"]);
    const absent = map.updateBatch(keys, Buffer.alloc(20 * 12), 20, UpdateFlag.exist);
    expect([absent.done, absent.error?.code]).toEqual([10, "ENOENT"]);
    expect(map.updateBatch(Buffer.alloc(0), Buffer.alloc(0), 0)).toEqual({ done: 0 });
    expect(map.deleteBatch(Buffer.alloc(0), 0)).toEqual({ done: 0 });
  });

  it("lays values of all CPUs end to end, each rounded up to 8 bytes", () => {
    const map = fresh("percpu_hash");
    expect(map.info.valueSize).toBe(12);
    const value = Buffer.alloc(16 * cpus);
    for (let cpu = 0; cpu < cpus; cpu++) value.fill(cpu + 1, cpu * 16, cpu * 16 + 12);
    map.update(pack(4, 1), value);
    expect(map.lookup(pack(4, 1))).toEqual(value);
    expect(map.entries().values).toEqual(value);
    const error = thrownBy(() => map.update(pack(4, 1), Buffer.alloc(12)));
    expect(error).toBeInstanceOf(RangeError);
    expect(error.message).toBe(`map 'percpu_hash': value of 12 bytes, expected ${16 * cpus}`);
  });

  it("refuses wrong sizes and types before the kernel sees them", () => {
    const map = object.map("hash");
    const key = pack(4, 1);
    const value = Buffer.alloc(12);
    const ranges: [() => unknown, string][] = [
      [() => map.lookup(Buffer.alloc(3)), "map 'hash': key of 3 bytes, expected 4"],
      [() => map.delete(Buffer.alloc(5)), "map 'hash': key of 5 bytes, expected 4"],
      [() => map.update(key, Buffer.alloc(11)), "map 'hash': value of 11 bytes, expected 12"],
      [() => map.updateBatch(key, value, 2), "map 'hash': keys of 4 bytes, expected 2 times 4"],
      [() => map.updateBatch(key, key, 1), "map 'hash': values of 4 bytes, expected 12"],
      [() => map.deleteBatch(key, 0), "map 'hash': keys of 4 bytes, expected 0 times 4"],
      [() => map.updateBatch(key, value, -1), "count must be a whole number of 0 to 4294967295"],
      [() => map.updateBatch(key, value, 1.5), "count must be a whole number of 0 to 4294967295"],
      [() => map.update(key, value, 2 ** 32), "flags must be a whole number of 0 to 4294967295"],
    ];
    for (const [action, message] of ranges) {
      const error = thrownBy(action);
      expect(error).toBeInstanceOf(RangeError);
      expect(error.message).toBe(message);
    }
    const wrong: unknown[] = ["key", 1, null, undefined, {}, [1, 2, 3, 4], new Uint16Array(2), key.buffer];
    for (const bad of wrong) {
      expect(() => map.lookup(bad as Buffer)).toThrow(TypeError);
      expect(() => map.update(key, bad as Buffer)).toThrow(TypeError);
    }
    expect(() => map.updateBatch(key, value, "1" as unknown as number)).toThrow(TypeError);
    expect(() => map.pin("")).toThrow(TypeError);
    expect(() => map.pin("/a\0b")).toThrow(TypeError);
    expect(map.entries().count).toBe(0);
  });

  it.each(["hash", "trie"])("never gives an entry of a %s twice while others change it", async (name) => {
    const map = fresh(name);
    const lab = await createLab();
    const pin = `${lab.bpffs}/${name}`;
    map.pin(pin);
    const odd = Buffer.concat(range(500).map((n) => keyFor(map, n * 2 + 1)));
    const even = range(500).map((n) => keyFor(map, n * 2));
    map.updateBatch(Buffer.concat(even), Buffer.alloc(valueBytes(map) * 500, 1), 500);
    const stop = new Int32Array(new SharedArrayBuffer(4));
    const worker = startWorker(
      `const map = native.openPinnedMap(data.pin);
       const values = Buffer.alloc(500 * map.info.valueSize, 2);
       parent.postMessage("ready");
       let rounds = 0;
       for (; Atomics.load(data.stop, 0) === 0; rounds++) {
         map.updateBatch(data.odd, values, 500);
         map.deleteBatch(data.odd, 500);
       }
       parent.postMessage(rounds);`,
      { pin, odd, stop },
    );
    await nextMessage(worker);
    for (let round = 0; round < 50 / slowness; round++) {
      const found = entriesOf(map);
      // A hash is walked bucket by bucket under its lock. The kernel's walk of a trie may lose its way
      // when a node above is replaced, so only the absence of duplicates is promised there.
      if (name === "hash") for (const key of even) expect(found.has(key.toString("hex"))).toBe(true);
    }
    const rounds = nextMessage(worker);
    Atomics.store(stop, 0, 1);
    expect(await rounds).toBeGreaterThan(0);
    expect(map.entries().count).toBe(500);
    lab.remove();
  });

  it("stores by socket", async () => {
    const map = object.map("storage");
    const server = await new Promise<Server>((resolve) => {
      const s = createServer().listen(0, "127.0.0.1", () => resolve(s));
    });
    const { fd } = (server as unknown as { _handle: { fd: number } })._handle;
    expect(map.lookup(pack(4, fd))).toBeUndefined();
    map.update(pack(4, fd), pack(8, 4711));
    expect(map.lookup(pack(4, fd))).toEqual(pack(8, 4711));
    expect(map.delete(pack(4, fd))).toBe(true);
    expect(thrownBy(() => map.entries()).message).toContain("map 'storage': entries");
    server.close();
  });

  it("lets the kernel refuse what a type cannot do", () => {
    expect(thrownBy(() => object.map("ring").lookup(Buffer.alloc(0)))).toHaveProperty("errno");
    expect(thrownBy(() => object.map("array").update(pack(4, 64), Buffer.alloc(8))).code).toBe("E2BIG");
  });

  it("closes once and for all", () => {
    const map = object.map("hash");
    map.close();
    map.close();
    const key = pack(4, 1);
    const actions = [
      () => map.lookup(key),
      () => map.update(key, Buffer.alloc(12)),
      () => map.delete(key),
      () => map.updateBatch(key, Buffer.alloc(12), 1),
      () => map.deleteBatch(key, 1),
      () => map.entries(),
      () => map.pin("/sys/fs/bpf/never"),
    ];
    for (const action of actions) {
      expect(thrownBy(action)).toMatchObject({ code: "EBADF", errno: 9 });
    }
    expect(map.info.name).toBe("hash");
  });
});
