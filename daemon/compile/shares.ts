// Owns what a run of slots amounts to: the share of each backend. Must not know where a run lies.

import { textOfBytes } from "../base/byte-text.js";
import { Backend, Slot } from "../bpf/maps.gen.js";
import { addressFromKeyBytes } from "../model/address.js";

/** A backend's part of the new connections, of 1. */
export interface Share {
  /** Canonical text. */
  readonly address: string;
  readonly port: number;
  /** id */
  readonly workload: number;
  readonly share: number;
}

/** The slots of a run end to end, as the kernel has them. In the order of their columns. */
export function sharesOf(run: Buffer): Share[] {
  const length = run.length / Slot.size;
  const parts = new Map<string, { readonly backend: Buffer; part: number }>();
  const add = (backend: Buffer, part: number): void => {
    const key = textOfBytes(backend);
    const held = parts.get(key);
    if (held === undefined) parts.set(key, { backend, part });
    else held.part += part;
  };
  for (let at = 0; at < run.length; at += Slot.size) {
    const primary = run.subarray(at, at + Backend.size);
    const alias = run.subarray(at + Backend.size, at + 2 * Backend.size);
    // A full column has its primary as alias too.
    const own = primary.equals(alias) ? 1 : run.readUInt32LE(at + 2 * Backend.size) / 2 ** 32;
    add(primary, own);
    if (own < 1) add(alias, 1 - own);
  }
  return [...parts.values()].map(({ backend, part }) => {
    const { address, port, workload } = Backend.decode(backend);
    return { address: addressFromKeyBytes(address), port, workload, share: part / length };
  });
}
