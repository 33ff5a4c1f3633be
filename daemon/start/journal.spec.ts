import { expect, it } from "vitest";
import { planeEvents } from "./journal.js";

it("tells of a control plane that comes and goes, and not of streams that are followed by another", () => {
  const told: string[] = [];
  const plane = planeEvents("istiod:15012", ({ type, what, text }) => told.push(`${type} ${what}: ${text}`));
  plane.onConnection(true, null);
  plane.onConnection(true, null);
  plane.onConnection(false, "no stream to istiod:15012");
  plane.onConnection(true, null);
  plane.onRejected("Authorization", "shop/x: malformed");
  expect(told).toEqual([
    "control-plane connected: the control plane istiod:15012 is there",
    "control-plane away: no stream to istiod:15012",
    "control-plane connected: the control plane istiod:15012 is there",
    "nack refused: Authorization: resources refused: shop/x: malformed",
  ]);
});
