// Owns the asking of programs that judge and route: the question, and how it is put. Must not know who asks, nor why.

import type { BpfProgram } from "../../native/index.js";
import { failed, notInstalled, ok, type Result } from "../base/errors.js";
import type { AuthzQuestion, Codec } from "./maps.gen.js";

/** Whose connection is to be judged: addresses as keys of maps, ports in host order; `pod` is the destination's cookie. */
type Asked = Pick<AuthzQuestion, "pod" | "sourceAddress" | "destinationAddress" | "sourcePort" | "port">;

/** A question without its answer. */
export function authzQuestion(asked: Asked): AuthzQuestion {
  return {
    ...asked,
    allowed: 0,
    reason: 0,
    policy: 0,
    source: 0,
    destination: 0,
    table: 0,
    identity: 0,
  };
}

/** Asks the program of this name; fails where no generation is installed. */
export function ask<Question>(
  programs: ReadonlyMap<string, BpfProgram> | undefined,
  name: string,
  codec: Codec<Question>,
  question: Question,
): Result<Question> {
  const program = programs?.get(name);
  if (program === undefined) return failed(notInstalled());
  return ok(codec.decode(program.testRun({ data: codec.encode(question) }).data));
}
