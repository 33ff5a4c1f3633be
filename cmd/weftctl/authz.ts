// Owns `weftctl authz` and `weftctl explain authz`: the switch, a pod's policies, and why a connection is let in or not.

import type { AuthzExplanation, AuthzPolicies, ExplainedPolicy } from "../../daemon/admin/answers.js";
import { api } from "../../daemon/admin/api.js";
import { isPodWord } from "../../daemon/base/parse.js";
import { printable } from "../../daemon/base/printable.js";
import type { Context } from "./context.js";
import { CommandFailure, ExitCode } from "./failure.js";
import type { Column, Output } from "./output.js";

export async function authzStatus({ client, out }: Context): Promise<void> {
  const answer = await client.call(api.authz);
  out.data(answer, () => stateText(out, answer.enforced));
}

export async function switchAuthz({ client, out }: Context, enable: boolean): Promise<void> {
  const answer = await client.call(api.switchAuthz, { query: { enable: enable ? "true" : "false" } });
  out.data(answer, () => stateText(out, answer.enforced));
}

/** The policies of one pod, in the order in which they act. */
export async function showAuthz({ client, out }: Context, pod: string): Promise<void> {
  const [namespace = "", name = "", ...rest] = pod.split("/");
  if (!isPodWord(namespace) || !isPodWord(name) || rest.length > 0)
    throw new CommandFailure(`"${pod}" is no NAMESPACE/NAME such as default/web`, ExitCode.usage);
  const answer = await client.call(api.authzOf, { params: { namespace, name } });
  out.data(answer, () => policiesText(out, answer));
}

export interface ExplainOptions {
  readonly from: string;
  readonly to: string;
}

export async function explainAuthz({ client, out }: Context, { from, to }: ExplainOptions): Promise<void> {
  const answer = await client.call(api.explainAuthz, { query: { from, to } });
  out.data(answer, () => explanationText(out, answer));
}

function stateText(out: Output, enforced: boolean): string {
  return enforced
    ? "authorization is enforced"
    : out.paint(
        "red",
        "authorization is NOT enforced: every connection to every pod of this node is allowed",
      );
}

function policiesText(out: Output, { pod, known, policies }: AuthzPolicies): string {
  if (!known) return `${printable(pod)} denies: not all of its policies are known yet`;
  return out.table(policyColumns(false), policies, `no policy applies to ${pod}: everybody is allowed`);
}

function explanationText(out: Output, answer: AuthzExplanation): string {
  const { from, to, allowed, reason, decidedBy, policies, closest, agrees } = answer;
  const facts = [
    ["from", `${from.address}  ${from.workload ?? "no workload of this network"}`],
    ...(from.principal === null ? [] : [["as", from.principal]]),
    ["to", `${to.address}  ${to.workload ?? `pod ${to.pod}, not named by the control plane`}`],
    ["reason", reason],
    ...(decidedBy === null ? [] : [["by", decidedBy]]),
  ];
  const lines = [
    allowed ? out.paint("green", "ALLOWED") : out.paint("red", "DENIED"),
    ...facts.map(([name = "", text = ""]) => `${name.padEnd(8)}${printable(text)}`),
  ];
  if (closest !== null) {
    lines.push(
      "",
      `closest to allowing it: rule ${closest.rule + 1} of ${printable(closest.policy)}, but for`,
    );
    for (const { field, is, wants } of closest.lacks) {
      const verb = field.startsWith("not") ? "excludes" : "wants";
      lines.push(`  ${field}: it is ${printable(is)}, the rule ${verb} ${printable(wants.join(" or "))}`);
    }
  }
  lines.push("", out.table(policyColumns(true), policies, "no policy applies"));
  if (!agrees) {
    const warning =
      "the policies as received come to another verdict: 'weftctl diff' compares them with the kernel";
    lines.push("", out.paint("red", warning));
  }
  return lines.join("\n");
}

function policyColumns(asked: boolean): Column<ExplainedPolicy>[] {
  const rule = ({ matchingRule }: ExplainedPolicy) =>
    matchingRule === null ? "" : `rule ${matchingRule + 1}`;
  return [
    { title: "ACTION", value: ({ action, dryRun }) => (dryRun ? `${action} (dry run)` : action) },
    { title: "POLICY", value: ({ name, held }) => (held ? `${name} (held)` : name) },
    { title: "SCOPE", value: ({ scope }) => scope },
    { title: "RULES", value: ({ rules }) => rules, right: true },
    ...(asked ? [{ title: "MATCHES", value: rule }] : []),
  ];
}
