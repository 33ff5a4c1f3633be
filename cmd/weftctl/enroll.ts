// Owns `weftctl enroll` and `weftctl unenroll`.

import type { PodResponse } from "../../daemon/admin/answers.js";
import { api } from "../../daemon/admin/api.js";
import { type Parsed, parsePod, parsePodName } from "../../daemon/base/parse.js";
import { printable } from "../../daemon/base/printable.js";
import type { Context } from "./context.js";
import { CommandFailure, ExitCode } from "./failure.js";

/** Says which pods were enrolled, also when one of them is refused and ends it. */
export async function enroll({ client, out }: Context, specs: readonly string[]): Promise<void> {
  const pods: PodResponse[] = [];
  try {
    for (const body of specs.map((spec) => given(parsePod(spec))))
      pods.push(await client.call(api.enroll, { body }));
  } finally {
    if (pods.length > 0) out.data({ pods }, () => pods.map(enrolled).join("\n"));
  }
}

/** Answers with the pods that are left, also when one of those named is refused and ends it. */
export async function unenroll({ client, out }: Context, names: readonly string[]): Promise<void> {
  const done: string[] = [];
  let left: readonly PodResponse[] = [];
  try {
    for (const params of names.map((name) => given(parsePodName(name)))) {
      left = (await client.call(api.unenroll, { params })).pods;
      done.push(`${params.namespace}/${params.name} unenrolled`);
    }
  } finally {
    if (done.length > 0) out.data({ pods: left }, () => done.join("\n"));
  }
}

function enrolled({ namespace, name, workload }: PodResponse): string {
  return `${printable(`${namespace}/${name}`)} enrolled${workload === null ? ", not known to the control plane yet" : ""}`;
}

function given<T>(parsed: Parsed<T>): T {
  if (parsed.ok) return parsed.value;
  throw new CommandFailure(parsed.reason, ExitCode.usage);
}
