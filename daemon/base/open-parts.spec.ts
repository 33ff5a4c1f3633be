import { expect, it } from "vitest";
import { OpenParts } from "./open-parts.js";

it("closes the last opened first, each once, whatever one of them throws", async () => {
  const closed: string[] = [];
  const open = new OpenParts();
  open.add(() => void closed.push("first"));
  open.add(async () => {
    await Promise.resolve();
    closed.push("second");
    throw new Error("second does not close");
  });
  open.add(() => void closed.push("third"));
  await expect(open.close()).rejects.toThrow("second does not close");
  expect(closed).toEqual(["third", "second", "first"]);
  await open.close();
  expect(closed).toHaveLength(3);
});
