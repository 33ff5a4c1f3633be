import { expect, it } from "vitest";
import { StandingWarnings } from "./standing.js";

it("tells when a warning begins and ends, and not while its numbers change", () => {
  const told: string[] = [];
  let now = 0;
  const warnings = new StandingWarnings(
    ({ subject, what, text }) => told.push(`${subject} ${what}: ${text}`),
    () => now,
  );
  const look = (entries: Record<string, string>) => warnings.look(new Map(Object.entries(entries)));
  look({});
  look({ "map slots": "91 % full" });
  look({ "map slots": "92 % full", authz: "off" });
  now = 30_000;
  look({ authz: "off" });
  look({ "map slots": "90 % full", authz: "off" });
  expect(told).toEqual([
    "map slots began: warning: 91 % full",
    "authz began: warning: off",
    "map slots ended: over after 30 s: 92 % full",
    "map slots began: warning: 90 % full",
  ]);
});
