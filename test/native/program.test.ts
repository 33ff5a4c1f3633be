// Owns the proof that programs can be run with input of our own, pinned and measured.

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createLab, type Lab } from "../../lab/lab.js";
import { descriptors, loadObject, native, pack, runScript, thrownBy } from "./support.js";

const hooks = loadObject("hooks");
let lab: Lab;
beforeAll(async () => {
  lab = await createLab();
});
afterAll(() => {
  lab.remove();
  hooks.close();
});

const xdpPass = 2;
const xdpTransmit = 3;
const afInet = 2;

/** struct bpf_sk_lookup: a SYN from 10.0.0.1:4000 to 10.0.0.2 at `port`. */
function lookupContext(port: number): Buffer {
  const context = Buffer.alloc(72);
  context.writeUInt32LE(afInet, 8);
  context.writeUInt32LE(6, 12);
  context.set([10, 0, 0, 1], 16);
  context.writeUInt16BE(4000, 36);
  context.set([10, 0, 0, 2], 40);
  context.writeUInt32LE(port, 60);
  return context;
}

describe("a program", () => {
  it("knows itself", () => {
    const { info } = hooks.program("xdp_count");
    expect(info).toMatchObject({ type: 6, name: "xdp_count", tag: expect.stringMatching(/^[0-9a-f]{16}$/) });
    expect(info.id).toBeGreaterThan(0);
    expect(info.verifiedInstructions).toBeGreaterThan(5);
    expect(typeof info.runTimeNs).toBe("bigint");
    expect(info.skippedRuns).toBe(0n);
  });

  it("is found by its id as long as there is one", () => {
    const { info } = hooks.program("xdp_count");
    const found = native.openProgram(info.id);
    expect(found.info).toEqual(info);
    found.close();
    expect(thrownBy(() => native.openProgram(0x7fff_ffff))).toMatchObject({ code: "ENOENT" });
  });

  it("runs on a packet and gives it back changed", () => {
    const data = Buffer.from(Array.from({ length: 64 }, (_, i) => i));
    const result = hooks.program("xdp_edit").testRun({ data });
    expect(result.returnValue).toBe(xdpTransmit);
    expect(result.data).toEqual(Buffer.concat([Buffer.from([0xab]), data.subarray(1, 60)]));
    expect(data[0]).toBe(0);
  });

  it("takes and returns a context where the type has one", () => {
    const context = Buffer.alloc(24);
    context.writeUInt32LE(64, 4);
    const result = hooks.program("xdp_count").testRun({ data: Buffer.alloc(64), context });
    expect(result.returnValue).toBe(xdpPass);
    expect(result.context.length).toBe(24);
  });

  it("runs as often as asked while signals come, which would end the loop early", async () => {
    // A profiler's: five thousand a second to this thread.
    const noise = ["--cpu-prof", "--cpu-prof-interval", "200", "--cpu-prof-dir", lab.directory];
    const { stdout, stderr, code } = await runScript(
      `const hooks = load("hooks");
       hooks.program("xdp_count").testRun({ data: Buffer.alloc(64), repeat: 3_000_000 });
       console.log(hooks.map("packets").lookup(Buffer.alloc(4)).readBigUInt64LE());`,
      noise,
    );
    expect({ stdout, stderr, code }).toEqual({ stdout: "3000000n\n", stderr: "", code: 0 });
  });

  it("runs as often as asked and says how long a run took", () => {
    const packets = hooks.map("packets");
    packets.update(pack(4, 0), pack(8, 0));
    const result = hooks.program("xdp_count").testRun({ data: Buffer.alloc(64), repeat: 1000 });
    expect(packets.lookup(pack(4, 0))).toEqual(pack(8, 1000));
    expect(result.durationNs).toBeGreaterThan(0);
  });

  it("decides a socket lookup", () => {
    const program = hooks.program("lookup_drop_81");
    expect(program.testRun({ context: lookupContext(80) }).returnValue).toBe(1);
    expect(program.testRun({ context: lookupContext(81), repeat: 10 }).returnValue).toBe(0);
    expect(program.testRun({ context: lookupContext(80) }).context.length).toBe(72);
    expect(thrownBy(() => program.testRun({})).code).toBe("EINVAL");
    expect(thrownBy(() => program.testRun({ context: lookupContext(80), data: Buffer.alloc(9) })).code).toBe(
      "EINVAL",
    );
  });

  it("says when the room for the packet is too small, and when the kernel cannot run it", () => {
    const program = hooks.program("xdp_count");
    const error = thrownBy(() => program.testRun({ data: Buffer.alloc(64), dataOutSize: 10 }));
    expect(error.code).toBe("ENOSPC");
    expect(error.message).toContain("program 'xdp_count': testRun");
    expect(thrownBy(() => program.testRun({ data: Buffer.alloc(3) })).code).toBe("EINVAL");
    expect(thrownBy(() => hooks.program("connect_record").testRun({})).code).toBe("ENOTSUPP");
  });

  it("checks its arguments", () => {
    const program = hooks.program("xdp_count");
    expect(() => program.testRun(1 as never)).toThrow(TypeError);
    expect(() => program.testRun({ data: "x" as never })).toThrow("data must be a Uint8Array");
    expect(() => program.testRun({ context: [] as never })).toThrow("context must be a Uint8Array");
    expect(() => program.testRun({ repeat: 0 })).toThrow("repeat must be");
    expect(() => program.testRun({ repeat: -1 })).toThrow(RangeError);
    expect(() => program.testRun({ repeat: 2 ** 31 })).toThrow(RangeError);
    const failing = {
      get repeat(): number {
        throw new Error("from the getter");
      },
    };
    expect(() => program.testRun(failing)).toThrow("from the getter");
    const closing = {
      get data(): Uint8Array {
        program.close();
        return Buffer.alloc(64);
      },
    };
    expect(thrownBy(() => program.testRun(closing)).code).toBe("EBADF");
  });

  it("counts time and runs while statistics are on", () => {
    const program = loadObject("hooks").program("xdp_count");
    const run = () => program.testRun({ data: Buffer.alloc(64), repeat: 100 });
    const stats = native.enableStats();
    run();
    const { runCount, runTimeNs } = program.info;
    expect(runCount).toBeGreaterThanOrEqual(100n);
    expect(runTimeNs).toBeGreaterThan(0n);
    stats.close();
    stats.close();
    run();
    expect(program.info.runCount).toBe(runCount);
  });

  it("can be pinned and opened again", () => {
    const path = `${lab.bpffs}/program`;
    const program = hooks.program("xdp_count");
    program.pin(path);
    expect(thrownBy(() => program.pin(path)).code).toBe("EEXIST");
    expect(thrownBy(() => program.pin(`${lab.directory}/elsewhere`)).errno).toBeGreaterThan(0);
    const again = native.openPinnedProgram(path);
    expect(again.info.id).toBe(program.info.id);
    program.close();
    expect(again.testRun({ data: Buffer.alloc(64) }).returnValue).toBe(xdpPass);
    again.close();
    for (const action of [() => again.info, () => again.pin(path), () => again.testRun({})]) {
      expect(thrownBy(action).code).toBe("EBADF");
    }
  });

  it("shares its bpffs with maps without mixing them up", () => {
    const before = descriptors();
    const program = hooks.program("xdp_count");
    const map = hooks.map("packets");
    program.pin(`${lab.bpffs}/a-program`);
    map.pin(`${lab.bpffs}/a-map`);
    const reopened = native.openPinnedMap(`${lab.bpffs}/a-map`);
    expect(reopened.info).toEqual(map.info);
    expect(thrownBy(() => map.pin(`${lab.bpffs}/a-map`)).code).toBe("EEXIST");
    const mistakes = [
      () => native.openPinnedMap(`${lab.bpffs}/a-program`),
      () => native.openPinnedProgram(`${lab.bpffs}/a-map`),
      () => native.openPinnedLink(`${lab.bpffs}/a-map`),
    ];
    for (const mistake of mistakes) {
      const error = thrownBy(mistake);
      expect(error.code).toBe("EINVAL");
      expect(error.message).toContain("something else is pinned there");
    }
    for (const open of [native.openPinnedMap, native.openPinnedProgram, native.openPinnedLink]) {
      expect(thrownBy(() => open(`${lab.bpffs}/nothing`)).code).toBe("ENOENT");
      expect(thrownBy(() => open("/etc/passwd")).errno).toBeGreaterThan(0);
      expect(() => open(1 as never)).toThrow(TypeError);
    }
    program.close();
    map.close();
    reopened.close();
    expect(descriptors()).toEqual(before);
  });
});
