// Owns the proof that bare instructions load, reach their maps, and that programs can be put into arrays and called.

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createLab, type Lab } from "../../lab/lab.js";
import { AttachType, type RawProgram } from "../../native/index.js";
import { loadObject, native, pack, runScript, thrownBy } from "./support.js";

const hooks = loadObject("hooks");
const mains = hooks.map("mains");
let lab: Lab;
beforeAll(async () => {
  lab = await createLab();
});
afterAll(() => {
  hooks.close();
  lab.remove();
});

const skLookup = 30;
const drop = 0;
const pass = 1;

/** One instruction: code, destination and source register, offset, immediate. */
function instruction(
  code: number,
  destination: number,
  source: number,
  offset: number,
  immediate: number,
): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeUInt8(code, 0);
  bytes.writeUInt8((source << 4) | destination, 1);
  bytes.writeInt16LE(offset, 2);
  bytes.writeInt32LE(immediate, 4);
  return bytes;
}

const setR0 = (value: number) => instruction(0xb7, 0, 0, 0, value);
const exit = instruction(0x95, 0, 0, 0, 0);

/** Tail calls the program at index 1 of `mains`; drops when there is none. */
const stub: RawProgram = {
  type: skLookup,
  attachType: AttachType.skLookup,
  name: "stub",
  instructions: Buffer.concat([
    instruction(0x18, 2, 0, 0, 0), // r2 = the array
    instruction(0, 0, 0, 0, 0),
    instruction(0xb7, 3, 0, 0, 1), // r3 = 1
    instruction(0x85, 0, 0, 0, 12), // bpf_tail_call(r1, r2, r3)
    setR0(drop),
    exit,
  ]),
  maps: [{ instruction: 0, map: mains }],
};

function verdict(name: string, instructions: Buffer): RawProgram {
  return { type: skLookup, attachType: AttachType.skLookup, name, instructions };
}

/** struct bpf_sk_lookup of an IPv4 TCP connection. */
const context = Buffer.alloc(72);
context.writeUInt32LE(2, 8);
context.writeUInt32LE(6, 12);

describe("bare instructions", () => {
  it("load and run", () => {
    const program = native.loadProgram(verdict("nothing_else", Buffer.concat([setR0(pass), exit])));
    expect(program.info).toMatchObject({ type: skLookup, name: "nothing_else", verifiedInstructions: 2 });
    expect(program.testRun({ context }).returnValue).toBe(pass);
    program.close();
  });

  it("reach the program that an array holds, and drop while it holds none", () => {
    const program = native.loadProgram(stub);
    const judge = () => program.testRun({ context }).returnValue;
    expect(judge()).toBe(drop);
    const lets = native.loadProgram(verdict("lets", Buffer.concat([setR0(pass), exit])));
    mains.updateProgram(pack(4, 1), lets);
    expect(mains.lookup(pack(4, 1))).toEqual(pack(4, lets.info.id));
    lets.close();
    expect(judge()).toBe(pass);
    mains.updateProgram(pack(4, 1), hooks.program("lookup_drop"));
    expect(judge()).toBe(drop);
    mains.updateProgram(pack(4, 1), hooks.program("lookup_pass"));
    expect(judge()).toBe(pass);
    expect(mains.delete(pack(4, 1))).toBe(true);
    expect(judge()).toBe(drop);
    program.close();
  });

  it("that the verifier refuses come back with its log", () => {
    const error = thrownBy(() => native.loadProgram(verdict("no_verdict", exit)));
    expect(error.message).toMatch(/^program 'no_verdict' refused by the verifier: .*R0 !read_ok: EACCES/);
    expect(error.code).toBe("EACCES");
    expect(error.verifierLog).toContain("R0 !read_ok");
    expect(Object.keys(error)).not.toContain("verifierLog");
  });

  it("load while signals come faster than the verifier is done with them", async () => {
    // A profiler's: five thousand a second to this thread.
    const noise = ["--cpu-prof", "--cpu-prof-interval", "200", "--cpu-prof-dir", lab.directory];
    const { stderr, code } = await runScript(
      `const step = Buffer.from("b700000000000000", "hex"); // r0 = 0
       const steps = Buffer.concat([...Array(200_000).fill(step), Buffer.from("9500000000000000", "hex")]);
       const slow = { type: ${skLookup}, attachType: ${AttachType.skLookup}, name: "slow", instructions: steps };
       for (let i = 0; i < 5; i++) native.loadProgram(slow).close();
       for (let i = 0; i < 20; i++) load("hooks").close();`,
      noise,
    );
    expect({ stderr, code }).toEqual({ stderr: "", code: 0 });
  });

  it("of a kind that the kernel does not know are refused without one", () => {
    const error = thrownBy(() => native.loadProgram({ ...verdict("odd", exit), type: 9999 }));
    expect(error).toMatchObject({ code: "EINVAL" });
    expect(error.verifierLog).toBeUndefined();
  });

  it("are checked before the kernel sees them", () => {
    const good = verdict("good", Buffer.concat([setR0(pass), exit]));
    const throwing = (wrong: object) =>
      thrownBy(() => native.loadProgram({ ...good, ...wrong } as RawProgram));
    expect(throwing({ instructions: Buffer.alloc(0) })).toBeInstanceOf(RangeError);
    expect(throwing({ instructions: Buffer.alloc(12) })).toBeInstanceOf(RangeError);
    expect(throwing({ instructions: "mov" })).toBeInstanceOf(TypeError);
    expect(throwing({ name: "sixteen_letters_" })).toBeInstanceOf(RangeError);
    expect(throwing({ name: undefined })).toBeInstanceOf(TypeError);
    expect(throwing({ type: -1 })).toBeInstanceOf(RangeError);
    expect(throwing({ type: undefined })).toBeInstanceOf(TypeError);
    expect(throwing({ maps: {} })).toBeInstanceOf(TypeError);
    expect(throwing({ maps: [{ instruction: 0, map: mains }] })).toBeInstanceOf(RangeError);
    expect(throwing({ maps: [{ instruction: 4294967295, map: mains }] })).toBeInstanceOf(RangeError);
    expect(throwing({ maps: [{ instruction: 0, map: {} }] })).toBeInstanceOf(TypeError);
    expect(throwing({ maps: [1] })).toBeInstanceOf(TypeError);
    expect(thrownBy(() => native.loadProgram(undefined as never))).toBeInstanceOf(TypeError);
  });
});

describe("an array of programs", () => {
  it("takes no other kind of program, and no other map takes programs", () => {
    const other = hooks.program("xdp_count");
    mains.updateProgram(pack(4, 0), hooks.program("lookup_pass"));
    expect(thrownBy(() => mains.updateProgram(pack(4, 1), other)).code).toBe("EINVAL");
    expect(thrownBy(() => mains.updateProgram(pack(4, 2), hooks.program("lookup_pass"))).code).toBe("E2BIG");
    expect(thrownBy(() => mains.updateProgram(pack(8, 0), other))).toBeInstanceOf(RangeError);
    expect(thrownBy(() => mains.updateProgram(pack(4, 0), mains as never))).toBeInstanceOf(TypeError);
    expect(thrownBy(() => hooks.map("packets").updateProgram(pack(4, 0), other)).code).toBe("EINVAL");
    other.close();
    expect(thrownBy(() => mains.updateProgram(pack(4, 0), other)).code).toBe("EBADF");
  });
});
