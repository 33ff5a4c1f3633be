// Owns the shape of the answers about events. Must not know how an answer comes about.

import * as z from "zod";
import { EVENT_TYPES } from "../events/event.js";
import { type Of, text } from "./answers.js";

/** The types that an event may have. */
export const EVENT_NAMES: readonly string[] = EVENT_TYPES;

export const event = z.object({
  at: text("RFC 3339"),
  type: z.enum(EVENT_TYPES),
  subject: text("whom it concerns; empty where that is the whole node"),
  what: text("a word for programs: `added`, `left`, `began` ..."),
  text: text("for a person"),
});
export const events = z.object({ events: z.array(event).describe("the oldest first") });
export type EventResponse = Of<typeof event>;
