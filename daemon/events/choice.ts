// Owns from when on events are wanted, as a person says it. Must not know who asks.

import { type Parsed, parseDuration } from "../base/parse.js";

/** RFC 3339 as far as a clock's time goes. */
const TIME = /^\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)$/;

/** Reads a duration before `now`, or a time; Unix milliseconds. */
export function parseSince(text: string, now: number): Parsed<number> {
  if (TIME.test(text) && !Number.isNaN(Date.parse(text))) return { ok: true, value: Date.parse(text) };
  const duration = parseDuration(text);
  if (duration.ok) return { ok: true, value: now - duration.value };
  return {
    ok: false,
    reason: `"${text}" is no duration such as 1h, and no time such as 2026-11-29T12:00:00Z`,
  };
}
