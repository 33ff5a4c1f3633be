// Owns the making of new inputs from old ones: bytes, pieces of other inputs, and fields of protobuf. Must not know
// what an input is for.

/** Whole numbers below a bound, from a seed: xorshift. */
export class Dice {
  #state: number;

  constructor(seed: number) {
    this.#state = seed | 0 || 1;
  }

  below(bound: number): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x;
    return (x >>> 0) % Math.max(1, bound);
  }

  pick<T>(list: readonly T[]): T | undefined {
    return list[this.below(list.length)];
  }
}

const EDGES = [0, 1, 4, 16, 32, 33, 127, 128, 129, 255];
const NUMBERS = [...EDGES, 80, 65_535, 65_536, 70_000, 2 ** 31, 2 ** 32 - 1];

/** One to four changes of an input; `other` is another of the corpus. */
export function mutate(dice: Dice, input: Uint8Array, other: Uint8Array, maxBytes: number): Uint8Array {
  let bytes = input;
  for (let left = 1 + dice.below(4); left > 0; left--)
    bytes = dice.below(2) === 0 ? mutateFields(dice, bytes, other) : mutateBytes(dice, bytes, other);
  return bytes.subarray(0, maxBytes);
}

function mutateBytes(dice: Dice, input: Uint8Array, other: Uint8Array): Uint8Array {
  const at = dice.below(input.length + 1);
  const length = 1 + dice.below(8);
  const piece = slice(dice, other);
  switch (dice.below(7)) {
    case 0:
      return changed(input, at, (byte) => byte ^ (1 << dice.below(8)));
    case 1:
      return changed(input, at, () => dice.pick(EDGES) ?? 0);
    case 2:
      return changed(input, at, () => dice.below(256));
    case 3:
      return joined(input.subarray(0, at), input.subarray(at + length));
    case 4:
      return joined(input.subarray(0, at), piece, input.subarray(at));
    case 5:
      return joined(input.subarray(0, at), varint(dice.pick(NUMBERS) ?? 0), input.subarray(at));
    default:
      return joined(input.subarray(0, at), piece, input.subarray(at + piece.length));
  }
}

function changed(input: Uint8Array, at: number, change: (byte: number) => number): Uint8Array {
  const copy = Uint8Array.from(input);
  if (at < copy.length) copy[at] = change(copy[at] ?? 0);
  return copy;
}

function slice(dice: Dice, bytes: Uint8Array): Uint8Array {
  const at = dice.below(bytes.length);
  return bytes.subarray(at, at + 1 + dice.below(Math.min(64, bytes.length)));
}

function joined(...parts: Uint8Array[]): Uint8Array {
  return Buffer.concat(parts);
}

// ---- protobuf ----

/** A field, whose content is as it lies on the wire: a varint, or what follows a length. */
interface Field {
  /** Number and wire type. */
  tag: number;
  content: Uint8Array;
}

const DELIMITED = 2;

/** Takes away, doubles, moves or changes one field, at any depth, and puts the lengths around it right. */
function mutateFields(dice: Dice, input: Uint8Array, other: Uint8Array): Uint8Array {
  const fields = fieldsOf(input);
  if (fields === undefined || fields.length === 0) return mutateBytes(dice, input, other);
  const index = dice.below(fields.length);
  const field = fields[index] as Field;
  const choice = dice.below(10);
  if (choice === 0) fields.splice(index, 1);
  else if (choice === 1) fields.splice(dice.below(fields.length + 1), 0, field);
  else if (choice === 2) fields.splice(index, 0, ...(fieldsOf(other) ?? []).slice(0, 1 + dice.below(3)));
  else if (choice === 3) fields[index] = { ...field, tag: ((1 + dice.below(14)) << 3) | (field.tag & 7) };
  else if (field.tag % 8 === DELIMITED)
    fields[index] = { ...field, content: mutateFields(dice, field.content, slice(dice, other)) };
  else fields[index] = { ...field, content: varint(dice.pick(NUMBERS) ?? 0) };
  return joined(...fields.map(encoded));
}

function encoded({ tag, content }: Field): Uint8Array {
  return tag % 8 === DELIMITED
    ? joined(varint(tag), varint(content.length), content)
    : joined(varint(tag), content);
}

/** undefined: the bytes are no protobuf of varints and lengths. */
function fieldsOf(bytes: Uint8Array): Field[] | undefined {
  const fields: Field[] = [];
  for (let at = 0; at < bytes.length; ) {
    const tag = readVarint(bytes, at);
    if (tag === undefined) return undefined;
    const first = readVarint(bytes, tag.end);
    if (first === undefined || tag.value < 8) return undefined;
    if (tag.value % 8 === 0) {
      fields.push({ tag: tag.value, content: bytes.subarray(tag.end, first.end) });
      at = first.end;
    } else if (tag.value % 8 === DELIMITED && first.end + first.value <= bytes.length) {
      fields.push({ tag: tag.value, content: bytes.subarray(first.end, first.end + first.value) });
      at = first.end + first.value;
    } else return undefined;
  }
  return fields;
}

function readVarint(bytes: Uint8Array, at: number): { value: number; end: number } | undefined {
  let value = 0;
  for (let index = 0; index < 5; index++) {
    const byte = bytes[at + index];
    if (byte === undefined) return undefined;
    value += (byte & 0x7f) * 2 ** (7 * index);
    if (byte < 0x80) return { value, end: at + index + 1 };
  }
  return undefined;
}

function varint(value: number): Uint8Array {
  const bytes: number[] = [];
  for (let rest = value; ; rest = Math.floor(rest / 128)) {
    if (rest < 128) return Uint8Array.from([...bytes, rest]);
    bytes.push((rest % 128) | 0x80);
  }
}
