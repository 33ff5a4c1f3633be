// Owns what an event of the node is: something that changed, as an operator is told of it afterwards.
// Must not know where events are kept, nor how they are shown.

/** Kinds of events, in the order of the documentation. */
export const EVENT_TYPES = [
  "daemon",
  "control-plane",
  "nack",
  "generation",
  "policy",
  "service",
  "endpoint",
  "outlier",
  "pod",
  "warning",
  "switch",
] as const;
export type EventType = (typeof EVENT_TYPES)[number];

/** Something that changed. */
export interface NodeEvent {
  /** RFC 3339, milliseconds. */
  readonly at: string;
  readonly type: EventType;
  /** Whom it concerns, by name; empty where that is the whole node. */
  readonly subject: string;
  /** A word for programs: `added`, `left`, `began` ... */
  readonly what: string;
  /** A sentence for people. What others have named is in it as it is: whoever shows it makes it printable. */
  readonly text: string;
}

/** An event as it is told; the time is that of telling. */
export type Told = Omit<NodeEvent, "at">;

/** Whoever is told of events. Never throws, and never waits. */
export type TellEvent = (told: Told) => void;

/** Names of pods and policies are shorter; a stranger's text may be of any length. */
const LONGEST = 400;

export function isEventType(text: string): text is EventType {
  return EVENT_TYPES.some((type) => type === text);
}

/** The text, or its beginning. */
export function shortened(text: string): string {
  return text.length <= LONGEST ? text : `${text.slice(0, LONGEST - 1)}…`;
}

/** What `--type` and `?type=` take: types with commas between; undefined: one is none. */
export function parseTypes(text: string): ReadonlySet<EventType> | undefined {
  const words = text.split(",");
  return words.every(isEventType) ? new Set(words.filter(isEventType)) : undefined;
}

/** For a refusal. */
export const TYPES_TEXT = EVENT_TYPES.join(", ");
