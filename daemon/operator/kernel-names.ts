// Owns the names behind the numbers that the kernel's maps hold. Must not know where they are shown.

import type { KernelNames } from "../admin/operator-view.js";
import { principalOf } from "../compile/authz/identity.js";
import type { Compiler } from "../compile/compiler.js";
import { partyOf } from "../model/label-text.js";

export function kernelNames({ names, authz, parties }: Compiler): KernelNames {
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
    party(number) {
      const text = parties.textOf(number);
      if (text === undefined) return undefined;
      const { namespace, workload, canonicalRevision } = partyOf(text);
      return `${namespace}/${workload} ${canonicalRevision}`.trim();
    },
    table: (number) => authz.describe(number),
  };
}
