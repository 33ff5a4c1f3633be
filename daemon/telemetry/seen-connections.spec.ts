// Owns the proof of what is remembered of who connected to whom.

import { expect, it } from "vitest";
import { SeenConnections } from "./seen-connections.js";

const record = (sourceAddress: string, destinationAddress: string, more: object = {}) => ({
  direction: "INBOUND",
  sourceWorkload: "client",
  sourceAddress,
  destinationAddress,
  ...more,
});

it("remembers each source and destination once, whatever the source's port, and not what leaves or the node opens", () => {
  const seen = new SeenConnections();
  expect(seen.since).toBeUndefined();
  seen.note(record("10.0.0.1:40000", "10.0.0.2:80", { direction: "OUTBOUND" }));
  seen.note(record("10.0.0.9:40000", "10.0.0.2:80", { sourceWorkload: "node" }));
  expect([...seen.values()]).toEqual([]);
  seen.note(record("10.0.0.1:40000", "10.0.0.2:80"));
  seen.note(record("[fd00::1]:40000", "[fd00::2]:80"));
  seen.note(record("10.0.0.1:40001", "10.0.0.2:80"));
  seen.note(record("10.0.0.1:40001", "10.0.0.2:81"));
  expect([...seen.values()]).toEqual([
    { source: "fd00::1", destination: "fd00::2", port: 80 },
    { source: "10.0.0.1", destination: "10.0.0.2", port: 80 },
    { source: "10.0.0.1", destination: "10.0.0.2", port: 81 },
  ]);
  expect(seen.since).toBeInstanceOf(Date);
});

it("forgets the ones seen the longest ago, however many come", () => {
  const seen = new SeenConnections();
  for (let n = 0; n < 20_000; n++) seen.note(record(`10.0.${n >> 8}.${n & 255}:1`, "10.0.0.2:80"));
  const left = [...seen.values()];
  expect(left.length).toBe(8192);
  expect(left.at(-1)?.source).toBe(`10.0.${19_999 >> 8}.${19_999 & 255}`);
});
