// Owns one question to the node's DNS servers. Must not know when to ask, nor what an answer is for.

import { Resolver } from "node:dns/promises";

/** What became of a question for one family of addresses. */
export type FamilyAnswer =
  /** Texts as DNS gives them; none: the name has no address of the family. `ttl`: seconds, undefined without any. */
  | { readonly ok: true; readonly addresses: readonly string[]; readonly ttl: number | undefined }
  /** Nobody knows; `code` as node:dns has it. */
  | { readonly ok: false; readonly code: string };

export interface Answer {
  readonly ipv4: FamilyAnswer;
  readonly ipv6: FamilyAnswer;
}

/** Asks for both families at once. */
export type Lookup = (name: string) => Promise<Answer>;

/** Milliseconds for the first try with a server; each further one takes longer. */
const TRY_MS = 2000;
const TRIES = 2;

/** Codes that say: there is no such record, which is an answer. */
const NO_RECORD: ReadonlySet<string> = new Set(["ENODATA", "ENOTFOUND"]);

/** The node's configuration (/etc/resolv.conf) is read anew for each name: it may change under a daemon that runs. */
export const lookUp: Lookup = async (name) => {
  const resolver = new Resolver({ timeout: TRY_MS, tries: TRIES });
  const [ipv4, ipv6] = await Promise.all([
    familyAnswer(resolver.resolve4(name, { ttl: true })),
    familyAnswer(resolver.resolve6(name, { ttl: true })),
  ]);
  return { ipv4, ipv6 };
};

async function familyAnswer(
  records: Promise<readonly { readonly address: string; readonly ttl: number }[]>,
): Promise<FamilyAnswer> {
  try {
    const found = await records;
    const ttl = found.length === 0 ? undefined : Math.min(...found.map((record) => record.ttl));
    return { ok: true, addresses: found.map(({ address }) => address), ttl };
  } catch (error) {
    const code = error instanceof Error && "code" in error ? String(error.code) : "EUNKNOWN";
    return NO_RECORD.has(code) ? { ok: true, addresses: [], ttl: undefined } : { ok: false, code };
  }
}
