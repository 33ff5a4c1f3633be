// Owns the bytes of a snapshot file: a header that says whose it is, then checked records, each one response.
// Must not know what a response changes, nor when it is kept.
//
// Header: `weft-snapshot 1`, a line of JSON, each ended by \n. Record, little-endian: u32 length of its body, CRC-32 of
// that length, CRC-32 of the body; body: u8 flags, then an encoded DeltaDiscoveryResponse.

import { crc32 } from "node:zlib";

/** A change of what follows makes it another number: a file of another number is foreign. */
const MAGIC = "weft-snapshot 1\n";
const HEADER_LIMIT = 64 * 1024;
const PREFIX_BYTES = 12;
/** What the response does not name is gone. */
const COMPLETE = 1;

/** Whose the responses are. One that differs in any of it is another control plane's, or another node's. */
export interface SnapshotOrigin {
  readonly controlPlane: string;
  readonly cluster: string;
  readonly node: string;
}

/** One acknowledged response. */
export interface KeptResponse {
  /** An encoded envoy.service.discovery.v3.DeltaDiscoveryResponse. */
  readonly bytes: Uint8Array;
  /** Resources that it does not name are gone. */
  readonly complete: boolean;
}

export interface SnapshotContent {
  readonly responses: readonly KeptResponse[];
  /** Bytes of the file that count: what follows is a record that was never finished. */
  readonly length: number;
}

/** What a file turned out to be. `reason`: a clause. */
export type Reading =
  | ({ readonly ok: true } & SnapshotContent)
  | { readonly ok: false; readonly reason: string };

export function encodeHeader(origin: SnapshotOrigin): Buffer {
  const { controlPlane, cluster, node } = origin;
  return Buffer.from(`${MAGIC}${JSON.stringify({ controlPlane, cluster, node })}\n`);
}

/** The pieces of one record, in order. */
export function encodeRecord({ bytes, complete }: KeptResponse): Uint8Array[] {
  const prefix = Buffer.alloc(PREFIX_BYTES + 1);
  prefix.writeUInt32LE(bytes.length + 1, 0);
  prefix.writeUInt32LE(crc32(prefix.subarray(0, 4)), 4);
  prefix[PREFIX_BYTES] = complete ? COMPLETE : 0;
  prefix.writeUInt32LE(crc32(bytes, crc32(prefix.subarray(PREFIX_BYTES))), 8);
  return [prefix, bytes];
}

/**
 * Reads a whole file. Its responses are views into it. Damaged anywhere, it is not read in part: what is missing might
 * be a denial. Only a last record that was never finished is left out: it was not acknowledged.
 */
export function* readSnapshot(file: Buffer, origin: SnapshotOrigin): Generator<void, Reading> {
  const start = headerEnd(file, origin);
  if (typeof start === "string") return { ok: false, reason: start };
  const responses: KeptResponse[] = [];
  let at = start;
  for (;;) {
    const next = readRecord(file, at);
    if (next === "end") return { ok: true, responses, length: at };
    if (next === "damaged") return { ok: false, reason: `is damaged at byte ${at}` };
    responses.push(next.response);
    at = next.end;
    yield;
  }
}

/** Where the records begin; a text says why they are not to be read. */
function headerEnd(file: Buffer, origin: SnapshotOrigin): number | string {
  if (!file.subarray(0, MAGIC.length).equals(Buffer.from(MAGIC))) return "is no snapshot of this version";
  const end = file.subarray(0, HEADER_LIMIT).indexOf("\n", MAGIC.length) + 1;
  const expected = encodeHeader(origin);
  if (end === 0) return "is damaged in its header";
  if (!file.subarray(0, end).equals(expected)) return "is of another control plane, cluster or node";
  return end;
}

function readRecord(
  file: Buffer,
  at: number,
): { readonly response: KeptResponse; readonly end: number } | "end" | "damaged" {
  if (file.length - at < PREFIX_BYTES) return "end";
  if (crc32(file.subarray(at, at + 4)) !== file.readUInt32LE(at + 4)) return "damaged";
  const length = file.readUInt32LE(at);
  const start = at + PREFIX_BYTES;
  if (length > file.length - start) return "end";
  const body = file.subarray(start, start + length);
  if (length === 0 || crc32(body) !== file.readUInt32LE(at + 8)) return "damaged";
  const complete = (body[0] ?? 0) === COMPLETE;
  return { response: { bytes: body.subarray(1), complete }, end: start + length };
}
