// Owns the proof that every layout which could be misread is refused, and that a good one is read as C means it.

import { describe, expect, it } from "vitest";
import { readBtf } from "./btf.js";
import { type Layout, readLayout } from "./layout.js";

type BtfJson = { readonly kind: string; readonly [property: string]: unknown };

/** Types every case may refer to; `bpftool btf dump -j` numbers types from 1. */
const INT = 1;
const U64 = 2;
const U32 = 4;
const U16 = 6;
const U8 = 8;
const BE32 = 10;
const BE16 = 11;
const MAP_TYPES = 12;
const base: BtfJson[] = [
  { kind: "INT", name: "int", size: 4, encoding: "SIGNED" },
  { kind: "TYPEDEF", name: "__u64", type_id: 3 },
  { kind: "INT", name: "unsigned long long", size: 8, encoding: "(none)" },
  { kind: "TYPEDEF", name: "__u32", type_id: 5 },
  { kind: "INT", name: "unsigned int", size: 4, encoding: "(none)" },
  { kind: "TYPEDEF", name: "__u16", type_id: 7 },
  { kind: "INT", name: "unsigned short", size: 2, encoding: "(none)" },
  { kind: "TYPEDEF", name: "__u8", type_id: 9 },
  { kind: "INT", name: "unsigned char", size: 1, encoding: "(none)" },
  { kind: "TYPEDEF", name: "__be32", type_id: U32 },
  { kind: "TYPEDEF", name: "__be16", type_id: U16 },
  {
    kind: "ENUM",
    name: "bpf_map_type",
    size: 4,
    values: [
      { name: "BPF_MAP_TYPE_UNSPEC", val: 0 },
      { name: "BPF_MAP_TYPE_HASH", val: 1 },
      { name: "BPF_MAP_TYPE_ARRAY", val: 2 },
      { name: "BPF_MAP_TYPE_RINGBUF", val: 27 },
    ],
  },
  { kind: "VAR", name: "map_types", type_id: MAP_TYPES },
];

/** Collects types the way a compiler does; every method returns the new type's id. */
class ObjectFile {
  readonly #types: BtfJson[] = [...base];
  readonly #maps: number[] = [];

  add(type: BtfJson): number {
    return this.#types.push(type);
  }

  array(element: number, length: number): number {
    return this.add({ kind: "ARRAY", name: "(anon)", type_id: element, nr_elems: length });
  }

  struct(
    name: string,
    size: number,
    members: [name: string, type: number, offset: number, bits?: number][],
  ): number {
    return this.add({
      kind: "STRUCT",
      name,
      size,
      members: members.map(([name, type_id, offset, bits]) => ({
        name,
        type_id,
        bits_offset: offset * 8,
        ...(bits === undefined ? {} : { bitfield_size: bits }),
      })),
    });
  }

  pointer(target: number): number {
    return this.add({ kind: "PTR", name: "(anon)", type_id: target });
  }

  variable(name: string, type: number): number {
    return this.add({ kind: "VAR", name, type_id: type, linkage: "global" });
  }

  map(
    name: string,
    numbers: { type: number; [attribute: string]: number },
    types: { [attribute: string]: number },
  ): void {
    const members: [string, number, number][] = [];
    for (const [attribute, number] of Object.entries(numbers)) {
      members.push([attribute, this.pointer(this.array(INT, number)), members.length * 8]);
    }
    for (const [attribute, type] of Object.entries(types)) {
      members.push([attribute, this.pointer(type), members.length * 8]);
    }
    this.#maps.push(this.variable(name, this.struct("(anon)", members.length * 8, members)));
  }

  read(): Layout {
    this.add({
      kind: "DATASEC",
      name: ".maps",
      vars: this.#maps.map((type_id) => ({ type_id, offset: 0, size: 8 })),
    });
    return readLayout(
      readBtf(JSON.stringify({ types: this.#types.map((type, index) => ({ id: index + 1, ...type })) })),
    );
  }
}

function readStructOf(
  members: (object: ObjectFile) => [string, number, number, number?][],
  size: number,
): Layout {
  const object = new ObjectFile();
  object.variable("layout_sample", object.struct("sample", size, members(object)));
  return object.read();
}

describe("refuses", () => {
  it("a hole between two fields, naming struct, offset and bytes", () => {
    expect(() =>
      readStructOf(
        () => [
          ["flag", U8, 0],
          ["count", U32, 4],
        ],
        8,
      ),
    ).toThrow("struct sample: 3 bytes of implicit padding at offset 1, before count");
  });

  it("a hole at the end", () => {
    expect(() =>
      readStructOf(
        () => [
          ["count", U64, 0],
          ["flag", U32, 8],
        ],
        16,
      ),
    ).toThrow("struct sample: 4 bytes of implicit padding at offset 12, at the end");
  });

  it("a hole inside a nested struct, naming the inner one", () => {
    const members = (object: ObjectFile): [string, number, number][] => [
      ["inner", object.struct("inner", 4, [["port", BE16, 0]]), 0],
    ];
    expect(() => readStructOf(members, 4)).toThrow(
      "struct inner: 2 bytes of implicit padding at offset 2, at the end",
    );
  });

  it("a bitfield", () => {
    expect(() => readStructOf(() => [["flag", U32, 0, 3]], 4)).toThrow(
      "struct sample: field flag at offset 0 is a bitfield",
    );
  });

  it("a union", () => {
    const members = (object: ObjectFile): [string, number, number][] => [
      ["either", object.add({ kind: "UNION", name: "either", size: 4, members: [] }), 0],
    ];
    expect(() => readStructOf(members, 4)).toThrow("struct sample: field either at offset 0 is a union");
  });

  it("a pointer", () => {
    expect(() => readStructOf((object) => [["next", object.pointer(U32), 0]], 8)).toThrow(
      "struct sample: field next at offset 0 is a pointer",
    );
  });

  it("an array of structs", () => {
    const members = (object: ObjectFile): [string, number, number][] => [
      ["pairs", object.array(object.struct("pair", 4, [["left", U32, 0]]), 2), 0],
    ];
    expect(() => readStructOf(members, 8)).toThrow(
      "struct sample: field pairs at offset 0 is an array of struct",
    );
  });

  it("a forward declaration", () => {
    const members = (object: ObjectFile): [string, number, number][] => [
      ["hidden", object.add({ kind: "FWD", name: "hidden", fwd_kind: "struct" }), 0],
    ];
    expect(() => readStructOf(members, 8)).toThrow(/BTF type \d+ is FWD hidden/);
  });

  it("an integer of 16 bytes", () => {
    const members = (object: ObjectFile): [string, number, number][] => [
      ["wide", object.add({ kind: "INT", name: "__int128", size: 16, encoding: "SIGNED" }), 0],
    ];
    expect(() => readStructOf(members, 16)).toThrow("struct sample: field wide at offset 0 has 16 bytes");
  });

  it("a map name of 16 characters, and takes one of 15", () => {
    const object = new ObjectFile();
    object.map("fifteen_letters", { type: 1, max_entries: 4 }, { key: U32, value: U64 });
    expect(object.read().maps.map((map) => map.name)).toEqual(["fifteen_letters"]);
    object.map("sixteen_letters_", { type: 1, max_entries: 4 }, { key: U32, value: U64 });
    expect(() => object.read()).toThrow("map sixteen_letters_: the name has 16 characters, at most 15");
  });

  it("a map without a value, of an unknown type, or keyed by an array", () => {
    const cases: [{ type: number }, (object: ObjectFile) => { [attribute: string]: number }, string][] = [
      [{ type: 1 }, () => ({ key: U32 }), "map sample: has no __type(value, ...)"],
      [{ type: 99 }, () => ({ key: U32, value: U32 }), "map sample: type 99 is not in enum bpf_map_type"],
      [{ type: 1 }, (object) => ({ key: object.array(U32, 4), value: U32 }), "map sample: key is an array"],
    ];
    for (const [numbers, types, message] of cases) {
      const object = new ObjectFile();
      object.map("sample", numbers, types(object));
      expect(() => object.read()).toThrow(message);
    }
  });

  it("what is not the output of bpftool", () => {
    expect(() => readBtf("{}")).toThrow();
    expect(() => readBtf("Error: failed to load BTF")).toThrow();
  });
});

describe("reads", () => {
  it("byte order, arrays, nesting and padding as C means them", () => {
    const object = new ObjectFile();
    const backend = object.struct("backend", 24, [
      ["address", object.array(BE32, 4), 0],
      ["port", BE16, 16],
      ["pad", U16, 18],
      ["workload", U32, 20],
    ]);
    object.variable(
      "layout_sample",
      object.struct("sample", 48, [
        ["backend", backend, 0],
        ["words", object.array(U64, 2), 24],
        ["text", object.array(U8, 8), 40],
      ]),
    );
    const { structs } = object.read();
    expect(structs.map((struct) => struct.name)).toEqual(["backend", "sample"]);
    expect(structs[0]?.fields.map((field) => [field.name, field.offset, field.type])).toEqual([
      ["address", 0, { kind: "bytes", length: 16 }],
      ["port", 16, { kind: "integer", bytes: 2, signed: false, bigEndian: true }],
      ["pad", 18, { kind: "integer", bytes: 2, signed: false, bigEndian: false }],
      ["workload", 20, { kind: "integer", bytes: 4, signed: false, bigEndian: false }],
    ]);
    expect(structs[1]?.fields.map((field) => [field.name, field.type.kind, field.size])).toEqual([
      ["backend", "struct", 24],
      ["words", "integers", 16],
      ["text", "bytes", 8],
    ]);
  });

  it("enums without the words that all names share, and COUNT apart", () => {
    const object = new ObjectFile();
    const values = (names: string[]) => names.map((name, val) => ({ name, val }));
    object.variable(
      "layout_a",
      object.add({ kind: "ENUM", name: "term_flag", size: 4, values: values(["TERM_DENY", "TERM_DRY_RUN"]) }),
    );
    object.variable(
      "layout_b",
      object.add({ kind: "ENUM", name: "why", size: 4, values: values(["WHY_NOT", "WHY", "BECAUSE"]) }),
    );
    object.variable(
      "layout_c",
      object.add({ kind: "ENUM", name: "one", size: 4, values: values(["ONE_ONLY"]) }),
    );
    object.variable(
      "layout_d",
      object.add({
        kind: "ENUM",
        name: "reason",
        size: 4,
        values: values(["REASON_A", "REASON_B", "REASON_COUNT"]),
      }),
    );
    expect(
      object.read().enums.map(({ name, values, count }) => [name, values.map((value) => value.name), count]),
    ).toEqual([
      ["term_flag", ["DENY", "DRY_RUN"], undefined],
      ["why", ["WHY_NOT", "WHY", "BECAUSE"], undefined],
      ["one", ["ONLY"], undefined],
      ["reason", ["A", "B"], 2],
    ]);
  });

  it("maps and ring buffers with their attributes", () => {
    const object = new ObjectFile();
    object.map("plain", { type: 1, max_entries: 1024, map_flags: 1 }, { key: U64, value: U32 });
    object.map("events", { type: 27, max_entries: 4096 }, {});
    const { maps, ringBuffers } = object.read();
    expect(maps).toMatchObject([{ name: "plain", type: "HASH", maxEntries: 1024, flags: 1 }]);
    expect(ringBuffers).toMatchObject([{ name: "events", size: 4096 }]);
  });

  it("a hash that follows whatever would be misread, and nothing else", () => {
    const hashOf = (
      numbers: { type: number; max_entries: number; map_flags?: number },
      field: string,
      type: number,
    ) => {
      const object = new ObjectFile();
      object.map(
        "sample",
        { map_flags: 0, ...numbers },
        { key: U32, value: object.struct("value", 4, [[field, type, 0]]) },
      );
      return object.read().maps[0]?.hash;
    };
    const hash = hashOf({ type: 1, max_entries: 8 }, "count", U32);
    expect(hash).toMatch(/^[0-9a-f]{8}$/);
    expect(hashOf({ type: 1, max_entries: 16 }, "count", U32)).toBe(hash);
    expect(hashOf({ type: 2, max_entries: 8 }, "count", U32)).not.toBe(
      hashOf({ type: 2, max_entries: 16 }, "count", U32),
    );
    const others = [
      hashOf({ type: 1, max_entries: 8, map_flags: 1 }, "count", U32),
      hashOf({ type: 1, max_entries: 8 }, "total", U32),
      hashOf({ type: 1, max_entries: 8 }, "count", BE32),
      hashOf({ type: 1, max_entries: 8 }, "count", INT),
    ];
    expect(new Set([hash, ...others]).size).toBe(5);
  });
});
