// Owns which pods may deny what they allowed before because addresses have passed to other identities.
// Must not know addresses, nor what becomes of connections.

import type { IdentityMove } from "./contract.js";
import type { Identity } from "./identity.js";
import type { Table } from "./table.js";

/** Moves that are looked at one by one; with more of them every table that asks for identities counts as narrowed. */
const MOVES_LOOKED_AT = 64;

export interface TableInUse {
  readonly table: Table;
  /** Cookies of the pods it guards. */
  readonly pods: Set<bigint>;
}

/** Cookies of the pods. `identityOf` knows a number also when it has just been given up. */
export function narrowedPods(
  tables: Iterable<TableInUse>,
  moves: readonly IdentityMove[],
  identityOf: (number: number) => Identity | undefined,
): ReadonlySet<bigint> {
  const narrowed = new Set<bigint>();
  if (moves.length === 0) return narrowed;
  const narrows = (table: Table, { from, to }: IdentityMove) => {
    const before = identityOf(from);
    const after = identityOf(to);
    const isKnown = (from === 0 || before !== undefined) && (to === 0 || after !== undefined);
    return !isKnown || table.narrows(before, after);
  };
  for (const { table, pods } of tables) {
    if (!table.asksForIdentity) continue;
    if (moves.length > MOVES_LOOKED_AT || moves.some((move) => narrows(table, move)))
      for (const cookie of pods) narrowed.add(cookie);
  }
  return narrowed;
}
