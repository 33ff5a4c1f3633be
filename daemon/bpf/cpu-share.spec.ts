// Owns the proof of which CPUs are left alone, and that a refusal changes nothing. A double in place of the kernel.

import { expect, it } from "vitest";
import { CpuShare } from "./cpu-share.js";

/** A process that may run on these CPUs, until it is asked for what the kernel refuses. */
function processOn(cpus: readonly number[], refused?: "usableCpus" | "useCpus") {
  const used: (readonly number[])[] = [];
  const refuse = (call: string) => {
    if (call === refused) throw new Error("EPERM");
  };
  const native = {
    usableCpus() {
      refuse("usableCpus");
      return [...(used.at(-1) ?? cpus)];
    },
    useCpus(wanted: readonly number[]) {
      refuse("useCpus");
      used.push(wanted);
    },
  };
  return { used, share: new CpuShare(native) };
}

it.each([
  ["two CPUs", [0, 1], [1]],
  ["three", [0, 1, 2], [1, 2]],
  ["some of many", [4, 6, 9, 11], [9, 11]],
  ["one", [3], [3]],
])("leaves half of %s, and takes all again", (_, all, half) => {
  const { used, share } = processOn(all);
  share.leaveHalf();
  share.leaveHalf();
  expect(used).toEqual([half]);
  share.takeAll();
  share.takeAll();
  expect(used).toEqual([half, all]);
});

it.each(["usableCpus", "useCpus"] as const)("goes on where it may run when the kernel refuses %s", (call) => {
  const { used, share } = processOn([0, 1], call);
  share.leaveHalf();
  share.takeAll();
  expect(used).toEqual([]);
});

it("takes nothing before it has left anything", () => {
  const { used, share } = processOn([0, 1]);
  share.takeAll();
  expect(used).toEqual([]);
});
