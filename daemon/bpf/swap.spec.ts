// Owns the proof that a swap is whole or has not been, whichever hook refuses. Doubles in place of the kernel's
// links: those refuse on demand. test/netns/swap.test.ts does the same where a real hook is full.

import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { BpfLink, BpfMap, BpfProgram, Native } from "../../native/index.js";
import type { Generation } from "./generation.js";
import { CGROUP_HOOKS, EARLY_PROGRAMS, GUARD_PROGRAM, MAP_HOOKS, TRACE_HOOKS } from "./hooks.js";
import { maps, WaypointProtocol } from "./maps.gen.js";
import { Pins } from "./pins.js";
import { changeSettings, readSettings } from "./settings.js";
import { swapIn } from "./swap.js";
import { TestMap } from "./test-map.js";

type TestProgram = BpfProgram & { readonly name: string };

/** A kernel of links and arrays of one program; a pin is a file with the name of what it holds. */
class TestKernel {
  readonly pins: Pins;
  readonly cgroup: string;
  /** Link to the program behind it. */
  readonly links = new Map<string, string>();
  /** Links whose cgroup or namespace has ended. */
  readonly ended = new Set<string>();
  /** Array to the program in it. */
  readonly called = new Map<string, string>();
  /** Map of sockets to the program on it. */
  readonly hanging = new Map<unknown, string>();
  /** What was done, in order. */
  readonly steps: string[] = [];
  refuses: string | undefined;
  /** A link that cannot be detached. */
  clings: string | undefined;
  readonly pending = { info: { name: "pending" } } as BpfMap;
  readonly kicks = { info: { name: "kicks" } } as BpfMap;
  readonly settings = new TestMap("settings", 1);
  #made = 0;

  constructor(directory: string) {
    this.pins = new Pins(directory);
    this.pins.prepare();
    this.cgroup = directory;
    const { key, value } = maps.settings;
    this.settings.update(key.encode(0), new Uint8Array(value.size));
    changeSettings(this.settings, { waypointProtocol: WaypointProtocol.PROXY_V2 });
  }

  readonly native = {
    openPinnedLink: (path: string) => this.#link(readFileSync(path, "utf8")),
    openPinnedProgram: (path: string) => program(readFileSync(path, "utf8")),
    linkCgroup: (made: TestProgram) => {
      const id = `link-${this.#made++}`;
      this.links.set(id, this.#step("link", made.name));
      return this.#link(id);
    },
    linkTracepoint: (made: TestProgram) => {
      const id = `link-${this.#made++}`;
      this.links.set(id, this.#step("link", made.name));
      return { ...this.#link(id), close: () => void (this.#isPinned(id) || this.links.delete(id)) };
    },
    loadProgram: () => program("stub"),
    attachToMap: (made: TestProgram, map: BpfMap) => void this.hanging.set(map, made.name),
  } as unknown as Native;

  generation(number: number): Generation {
    const others = [...TRACE_HOOKS.map(({ stub }) => stub), ...MAP_HOOKS.map(({ program }) => program)];
    const programs = new Map([...names, ...others].map((name) => [name, program(`${name}-${number}`)]));
    this.pins.makeGeneration(number);
    for (const [name, made] of programs) writeFileSync(this.pins.generation(number, name), made.name);
    return { number, maps: {} as Generation["maps"], programs, lacks: [], close: () => undefined };
  }

  swap(generation: Generation, former: number | undefined, newStubs?: ReadonlySet<bigint>) {
    const { native, pins, cgroup } = this;
    const maps = {
      guards: this.#array("guards"),
      early_tc: this.#array("early_tc"),
      early_xdp: this.#array("early_xdp"),
      on_destroy: this.#array("on_destroy"),
      on_reset: this.#array("on_reset"),
      on_drop: this.#array("on_drop"),
      ...{ settings: this.settings, guarded: {} as BpfMap, disabled: {} as BpfMap },
      pending: this.pending,
      kicks: this.kicks,
    };
    return swapIn({ native, pins, cgroup, maps, former, newStubs }, generation);
  }

  /** Every hook with the program behind it. */
  hooks(): Record<string, string | undefined> {
    const cgroup = CGROUP_HOOKS.map(({ hook }) => {
      const pin = statSync(this.pins.hook(hook), { throwIfNoEntry: false });
      return [hook, pin && this.links.get(readFileSync(this.pins.hook(hook), "utf8"))] as const;
    });
    const traced = TRACE_HOOKS.map(({ hook, array }) => [hook, this.called.get(array)] as const);
    const early = EARLY.map(({ array }) => [array, this.called.get(array)] as const);
    return { guard: this.called.get("guards"), ...Object.fromEntries([...early, ...cgroup, ...traced]) };
  }

  #array(name: string): BpfMap {
    return {
      updateProgram: (_: Uint8Array, called: TestProgram) => {
        this.called.set(name, this.#step("call", called.name));
      },
      delete: () => this.called.delete(name),
    } as unknown as BpfMap;
  }

  #isPinned(id: string): boolean {
    return this.pins.links().some((path) => readFileSync(path, "utf8") === id);
  }

  #link(id: string): BpfLink {
    return {
      info: {
        id: 0,
        type: 0,
        programId: 0,
        attachType: 0,
        cgroupId: this.ended.has(id) ? 0n : statSync(this.cgroup, { bigint: true }).ino,
        netnsInode: 7,
      },
      update: (next: TestProgram) => {
        if (this.ended.has(id)) throw Object.assign(new Error("gone"), { code: "ENOLINK", errno: 67 });
        this.links.set(id, this.#step("update", next.name));
      },
      detach: () => {
        if (id === this.clings) throw Object.assign(new Error("no memory"), { code: "ENOMEM", errno: 12 });
        this.links.delete(id);
      },
      pin: (path) => writeFileSync(path, id),
      close: () => undefined,
    };
  }

  #step(what: string, name: string): string {
    if (name === this.refuses) throw Object.assign(new Error("no room"), { code: "E2BIG", errno: 7 });
    this.steps.push(`${what} ${name}`);
    return name;
  }
}

function program(name: string): TestProgram {
  return { name, close: () => undefined } as unknown as TestProgram;
}

let directory: string;
let kernel: TestKernel;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "weft-swap-"));
  kernel = new TestKernel(directory);
});
afterEach(() => rmSync(directory, { recursive: true }));

const EARLY = Object.values(EARLY_PROGRAMS);
const names = [GUARD_PROGRAM, ...[...EARLY, ...CGROUP_HOOKS, ...TRACE_HOOKS].map((hook) => hook.program)];

describe("a swap", () => {
  it("puts what judges in force first, and what routes after", () => {
    const first = kernel.generation(1);
    expect(kernel.swap(first, undefined).ok).toBe(true);
    kernel.steps.length = 0;
    expect(kernel.swap(kernel.generation(2), 1).ok).toBe(true);
    expect(kernel.steps.slice(0, 4)).toEqual([
      "call weft_guard-2",
      "call weft_forward-2",
      "call weft_xdp-2",
      "update weft_sockops-2",
    ]);
    expect(Object.values(kernel.hooks())).toEqual(names.map((name) => `${name}-2`));
  });

  it("leaves the stub of a tracepoint where it is, and calls another program", () => {
    kernel.swap(kernel.generation(1), undefined);
    kernel.swap(kernel.generation(2), 1);
    for (const { hook, stub, array, program } of TRACE_HOOKS) {
      expect(kernel.links.get(readFileSync(kernel.pins.hook(hook), "utf8"))).toBe(`${stub}-1`);
      expect(kernel.called.get(array)).toBe(`${program}-2`);
    }
  });

  it("hangs the programs on the maps of sockets, and the former ones again when a hook refuses", () => {
    kernel.swap(kernel.generation(1), undefined);
    expect([...kernel.hanging.values()]).toEqual(["weft_push_header-1", "weft_kick-1"]);
    kernel.refuses = "weft_sockops-2";
    kernel.swap(kernel.generation(2), 1);
    expect([...kernel.hanging.values()]).toEqual(["weft_push_header-1", "weft_kick-1"]);
    kernel.refuses = undefined;
    kernel.swap(kernel.generation(3), 1);
    expect([...kernel.hanging.values()]).toEqual(["weft_push_header-3", "weft_kick-3"]);
  });

  it("to a generation without programs for tracepoints leaves the former ones there", () => {
    kernel.swap(kernel.generation(1), undefined);
    const without = kernel.generation(2);
    const programs = new Map([...without.programs].filter(([name]) => !/destroy|reset|drop/.test(name)));
    expect(kernel.swap({ ...without, programs }, 1).ok).toBe(true);
    expect(TRACE_HOOKS.map(({ array }) => kernel.called.get(array))).toEqual([
      "weft_destroy-1",
      "weft_reset-1",
      "weft_drop-1",
    ]);
  });

  it("to a generation without an early hook leaves no link of it that would call the former one", () => {
    kernel.swap(kernel.generation(1), undefined);
    kernel.links.set("tc", "stub");
    kernel.links.set("xdp", "stub");
    writeFileSync(kernel.pins.early("tc", 7n, 2), "tc");
    writeFileSync(kernel.pins.early("xdp-native", 7n, 2), "xdp");
    const without = kernel.generation(2);
    const programs = new Map([...without.programs].filter(([name]) => name !== "weft_forward"));
    expect(kernel.swap({ ...without, programs }, 1).ok).toBe(true);
    expect([kernel.called.get("early_tc"), kernel.called.get("early_xdp")]).toEqual([
      undefined,
      "weft_xdp-2",
    ]);
    expect([kernel.links.has("tc"), kernel.pins.earlies().map(({ kind }) => kind)]).toEqual([
      false,
      ["xdp-native"],
    ]);
  });

  it("is whole although what goes with it cannot be taken away: each is told, and the others go", () => {
    kernel.swap(kernel.generation(1), undefined);
    for (const [cookie, link] of [
      [7n, "tc-7"],
      [8n, "tc-8"],
    ] as const) {
      kernel.links.set(link, "stub");
      writeFileSync(kernel.pins.early("tc", cookie, 2), link);
    }
    kernel.clings = "tc-7";
    const without = kernel.generation(2);
    const programs = new Map([...without.programs].filter(([name]) => name !== "weft_forward"));
    expect(kernel.swap({ ...without, programs }, 1)).toMatchObject({
      ok: true,
      value: [{ code: "BPF_DETACH_FAILED", message: expect.stringContaining("an early hook") }],
    });
    // The link that stays calls nothing any more.
    expect([kernel.called.get("early_tc"), kernel.links.has("tc-7"), kernel.links.has("tc-8")]).toEqual([
      undefined,
      true,
      false,
    ]);
  });

  it("is whole although the links of an early hook cannot be listed: what they call goes all the same", () => {
    kernel.swap(kernel.generation(1), undefined);
    kernel.pins.earlies = () => {
      throw Object.assign(new Error("too many open files"), { code: "EMFILE" });
    };
    const without = kernel.generation(2);
    const programs = new Map([...without.programs].filter(([name]) => name !== "weft_forward"));
    expect(kernel.swap({ ...without, programs }, 1)).toMatchObject({
      ok: true,
      value: [{ code: "BPF_DETACH_FAILED" }],
    });
    expect(kernel.called.get("early_tc")).toBeUndefined();
  });

  it("is whole although the hooks of a cgroup that was left cannot be taken away", () => {
    kernel.swap(kernel.generation(1), undefined);
    // Links that are of no cgroup are of another than this one.
    for (const id of kernel.links.keys()) kernel.ended.add(id);
    const [{ hook, program: name } = { hook: "", program: "" }] = CGROUP_HOOKS;
    kernel.clings = readFileSync(kernel.pins.hook(hook), "utf8");
    expect(kernel.swap(kernel.generation(2), 1)).toMatchObject({
      ok: true,
      value: [{ code: "BPF_DETACH_FAILED", message: expect.stringContaining("the cgroup before") }],
    });
    expect(kernel.hooks()[hook]).toBe(`${name}-2`);
    expect([...kernel.links.values()].filter((behind) => behind.endsWith("-1")).length).toBe(
      1 + TRACE_HOOKS.length,
    );
  });

  it("that is refused leaves the links of an early hook which the generation is without", () => {
    kernel.swap(kernel.generation(1), undefined);
    kernel.links.set("tc", "stub");
    writeFileSync(kernel.pins.early("tc", 7n, 2), "tc");
    const without = kernel.generation(2);
    const programs = new Map([...without.programs].filter(([name]) => name !== "weft_forward"));
    kernel.refuses = "weft_peername6-2";
    expect(kernel.swap({ ...without, programs }, 1)).toMatchObject({ ok: false });
    expect([kernel.links.has("tc"), kernel.called.get("early_tc")]).toEqual([true, "weft_forward-1"]);
  });

  it.each(names)("that %s refuses leaves every hook as it was", (name) => {
    kernel.swap(kernel.generation(1), undefined);
    kernel.refuses = `${name}-2`;
    const swapped = kernel.swap(kernel.generation(2), 1);
    expect(swapped).toMatchObject({ ok: false, error: { code: "BPF_ATTACH_FAILED" } });
    expect(Object.values(kernel.hooks())).toEqual(names.map((each) => `${each}-1`));
  });

  /** Without what speaks to waypoints. */
  const speechless = (number: number): Generation => {
    const made = kernel.generation(number);
    const speaks = new Set<string>(MAP_HOOKS.map(({ program }) => program));
    return { ...made, programs: new Map([...made.programs].filter(([name]) => !speaks.has(name))) };
  };

  it("tells hooks what the generation is without, before and after", () => {
    expect(kernel.swap(speechless(1), undefined).ok).toBe(true);
    expect(readSettings(kernel.settings)).toMatchObject({
      waypointProtocol: WaypointProtocol.NONE,
      ...{ endsTraced: 1, dropsTraced: 1 },
    });
  });

  it.each([1, 2])("whose word to the hooks is refused, the %s., leaves everything as it was", (nth) => {
    kernel.swap(kernel.generation(1), undefined);
    const before = readSettings(kernel.settings);
    let left = nth;
    kernel.settings.refuse = () => (--left === 0 ? "ENOMEM" : undefined);
    expect(kernel.swap(speechless(2), 1)).toMatchObject({
      ok: false,
      error: { code: "BPF_MAP_WRITE_FAILED", message: expect.stringContaining("there is no memory") },
    });
    expect(Object.values(kernel.hooks())).toEqual(names.map((each) => `${each}-1`));
    expect(readSettings(kernel.settings)).toEqual(before);
  });

  it.each(names)("that %s refuses at the first start leaves nothing", (name) => {
    kernel.refuses = `${name}-1`;
    expect(kernel.swap(kernel.generation(1), undefined).ok).toBe(false);
    expect(Object.values(kernel.hooks())).toEqual(names.map(() => undefined));
    expect(kernel.links.size).toBe(0);
  });

  it("goes on when a pod's namespace ends meanwhile: its link goes, others get their stubs", () => {
    kernel.swap(kernel.generation(1), undefined);
    for (const cookie of [7n, 8n]) {
      kernel.links.set(`pod-${cookie}`, "old");
      writeFileSync(kernel.pins.guard(cookie), `pod-${cookie}`);
    }
    // It says that it lives, and does not when it is written to.
    kernel.ended.add("pod-7");
    expect(kernel.swap(kernel.generation(2), 1, new Set([7n, 8n])).ok).toBe(true);
    expect(kernel.pins.guards()).toEqual([8n]);
    expect(kernel.links.get("pod-8")).toBe("stub");
  });

  it("ends the guard of a pod that nobody has enrolled", () => {
    kernel.links.set("pod-9", "old");
    writeFileSync(kernel.pins.guard(9n), "pod-9");
    expect(kernel.swap(kernel.generation(1), undefined, new Set()).ok).toBe(true);
    expect([kernel.pins.guards(), kernel.links.has("pod-9")]).toEqual([[], false]);
  });
});
