// Owns the model of what the kernel and the daemon share: structs, enums, maps, read from BTF and refused when
// their bytes are not all accounted for. Must not know TypeScript output.

import { createHash } from "node:crypto";
import type { Btf, BtfEnum, BtfMember, BtfRecord, BtfStruct } from "./btf.js";

/** The kernel's BPF_OBJ_NAME_LEN without the NUL: longer names are cut and no longer found. */
const MAP_NAME_LIMIT = 15;

export interface IntegerType {
  readonly kind: "integer";
  readonly bytes: 1 | 2 | 4 | 8;
  readonly signed: boolean;
  readonly bigEndian: boolean;
}

/** `bytes`: an array of __u8 or of big-endian words, taken as it is. `integers`: an array in host order. */
export type FieldType =
  | IntegerType
  | { readonly kind: "bytes"; readonly length: number }
  | { readonly kind: "integers"; readonly element: IntegerType; readonly length: number }
  | { readonly kind: "struct"; readonly struct: Struct };

export interface Field {
  /** As in C. A field pad* carries nothing and is zero. */
  readonly name: string;
  readonly offset: number;
  readonly size: number;
  readonly type: FieldType;
}

export interface Struct {
  readonly name: string;
  readonly size: number;
  readonly fields: readonly Field[];
}

export interface Enum {
  readonly name: string;
  /** Names without the prefix that all of them share. */
  readonly values: readonly { readonly name: string; readonly value: number }[];
  /** Value of the member COUNT, which is no member but the number of them. */
  readonly count: number | undefined;
}

export interface BpfMapLayout {
  readonly name: string;
  /** As in enum bpf_map_type, without BPF_MAP_TYPE_. */
  readonly type: string;
  readonly key: IntegerType | Struct;
  readonly value: IntegerType | Struct;
  readonly maxEntries: number;
  readonly flags: number;
  /** 8 hex digits; equal when type, flags, an array's length, and the bytes of key and value agree. */
  readonly hash: string;
}

export interface RingBufferLayout {
  readonly name: string;
  /** Bytes, the map's max_entries. */
  readonly size: number;
  readonly hash: string;
}

/** Storage that the kernel hangs on a socket: the daemon never reads it. */
export interface SocketStorageLayout {
  readonly name: string;
  readonly hash: string;
}

export interface Layout {
  readonly constants: readonly { readonly name: string; readonly value: number }[];
  readonly enums: readonly Enum[];
  /** Each after those it contains. */
  readonly structs: readonly Struct[];
  readonly maps: readonly BpfMapLayout[];
  readonly ringBuffers: readonly RingBufferLayout[];
  readonly socketStorages: readonly SocketStorageLayout[];
}

export function isPadding(field: Field): boolean {
  return field.name.startsWith("pad");
}

/**
 * Reads the layout out of the BTF of a layout.bpf.c: every variable of section `.maps` (unless `withMaps` is
 * false), and the type of every variable named layout_*. Throws an Error that names struct, field or map, and bytes,
 * for whatever cannot cross between kernel and daemon: holes, bitfields, unions, pointers, long map names.
 */
export function readLayout(btf: Btf, withMaps = true): Layout {
  const structs = new Map<string, Struct>();
  const inMaps = btf.section(".maps");
  const mapTypes = new Map<number, string>();
  const enums: Enum[] = [];
  let constants: Layout["constants"] = [];
  const maps: BpfMapLayout[] = [];
  const ringBuffers: RingBufferLayout[] = [];
  const socketStorages: SocketStorageLayout[] = [];

  for (const { name, type_id } of btf.variables) {
    const type = inMaps.has(name) ? undefined : skipModifiers(btf, type_id);
    if (type?.kind === "ENUM" && type.name === "bpf_map_type") {
      for (const { name, val } of type.values) {
        if (!mapTypes.has(val)) mapTypes.set(val, name.replace(/^BPF_MAP_TYPE_/, ""));
      }
    } else if (type?.kind === "ENUM" && type.name === "layout_constant") {
      constants = type.values.map(({ name, val }) => ({ name: name.replace(/^LAYOUT_/, ""), value: val }));
    } else if (type?.kind === "ENUM" && name.startsWith("layout_")) {
      enums.push(readEnum(type));
    } else if (type?.kind === "STRUCT" && name.startsWith("layout_")) {
      readStruct(btf, type, structs);
    }
  }

  // A ring buffer has no types of its own: its records are among the structs that are in no map.
  const records = [...structs.values()].map(describe).join(" ");
  for (const { name, type_id } of btf.variables) {
    if (!withMaps || !inMaps.has(name)) continue;
    if (name.length > MAP_NAME_LIMIT) {
      throw new Error(
        `map ${name}: the name has ${name.length} characters, at most ${MAP_NAME_LIMIT} reach the kernel`,
      );
    }
    const attributes = readMapAttributes(btf, name, type_id);
    const type = mapTypes.get(attributes.number("type"));
    if (type === undefined)
      throw new Error(`map ${name}: type ${attributes.number("type")} is not in enum bpf_map_type`);
    const maxEntries = attributes.number("max_entries");
    if (type === "RINGBUF") {
      ringBuffers.push({ name, size: maxEntries, hash: shortHash(`${maxEntries} ${records}`) });
      continue;
    }
    if (type === "SK_STORAGE") {
      socketStorages.push({ name, hash: shortHash(shapeOf(btf, attributes.target("value"))) });
      continue;
    }
    const key = attributes.type("key", structs);
    const value = attributes.type("value", structs);
    const flags = attributes.number("map_flags");
    // An array's length says which indices have a meaning; that of other maps is a matter of size only.
    const length = type.endsWith("ARRAY") ? maxEntries : "any";
    const hash = shortHash(`${type} ${flags} ${length} ${describe(key)} ${describe(value)}`);
    maps.push({ name, type, key, value, maxEntries, flags, hash });
  }
  return { constants, enums, structs: [...structs.values()], maps, ringBuffers, socketStorages };
}

/** Reads the struct behind `__uint(name, number)` and `__type(name, type)` of bpf_helpers.h. */
function readMapAttributes(btf: Btf, map: string, typeId: number) {
  const type = btf.type(typeId);
  if (type.kind !== "STRUCT")
    throw new Error(`map ${map}: is a ${type.kind}, not a struct of __uint and __type`);
  const targets = new Map<string, number>();
  for (const member of type.members) {
    const pointer = btf.type(member.type_id);
    if (pointer.kind !== "PTR")
      throw new Error(`map ${map}: attribute ${member.name} is neither __uint nor __type`);
    targets.set(member.name, pointer.type_id);
  }
  return {
    /** 0 when absent. */
    number(attribute: string): number {
      const target = targets.get(attribute);
      if (target === undefined) return 0;
      const array = btf.type(target);
      if (array.kind !== "ARRAY") throw new Error(`map ${map}: ${attribute} is not an __uint`);
      return array.nr_elems;
    },
    target(attribute: string): number {
      const target = targets.get(attribute);
      if (target === undefined) throw new Error(`map ${map}: has no __type(${attribute}, ...)`);
      return target;
    },
    type(attribute: string, structs: Map<string, Struct>): IntegerType | Struct {
      const type = readType(btf, `map ${map}: ${attribute}`, this.target(attribute), structs);
      if (type.kind === "integer") return type;
      if (type.kind === "struct") return type.struct;
      throw new Error(`map ${map}: ${attribute} is an array: put it into a struct`);
    },
  };
}

function readEnum({ name, values }: BtfEnum): Enum {
  const prefix = commonPrefix(values.map((value) => value.name));
  const stripped = values.map((value) => ({ name: value.name.slice(prefix.length), value: value.val }));
  return {
    name,
    values: stripped.filter((value) => value.name !== "COUNT"),
    count: stripped.find((value) => value.name === "COUNT")?.value,
  };
}

/** The words, up to and with an underscore, that all names begin with; never all of a name. */
function commonPrefix(names: readonly string[]): string {
  const [first = ""] = names;
  let prefix = first.slice(0, first.lastIndexOf("_") + 1);
  while (!names.every((name) => name.startsWith(prefix) && name.length > prefix.length)) {
    prefix = prefix.slice(0, prefix.lastIndexOf("_", prefix.length - 2) + 1);
  }
  return prefix;
}

/** Reads a struct and those in it into `structs`, innermost first. */
function readStruct(btf: Btf, type: BtfStruct, structs: Map<string, Struct>): Struct {
  const { name, size, members } = type;
  const known = structs.get(name);
  if (known !== undefined) return known;
  if (type.kind === "UNION") throw new Error(`union ${name}: unions have no one meaning, use a struct`);
  if (name === "(anon)" || name === "")
    throw new Error("a struct without a name cannot be a key, a value or a field");

  const fields: Field[] = [];
  let end = 0;
  for (const member of members) {
    const field = readField(btf, name, member, structs);
    if (field.offset !== end) throw hole(name, end, field.offset - end, `before ${field.name}`);
    fields.push(field);
    end = field.offset + field.size;
  }
  if (end !== size) throw hole(name, end, size - end, "at the end");
  const struct = { name, size, fields };
  structs.set(name, struct);
  return struct;
}

function hole(struct: string, offset: number, bytes: number, where: string): Error {
  return new Error(
    `struct ${struct}: ${bytes} ${bytes === 1 ? "byte" : "bytes"} of implicit padding at offset ${offset}, ${where}: name them pad`,
  );
}

function readField(btf: Btf, struct: string, member: BtfMember, structs: Map<string, Struct>): Field {
  const where = `struct ${struct}: field ${member.name} at offset ${Math.floor(member.bits_offset / 8)}`;
  if (member.bitfield_size !== 0 || member.bits_offset % 8 !== 0)
    throw new Error(`${where} is a bitfield: use flags`);
  const type = readType(btf, where, member.type_id, structs);
  return { name: member.name, offset: member.bits_offset / 8, size: sizeOf(type), type };
}

function readType(btf: Btf, where: string, typeId: number, structs: Map<string, Struct>): FieldType {
  const type = skipModifiers(btf, typeId);
  switch (type.kind) {
    case "INT":
    case "ENUM":
      return readInteger(btf, where, typeId, type);
    case "ARRAY": {
      const element = readType(btf, where, type.type_id, structs);
      if (element.kind !== "integer")
        throw new Error(`${where} is an array of ${element.kind}: only integers may repeat`);
      if (element.bytes === 1 || element.bigEndian)
        return { kind: "bytes", length: element.bytes * type.nr_elems };
      return { kind: "integers", element, length: type.nr_elems };
    }
    case "STRUCT":
      return { kind: "struct", struct: readStruct(btf, type, structs) };
    case "UNION":
      throw new Error(`${where} is a union: unions have no one meaning, use a struct`);
    case "PTR":
      throw new Error(`${where} is a pointer: it means nothing in another address space`);
    default:
      throw new Error(`${where} is a ${type.kind}`);
  }
}

function readInteger(
  btf: Btf,
  where: string,
  typeId: number,
  type: { size: number; encoding?: string },
): IntegerType {
  const bytes = ([1, 2, 4, 8] as const).find((size) => size === type.size);
  if (bytes === undefined) throw new Error(`${where} has ${type.size} bytes: integers have 1, 2, 4 or 8`);
  return {
    kind: "integer",
    bytes,
    signed: type.encoding === "SIGNED",
    bigEndian: typedefNames(btf, typeId).some((name) => /^__be(16|32|64)$/.test(name)),
  };
}

function skipModifiers(
  btf: Btf,
  typeId: number,
): Exclude<BtfRecord, { kind: "TYPEDEF" | "CONST" | "VOLATILE" | "RESTRICT" | "TYPE_TAG" }> {
  const type = btf.type(typeId);
  switch (type.kind) {
    case "TYPEDEF":
    case "CONST":
    case "VOLATILE":
    case "RESTRICT":
    case "TYPE_TAG":
      return skipModifiers(btf, type.type_id);
    default:
      return type;
  }
}

function typedefNames(btf: Btf, typeId: number): string[] {
  const type = btf.type(typeId);
  if (type.kind === "TYPEDEF") return [type.name, ...typedefNames(btf, type.type_id)];
  if (type.kind === "CONST" || type.kind === "VOLATILE") return typedefNames(btf, type.type_id);
  return [];
}

function sizeOf(type: FieldType): number {
  switch (type.kind) {
    case "integer":
      return type.bytes;
    case "bytes":
      return type.length;
    case "integers":
      return type.length * type.element.bytes;
    case "struct":
      return type.struct.size;
  }
}

/** One line that is the same for the same bytes with the same meaning. */
function describe(type: FieldType | Struct): string {
  if (!("kind" in type)) {
    const fields = type.fields.map((field) => `${field.offset}:${field.name}:${describe(field.type)}`);
    return `{${type.size} ${fields.join(" ")}}`;
  }
  switch (type.kind) {
    case "integer":
      return `${type.bigEndian ? "be" : type.signed ? "i" : "u"}${type.bytes * 8}`;
    case "bytes":
      return `bytes[${type.length}]`;
    case "integers":
      return `${describe(type.element)}[${type.length}]`;
    case "struct":
      return describe(type.struct);
  }
}

/** As describe(), for types that have no codec. */
function shapeOf(btf: Btf, typeId: number): string {
  const type = skipModifiers(btf, typeId);
  if (type.kind === "ARRAY") return `${shapeOf(btf, type.type_id)}[${type.nr_elems}]`;
  if (type.kind === "STRUCT" || type.kind === "UNION") {
    const members = type.members.map(
      (member) => `${member.bits_offset}:${member.name}:${shapeOf(btf, member.type_id)}`,
    );
    return `{${type.size} ${members.join(" ")}}`;
  }
  return `${type.kind}${"size" in type ? type.size : ""}`;
}

function shortHash(text: string): string {
  return createHash("sha256").update(text).digest("hex").slice(0, 8);
}
