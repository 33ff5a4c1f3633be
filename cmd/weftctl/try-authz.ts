// Owns `weftctl authz try`: policies out of a file, and what the daemon says that they would change.
// Must not know how a verdict comes about.

import { readFileSync } from "node:fs";
import { text } from "node:stream/consumers";
import type { AuthzTrial, TriedPair, TriedVerdict } from "../../daemon/admin/answers.js";
import { api } from "../../daemon/admin/api.js";
import { messageOf } from "../../daemon/base/errors.js";
import { isPodWord } from "../../daemon/base/parse.js";
import type { Context } from "./context.js";
import { CommandFailure, ExitCode } from "./failure.js";
import type { Column, Output } from "./output.js";
import { readPolicies, type WrittenPolicy } from "./policy-file.js";

export interface TryOptions {
  /** Whom policies with a selector mean. */
  readonly workload: readonly string[];
  /** Policies to do without. */
  readonly remove: readonly string[];
  readonly exitCode?: true;
}

export async function tryAuthz(
  { client, out, stdin }: Context,
  file: string | undefined,
  { workload, remove, exitCode }: TryOptions,
): Promise<void> {
  for (const name of [...workload, ...remove]) requireName(name);
  if (file === undefined && remove.length === 0)
    throw new CommandFailure("give a FILE with policies, - for standard input, or --remove", ExitCode.usage);
  const read =
    file === undefined ? { policies: [], notes: [] } : readPolicies(await contentOf(file, stdin), file);
  if ("problems" in read) throw new CommandFailure(read.problems.join("; "), ExitCode.usage);
  const policies = meant(read.policies, workload);
  const answer = await client.call(api.tryAuthz, { body: { policies, removed: [...remove] } });
  const whole = { ...answer, notes: [...read.notes, ...answer.notes] };
  out.data(whole, () => page(out, whole));
  const { refused, admitted } = answer.counts;
  if (exitCode && refused + admitted > 0)
    throw new CommandFailure(`verdicts would change for ${refused + admitted} of the pairs that were seen`);
}

function requireName(text: string): void {
  const [namespace = "", name = "", ...rest] = text.split("/");
  if (!isPodWord(namespace) || !isPodWord(name) || rest.length > 0)
    throw new CommandFailure(`"${text}" is no NAMESPACE/NAME such as default/web`, ExitCode.usage);
}

async function contentOf(file: string, stdin: Context["stdin"]): Promise<string> {
  try {
    return file === "-" ? await text(stdin) : readFileSync(file, "utf8");
  } catch (error) {
    throw new CommandFailure(`cannot read ${file}: ${messageOf(error)}`, ExitCode.usage);
  }
}

/** The policies, those with a selector for these workloads. */
function meant(policies: readonly WrittenPolicy[], workloads: readonly string[]): WrittenPolicy[] {
  if (workloads.length === 0) return [...policies];
  const isSelecting = ({ scope, workloads }: WrittenPolicy) =>
    scope === "WORKLOAD_SELECTOR" && workloads === undefined;
  if (!policies.some(isSelecting))
    throw new CommandFailure(
      "--workload says whom a policy with a selector means, and none here has one",
      ExitCode.usage,
    );
  return policies.map((policy) => (isSelecting(policy) ? { ...policy, workloads } : policy));
}

const columns: readonly Column<TriedPair>[] = [
  { title: "FROM", value: ({ from }) => podOf(from.workload) ?? from.address },
  { title: "ADDRESS", value: ({ from }) => from.address, wide: true },
  { title: "TO", value: ({ to }) => to.pod },
  { title: "PORT", value: ({ to }) => to.port ?? "others", right: true },
  { title: "NOW", value: ({ before }) => verdictText(before), paint: ({ before }) => paintOf(before) },
  { title: "THEN", value: ({ after }) => verdictText(after), paint: ({ after }) => paintOf(after) },
  { title: "SEEN", value: ({ seen }) => seen },
];

/** `namespace/name` out of a pod's uid; the uid where it is another's. */
function podOf(uid: string | null): string | null {
  return uid?.replace(/^[^/]*\/\/Pod\//, "") ?? null;
}

function verdictText({ allowed, reason, decidedBy }: TriedVerdict): string {
  if (decidedBy !== null) return `${allowed ? "allowed" : "refused"} by ${decidedBy}`;
  if (allowed) return "allowed";
  return reason === "authz_no_allow" ? "refused, no ALLOW matches" : `refused, ${reason}`;
}

function paintOf({ allowed }: TriedVerdict) {
  return allowed ? "green" : "red";
}

function page(out: Output, answer: AuthzTrial): string {
  const { changes, counts, policies, notes } = answer;
  const table = changes.length === 0 ? [] : [out.table(columns, changes, ""), ""];
  const { refused, admitted, stillAllowed, stillRefused } = counts;
  return [
    ...table,
    ...policies.map(({ name, isNew, pods }) => {
      const guards = pods.length === 0 ? "no pod of this node" : pods.join(", ");
      return `${name} (${isNew ? "new" : "in place of the one there"}) would guard ${guards}`;
    }),
    ...notes.map((note) => `note: ${note}`),
    lookedText(answer.looked),
    `${refused} would be refused, ${admitted} newly admitted, ${stillAllowed} allowed and ${stillRefused} refused as before; nothing was changed`,
  ].join("\n");
}

function lookedText(looked: AuthzTrial["looked"]): string {
  const log = looked.loggedSince === null ? "" : ` since ${looked.loggedSince}`;
  const off = looked.logEnabled
    ? ""
    : ", which is off: 'weftctl accesslog enable' makes attempts and their ports known";
  const rest = [
    [looked.byNode, "of the node itself, which pass in any case"],
    [looked.unnamed, "of the counters, whose source nobody can name"],
    [looked.omitted, "for which there was no room"],
  ] as const;
  return [
    `pairs seen: ${looked.open} by open connections, ${looked.logged} more by the access log${log}${off}; ${looked.counted} more by counters, without a port`,
    ...rest.filter(([count]) => count > 0).map(([count, what]) => `not judged: ${count} ${what}`),
  ].join("\n");
}
