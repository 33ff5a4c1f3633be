// Owns the list of hooks as they are attached now. Must not know what their programs do.

import type { LinkInfo, Native } from "../../native/index.js";
import type { SkippedRuns } from "./counters.js";
import type { Enrollment } from "./enrollment.js";
import { describeLink } from "./guard-links.js";
import { CGROUP_HOOKS, GUARD_PROGRAM, TRACE_HOOKS, type TraceHook } from "./hooks.js";
import type { Pins } from "./pins.js";

/** A hook as it is attached now. */
export interface AttachedHook {
  readonly hook: string;
  readonly program: string;
  readonly target: string;
  /** undefined: not attached. */
  readonly link: LinkInfo | undefined;
}

/** Hooks of the governed cgroup, of the tracepoints that are to be, and of enrolled pods. */
export function attachedHooks(
  native: Native,
  pins: Pins,
  cgroup: string,
  traced: readonly TraceHook[],
  enrollments: readonly Enrollment[],
): AttachedHook[] {
  const pinned = (target: string) => (each: { readonly hook: string; readonly program: string }) => ({
    hook: each.hook,
    program: each.program,
    target,
    link: describeLink(native, pins.hook(each.hook)),
  });
  const pods = enrollments.map(({ cookie, namespace, name, netns }) => ({
    hook: "guard",
    program: GUARD_PROGRAM,
    target: `${netns} (${namespace}/${name})`,
    link: describeLink(native, pins.guard(cookie)),
  }));
  return [...CGROUP_HOOKS.map(pinned(cgroup)), ...traced.map(pinned("the whole machine")), ...pods];
}

/**
 * Runs of the stubs of tracepoints, since they were attached, that the kernel left out: the same stub was under way on
 * that CPU, and was interrupted.
 */
export function skippedRuns(native: Native, pins: Pins): SkippedRuns[] {
  return TRACE_HOOKS.flatMap(({ hook, stub }) => {
    const link = describeLink(native, pins.hook(hook));
    if (link === undefined) return [];
    const program = native.openProgram(link.programId);
    const { skippedRuns } = program.info;
    program.close();
    return [{ name: stub, count: skippedRuns }];
  });
}
