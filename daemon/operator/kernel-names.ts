// Owns the names behind the numbers that the kernel's maps hold. Must not know where they are shown.

import type { KernelNames } from "../admin/operator-view.js";
import { principalOf } from "../compile/authz/identity.js";
import type { Compiler } from "../compile/compiler.js";

export function kernelNames({ names, authz }: Compiler): KernelNames {
  // Numbers of identities are never given out twice, so what was found once stays true.
  const identities = new Map<number, string>();
  return {
    ...names,
    identity: (number) => {
      if (number !== 0 && !identities.has(number)) {
        for (const identity of authz.identities()) identities.set(identity.number, principalOf(identity));
      }
      return identities.get(number);
    },
    table: (number) => authz.describe(number),
  };
}
