// Owns which options and arguments have names as their values, and of what kind. Must not know whom to ask for them.

import type { Argument, Option } from "commander";
import type { NameKind as DaemonKind } from "../../daemon/admin/answers.js";

/** Names that a daemon knows, and such as the cluster does. */
export type NameKind = DaemonKind | "cluster namespace" | "cluster pod" | "node" | "waypoint";

/** What is typed: a name, and perhaps what always comes after it. */
export interface Wanted {
  readonly kind: NameKind;
  readonly suffix: string;
}

const wanted = new WeakMap<Option | Argument, Wanted>();

/** The same option or argument, whose value is a name of this kind. */
export function named<T extends Option | Argument>(of: T, kind: NameKind, suffix = ""): T {
  wanted.set(of, { kind, suffix });
  return of;
}

export function wantedBy(of: Option | Argument | undefined): Wanted | undefined {
  return of && wanted.get(of);
}
