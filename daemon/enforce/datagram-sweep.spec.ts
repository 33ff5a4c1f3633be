// Owns the proof of when sockets are looked through. What a look finds is the kernel's: test/netns/datagram-sweep.test.ts.

import { expect, it } from "vitest";
import { bpfAttachFailed } from "../base/errors.js";
import type { Logger } from "../base/log.js";
import type { Concerned } from "../bpf/datagram-sweep.js";
import { NOTHING_SWEPT } from "../bpf/socket-sweep.js";
import { DatagramSweep } from "./datagram-sweep.js";

type Kernel = ConstructorParameters<typeof DatagramSweep>[0]["kernel"];
type Swept = Awaited<ReturnType<Kernel["sweeps"]["datagrams"]>>;

/** A kernel whose sweeps end when the spec says so, and what was said of them. */
function world() {
  const asked: string[] = [];
  const ends: ((swept: Swept) => void)[] = [];
  const lines: string[] = [];
  const say = (level: string) => (_: unknown, text: string) => void lines.push(`${level} ${text}`);
  const log = { info: say("info"), warn: say("warn"), error: say("error") } as unknown as Logger;
  const kernel = {
    sweeps: {
      datagrams: (concerned: Concerned) => {
        asked.push(concerned);
        return new Promise<Swept>((resolve) => ends.push(resolve));
      },
    },
  };
  const end = async (swept: Partial<Swept> = {}) => {
    ends.shift()?.({ ...NOTHING_SWEPT, ...swept });
    await new Promise((resolve) => setImmediate(resolve));
  };
  return { asked, end, lines, sweep: new DatagramSweep({ kernel, log }) };
}

it("looks for those that connected to a service without endpoints, and through all when a backend was lost", async () => {
  const { asked, end, sweep } = world();
  sweep.look();
  await end();
  sweep.start();
  await end();
  sweep.look();
  expect(asked).toEqual(["refused", "all", "refused"]);
});

it("looks through all once more when a backend is lost during a look, however narrow, and never twice at once", async () => {
  const { asked, end, sweep } = world();
  sweep.look();
  sweep.start();
  sweep.start();
  sweep.look();
  expect(asked).toEqual(["refused"]);
  await end();
  expect(asked).toEqual(["refused", "all"]);
  sweep.look();
  sweep.start();
  await end();
  await end();
  expect(asked).toEqual(["refused", "all", "noted"]);
});

it("looks through every pod until that was done once: a daemon that ended meanwhile may have forgotten some", async () => {
  const { asked, end, sweep } = world();
  for (const unfinished of [[1n], [], []]) {
    sweep.start();
    await end({ unfinished: new Set(unfinished) });
  }
  expect(asked).toEqual(["all", "all", "noted"]);
});

it("says what was closed, what could not be, and what failed; a narrow look does not forget what is kept", async () => {
  const { end, lines, sweep } = world();
  sweep.start();
  await end({ closed: 2, kept: 3, failures: [bpfAttachFailed("sweep", "/run/netns/x", new Error("no"))] });
  expect(lines).toEqual([
    expect.stringMatching(/^info connected datagram sockets closed/),
    expect.stringMatching(/^warn connected datagram sockets keep/),
    expect.stringMatching(/^error .*\/run\/netns\/x/),
  ]);
  expect(sweep.kept).toBe(3);
  sweep.look();
  await end();
  expect(sweep.kept).toBe(3);
  sweep.start();
  await end();
  expect(sweep.kept).toBe(0);
});
