// Owns reading BTF: the JSON of `bpftool btf dump -j` as typed values with checked references.
// Must not know maps, layouts or TypeScript output.

import { z } from "zod";

const reference = z.number().int().nonnegative();

const member = z.object({
  name: z.string(),
  type_id: reference,
  bits_offset: z.number().int(),
  bitfield_size: z.number().int().default(0),
});

const record = z.discriminatedUnion("kind", [
  z.object({
    id: reference,
    kind: z.literal("INT"),
    name: z.string(),
    size: z.number().int(),
    encoding: z.string(),
  }),
  z.object({ id: reference, kind: z.literal("PTR"), type_id: reference }),
  z.object({ id: reference, kind: z.literal("ARRAY"), type_id: reference, nr_elems: z.number().int() }),
  z.object({
    id: reference,
    kind: z.enum(["STRUCT", "UNION"]),
    name: z.string(),
    size: z.number().int(),
    members: z.array(member),
  }),
  z.object({
    id: reference,
    kind: z.literal("ENUM"),
    name: z.string(),
    size: z.number().int(),
    values: z.array(z.object({ name: z.string(), val: z.number().int() })),
  }),
  z.object({
    id: reference,
    kind: z.enum(["TYPEDEF", "CONST", "VOLATILE", "RESTRICT", "TYPE_TAG"]),
    name: z.string(),
    type_id: reference,
  }),
  z.object({ id: reference, kind: z.literal("VAR"), name: z.string(), type_id: reference }),
  z.object({
    id: reference,
    kind: z.literal("DATASEC"),
    name: z.string(),
    vars: z.array(z.object({ type_id: reference })),
  }),
]);

/** Kinds that no shared struct may be made of; kept so that an error can name them. */
const other = z.object({ id: reference, kind: z.string(), name: z.string().default("") });

export type BtfRecord = z.infer<typeof record>;
export type BtfMember = z.infer<typeof member>;
export type BtfStruct = Extract<BtfRecord, { kind: "STRUCT" | "UNION" }>;
export type BtfEnum = Extract<BtfRecord, { kind: "ENUM" }>;
export type BtfVariable = Extract<BtfRecord, { kind: "VAR" }>;

/** The types of one object file. Ids are those of the file. */
export interface Btf {
  /** Throws when the id is void (0), unknown, or of a kind that carries no data (functions, forward declarations). */
  type(id: number): BtfRecord;
  /** The variables, in the order of their definition in the source. */
  readonly variables: readonly BtfVariable[];
  /** Names of the variables in a section such as `.maps`; empty when there is no such section. */
  section(name: string): ReadonlySet<string>;
}

/** Reads what `bpftool btf dump -j file OBJECT` prints. Throws when it is not that. */
export function readBtf(json: string): Btf {
  const { types } = z.object({ types: z.array(z.unknown()) }).parse(JSON.parse(json));
  const known = new Map<number, BtfRecord>();
  const unusable = new Map<number, string>();
  for (const type of types) {
    const { id, kind, name } = other.parse(type);
    if (record.options.some((option) => option.shape.kind.safeParse(kind).success))
      known.set(id, record.parse(type));
    else unusable.set(id, `${kind} ${name}`.trim());
  }

  function typeOf(id: number): BtfRecord {
    const type = known.get(id);
    if (type === undefined)
      throw new Error(`BTF type ${id} is ${id === 0 ? "void" : (unusable.get(id) ?? "not there")}`);
    return type;
  }

  const variables = [...known.values()].filter((type) => type.kind === "VAR");
  const names = new Map(variables.map((variable) => [variable.id, variable.name]));
  return {
    type: typeOf,
    variables,
    section(name) {
      const sections = [...known.values()].filter((type) => type.kind === "DATASEC" && type.name === name);
      const ids = sections.flatMap((type) =>
        type.kind === "DATASEC" ? type.vars.map((entry) => entry.type_id) : [],
      );
      return new Set(ids.flatMap((id) => names.get(id) ?? []));
    },
  };
}
