// Owns the proof of how pods come, move and end, with a double of the kernel's side.
// test/netns/enrolment.test.ts does the same with real namespaces.

import { pino } from "pino";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { bpfAttachFailed, failed, ok, podNetnsMissing, podNetnsOfHost, type Result } from "../base/errors.js";
import type { Enrollment, PodPath } from "../bpf/enrollment.js";
import type { EnrolledPod } from "../model/update.js";
import type { PodKernel } from "./kernel.js";
import { Pods } from "./pods.js";

/** Namespaces are numbers: the cookie of namespace 7 is 7n, its inode 7. */
class TestKernel implements PodKernel {
  /** Path to namespace. */
  readonly paths = new Map<string, number>();
  /** Guarded namespaces. */
  readonly guarded = new Set<number>();
  readonly rows = new Map<bigint, Enrollment>();
  refuses = false;
  /** What was looked into, look by look; undefined: all. */
  readonly surveys: (ReadonlySet<bigint> | undefined)[] = [];

  enrollments(): Enrollment[] {
    return [...this.rows.values()];
  }

  enroll(pod: PodPath): Result<Enrollment> {
    const namespace = this.paths.get(pod.netns);
    const name = `${pod.namespace}/${pod.name}`;
    if (namespace === undefined) return failed(podNetnsMissing(name, pod.netns));
    if (namespace === 1) return failed(podNetnsOfHost(name, pod.netns));
    if (this.refuses) return failed(bpfAttachFailed("guard", pod.netns, new Error("E2BIG")));
    const enrollment = { ...pod, cookie: BigInt(namespace) };
    this.guarded.add(namespace);
    this.rows.set(enrollment.cookie, enrollment);
    return ok(enrollment);
  }

  forget(cookie: bigint): void {
    this.guarded.delete(Number(cookie));
    this.rows.delete(cookie);
  }

  inodeOf(cookie: bigint): number | undefined {
    return this.guarded.has(Number(cookie)) ? Number(cookie) : undefined;
  }

  inodeAt(path: string): number | undefined {
    return this.paths.get(path);
  }

  readonly survey = {
    look: async (only?: ReadonlySet<bigint>): Promise<[]> => {
      this.surveys.push(only);
      return [];
    },
  };
}

const web = { namespace: "shop", name: "web", netns: "/run/netns/web" };
const db = { namespace: "shop", name: "db", netns: "/run/netns/db" };

let kernel: TestKernel;
let pods: Pods;
let told: readonly EnrolledPod[];
let log: string[];
let events: string[];

function start(): void {
  told = [];
  log = [];
  events = [];
  const write = (line: string) => {
    const { pod, msg } = JSON.parse(line) as { pod: string; msg: string };
    log.push(`${pod}: ${msg}`);
  };
  pods = new Pods({
    kernel,
    tell: async (now) => {
      told = now;
    },
    tellEvent: ({ subject, what }) => void events.push(`${subject} ${what}`),
    log: pino({ base: null }, { write }),
  });
}

const states = () => pods.all.map(({ name, state, cookie }) => [name, state, cookie]);

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["performance"] });
  kernel = new TestKernel();
  start();
});
afterEach(() => void vi.useRealTimers());

describe("a namespace that is not there yet", () => {
  it("is pending, said once, and enrolled when it comes", async () => {
    expect(await pods.want(web)).toEqual(ok(undefined));
    for (let i = 0; i < 3; i++) await pods.look();
    expect([states(), told]).toEqual([[["web", "pending", undefined]], []]);
    kernel.paths.set(web.netns, 7);
    await pods.look();
    expect([states(), told]).toEqual([[["web", "enrolled", 7n]], [{ ...web, cookie: 7n }]]);
    expect(log).toEqual([
      "shop/web: pod pending: its network namespace is not there yet",
      "shop/web: pod enrolled",
    ]);
    expect(events).toEqual(["shop/web pending", "shop/web enrolled"]);
  });

  it("is a failure for who asks to have it enrolled now, and nothing stays", async () => {
    expect(await pods.enroll(web)).toMatchObject({ ok: false, error: { code: "POD_NETNS_MISSING" } });
    expect(pods.all).toEqual([]);
  });
});

it("looks into the namespace of what was enrolled, and into all of them at a check", async () => {
  kernel.paths.set(web.netns, 7);
  await pods.want(web);
  expect(kernel.surveys).toEqual([new Set([7n])]);
  await pods.look();
  await pods.unenroll(db.namespace, db.name);
  expect(kernel.surveys).toHaveLength(1);
  await pods.check();
  expect(kernel.surveys.at(-1)).toBe(undefined);
});

describe("a namespace made anew under the same path", () => {
  beforeEach(async () => {
    kernel.paths.set(web.netns, 7);
    await pods.enroll(web);
  });

  it("is enrolled, also where something keeps the old one", async () => {
    kernel.paths.set(web.netns, 8);
    await pods.look();
    expect([states(), [...kernel.guarded]]).toEqual([[["web", "enrolled", 8n]], [8]]);
    expect(log.slice(1)).toEqual([
      "shop/web: pod unenrolled: moved to another network namespace",
      "shop/web: pod enrolled",
    ]);
  });

  it("is waited for once the old one has ended", async () => {
    kernel.paths.delete(web.netns);
    await pods.look();
    expect(states()).toEqual([["web", "enrolled", 7n]]);
    kernel.guarded.delete(7);
    await pods.look();
    expect([states(), told]).toEqual([[["web", "pending", undefined]], []]);
    kernel.paths.set(web.netns, 9);
    await pods.look();
    expect(states()).toEqual([["web", "enrolled", 9n]]);
  });

  it("is found by a daemon that comes later, and one that is gone is forgotten", async () => {
    kernel.paths.set(db.netns, 8);
    await pods.enroll(db);
    kernel.guarded.clear();
    kernel.paths.set(web.netns, 9);
    kernel.paths.delete(db.netns);
    start();
    await pods.restore();
    expect(states()).toEqual([["web", "enrolled", 9n]]);
    expect([...kernel.rows.keys()]).toEqual([9n]);
  });
});

describe("a hook that refuses", () => {
  it("is a failure, is not taken for a guard, and is tried again", async () => {
    kernel.paths.set(web.netns, 7);
    kernel.refuses = true;
    expect(await pods.enroll(web)).toMatchObject({ ok: false, error: { code: "BPF_ATTACH_FAILED" } });
    expect([states(), told, kernel.rows.size]).toEqual([[["web", "failed", undefined]], [], 0]);
    await pods.look();
    kernel.refuses = false;
    await pods.look();
    expect(states()).toEqual([["web", "failed", undefined]]);
    vi.advanceTimersByTime(5_000);
    await pods.look();
    expect(states()).toEqual([["web", "enrolled", 7n]]);
    expect(log).toHaveLength(2);
  });

  it("leaves a pod of that name where it was", async () => {
    kernel.paths.set(web.netns, 7).set("/run/netns/other", 8);
    await pods.enroll(web);
    kernel.refuses = true;
    expect((await pods.enroll({ ...web, netns: "/run/netns/other" })).ok).toBe(false);
    expect([states(), [...kernel.guarded]]).toEqual([[["web", "enrolled", 7n]], [7]]);
  });

  it("or was taken away by somebody is put back", async () => {
    kernel.paths.set(web.netns, 7);
    await pods.enroll(web);
    kernel.guarded.clear();
    await pods.look();
    expect(kernel.guarded.size).toBe(0);
    await pods.check();
    expect([states(), [...kernel.guarded]]).toEqual([[["web", "enrolled", 7n]], [7]]);
  });
});

it("the machine's own namespace is refused for good", async () => {
  kernel.paths.set(web.netns, 1);
  expect(await pods.want(web)).toMatchObject({ ok: false, error: { code: "POD_NETNS_OF_HOST" } });
  expect(pods.all).toEqual([]);
});

it("a namespace belongs to the pod that was named last, and keeps its hook", async () => {
  kernel.paths.set(web.netns, 7).set(db.netns, 7);
  await pods.enroll(web);
  await pods.enroll(db);
  expect([states(), told]).toEqual([[["db", "enrolled", 7n]], [{ ...db, cookie: 7n }]]);
  expect([...kernel.guarded]).toEqual([7]);
  await pods.unenroll("shop", "db");
  expect([states(), told, kernel.guarded.size]).toEqual([[], [], 0]);
  expect(await pods.unenroll("shop", "db")).toMatchObject({ ok: false, error: { code: "POD_UNKNOWN" } });
});
