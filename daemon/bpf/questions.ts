// Owns a question to the program that judges, before it is asked. Must not know who asks, nor why.

import type { AuthzQuestion } from "./maps.gen.js";

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
