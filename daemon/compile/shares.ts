// Owns what a run of slots amounts to: the share of each backend. Must not know where a run lies.

import { Backend, Slot } from "../bpf/maps.gen.js";
import { addressFromKeyBytes } from "../model/address.js";
import type { Steps } from "./steps.js";

/** A backend's part of the new connections, of 1. */
export interface Share {
  /** Canonical text. */
  readonly address: string;
  readonly port: number;
  /** id */
  readonly workload: number;
  readonly share: number;
}

/** Columns looked at between two places to pause. */
const STEP_COLUMNS = 1024;

/** The slots of a run end to end, as the kernel has them. In the order of their columns. */
export function* sharesOf(run: Buffer): Steps<Share[]> {
  const length = run.length / Slot.size;
  const parts = new Map<string, { readonly at: number; part: number }>();
  const add = (backend: string, at: number, part: number): void => {
    const held = parts.get(backend);
    if (held === undefined) parts.set(backend, { at, part });
    else held.part += part;
  };
  for (let column = 0; column < length; column++) {
    if (column % STEP_COLUMNS === 0) yield;
    const first = column * Slot.size;
    const [second, end] = [first + Backend.size, first + 2 * Backend.size];
    const [primary, alias] = [run.toString("latin1", first, second), run.toString("latin1", second, end)];
    // A full column has its primary as alias too.
    const own = primary === alias ? 1 : run.readUInt32LE(end) / 2 ** 32;
    add(primary, first, own);
    if (own < 1) add(alias, second, 1 - own);
  }
  const shares: Share[] = [];
  for (const { at, part } of parts.values()) {
    if (shares.length % STEP_COLUMNS === 0) yield;
    const { address, port, workload } = Backend.decode(run, at);
    shares.push({ address: addressFromKeyBytes(address), port, workload, share: part / length });
  }
  return shares;
}
