// Owns `weftctl enroll` and `weftctl unenroll`.

import type { EnrollRequest, PodResponse, PodsResponse } from "../../daemon/admin/responses.js";
import type { Context } from "./context.js";
import { CommandFailure, ExitCode } from "./failure.js";

export async function enroll({ client, out }: Context, specs: readonly string[]): Promise<void> {
  for (const body of specs.map(parseSpec)) {
    const pod = await client.json<PodResponse>("/pods", { method: "POST", body });
    out.data(
      pod,
      () =>
        `${pod.namespace}/${pod.name} enrolled${pod.workload === null ? ", not known to the control plane yet" : ""}`,
    );
  }
}

export async function unenroll({ client, out }: Context, names: readonly string[]): Promise<void> {
  for (const [namespace, name] of names.map(parseName)) {
    const path = `/pods/${encodeURIComponent(namespace)}/${encodeURIComponent(name)}`;
    const answer = await client.json<PodsResponse>(path, { method: "DELETE" });
    out.data(answer, () => `${namespace}/${name} unenrolled`);
  }
}

function parseSpec(text: string): EnrollRequest {
  const equals = text.indexOf("=");
  if (equals === -1) {
    throw new CommandFailure(
      `"${text}" is no NAMESPACE/NAME=NETNS_PATH such as default/web=/run/netns/web`,
      ExitCode.usage,
    );
  }
  const [namespace, name] = parseName(text.slice(0, equals));
  return { namespace, name, netns: text.slice(equals + 1) };
}

function parseName(text: string): [string, string] {
  const [namespace, name, ...more] = text.split("/");
  if (!namespace || !name || more.length > 0) {
    throw new CommandFailure(`"${text}" is no NAMESPACE/NAME such as default/web`, ExitCode.usage);
  }
  return [namespace, name];
}
