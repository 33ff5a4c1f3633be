// Owns the proof of when connections are judged again. What that finds is the kernel's: test/netns/live.test.ts.

import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { bpfAttachFailed } from "../base/errors.js";
import type { Logger } from "../base/log.js";
import { NOTHING_SWEPT, type Swept } from "../bpf/socket-sweep.js";
import { ConnectionSweep } from "./connection-sweep.js";
import type { Narrowed } from "./kernel.js";

/** A kernel whose sweeps end when the spec says so, and what was said of them. */
function world() {
  const asked: Narrowed[] = [];
  const ends: ((swept: Swept) => void)[] = [];
  const lines: string[] = [];
  const say = (level: string) => (_: unknown, text: string) => void lines.push(`${level} ${text}`);
  const log = { info: say("info"), warn: say("warn"), error: say("error") } as unknown as Logger;
  const kernel = {
    sweeps: {
      connections: (pods: Narrowed) => {
        asked.push(pods);
        return new Promise<Swept>((resolve) => ends.push(resolve));
      },
    },
  };
  const end = async (swept: Partial<Swept> = {}) => {
    ends.shift()?.({ ...NOTHING_SWEPT, ...swept });
    await vi.advanceTimersByTimeAsync(0);
  };
  return { asked, end, lines, sweep: new ConnectionSweep({ kernel, log }) };
}

beforeEach(() => void vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] }));
afterEach(() => void vi.useRealTimers());

it("looks at once through the pods it is told of, and through those it is told of meanwhile together", async () => {
  const { asked, end, sweep } = world();
  sweep.start(new Set([1n]));
  sweep.start(new Set([2n]));
  sweep.start(new Set([2n, 3n]));
  expect(asked).toEqual([new Set([1n])]);
  await end();
  expect(asked.slice(1)).toEqual([new Set([2n, 3n])]);
  sweep.start(new Set([4n]));
  sweep.start("all");
  await end();
  await end();
  expect(asked.slice(2)).toEqual(["all"]);
});

it("comes again soon where something could not be done, however often that is", async () => {
  const { asked, end, lines, sweep } = world();
  const failure = bpfAttachFailed("sweep", "/run/netns/a", new Error("ENOMEM"));
  sweep.start(new Set([1n, 2n]));
  await end({ unfinished: new Set([1n]), failures: [failure] });
  sweep.start(new Set([3n]));
  await end({ unfinished: new Set([3n]) });
  await vi.advanceTimersByTimeAsync(200);
  expect(asked.slice(2)).toEqual([new Set([1n, 3n])]);
  await end({ unfinished: new Set([1n]), failures: [failure] });
  await vi.advanceTimersByTimeAsync(200);
  await end();
  await vi.advanceTimersByTimeAsync(1_000);
  expect(asked.slice(3)).toEqual([new Set([1n])]);
  expect(lines).toHaveLength(1);
});

it("says what was closed, and what cannot be", async () => {
  const { end, lines, sweep } = world();
  sweep.start("all");
  await end();
  expect(lines).toEqual([]);
  sweep.start("all");
  await end({ closed: 2, kept: 1 });
  expect(lines).toEqual([
    "info connections closed: their verdict has turned to deny",
    expect.stringMatching(/^error connections go on although they are denied/),
  ]);
});
