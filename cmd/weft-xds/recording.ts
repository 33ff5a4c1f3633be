// Owns the reading of a recorded stream: FILE.bin or FILE.bin.gz with FILE.json beside it.
// Must not know what is done with it.

import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import * as z from "zod";
import { messageOf } from "../../daemon/base/errors.js";

const sidecarSchema = z.object({
  frames: z.array(
    z.object({
      dir: z.enum(["req", "resp"]),
      /** Of the message itself, behind its varint length; in the uncompressed file. */
      offset: z.int().nonnegative(),
      bytes: z.int().nonnegative(),
      type_url: z.string(),
    }),
  ),
});

/** One message of a recorded stream, in the order sent. */
export interface Frame {
  /** True: from the server, a DeltaDiscoveryResponse; else a DeltaDiscoveryRequest. */
  readonly response: boolean;
  readonly typeUrl: string;
  /** The message, encoded. */
  readonly message: Uint8Array;
}

/** Reads a recording. Fails with the path and what is wrong with it. */
export function readRecording(
  path: string,
): { ok: true; frames: readonly Frame[] } | { ok: false; reason: string } {
  const sidecarPath = path.replace(/\.bin(\.gz)?$/, ".json");
  if (sidecarPath === path)
    return { ok: false, reason: `${path}: expected a name that ends in .bin or .bin.gz` };
  try {
    const raw = readFileSync(path);
    const bytes = path.endsWith(".gz") ? gunzipSync(raw) : raw;
    const { frames } = sidecarSchema.parse(JSON.parse(readFileSync(sidecarPath, "utf8")));
    const beyond = frames.findIndex((frame) => frame.offset + frame.bytes > bytes.length);
    if (beyond !== -1) {
      return {
        ok: false,
        reason: `${sidecarPath}: frame ${beyond} ends behind the ${bytes.length} bytes of ${path}`,
      };
    }
    return {
      ok: true,
      frames: frames.map((frame) => ({
        response: frame.dir === "resp",
        typeUrl: frame.type_url,
        message: bytes.subarray(frame.offset, frame.offset + frame.bytes),
      })),
    };
  } catch (error) {
    const reason = error instanceof z.ZodError ? z.prettifyError(error) : messageOf(error);
    return { ok: false, reason: `${path}: ${reason}` };
  }
}
