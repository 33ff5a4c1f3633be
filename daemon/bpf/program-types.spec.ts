// Owns the proof that a kernel which refuses what weft asks for is told of with its consequence.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { expect, it } from "vitest";
import type { BpfProgram, RawProgram } from "../../native/index.js";
import { checkProgramTypes, closingMeans, hasTcx, NEEDED } from "./program-types.js";

const program = { close: () => undefined } as unknown as BpfProgram;

it.each(NEEDED)("$name refused is a failure that names it and what it is for", ({
  name,
  type,
  consequence,
}) => {
  const refused = Object.assign(new Error("load: EPERM (Operation not permitted)"), { code: "EPERM" });
  const native = {
    loadProgram(raw: RawProgram) {
      if (raw.type === type) throw refused;
      return program;
    },
  };
  const checked = checkProgramTypes(native);
  expect(checked).toMatchObject({ ok: false, error: { code: "BPF_TYPE_REFUSED", cause: refused } });
  expect(checked.ok ? "" : checked.error.message).toContain(`of type ${name}, so ${consequence}`);
});

it("are all closed again where nothing is refused", () => {
  let open = 0;
  const close = () => void open--;
  const loadProgram = () => {
    open++;
    return { close } as unknown as BpfProgram;
  };
  expect([checkProgramTypes({ loadProgram }), open]).toEqual([{ ok: true, value: undefined }, 0]);
});

it("whether a kernel has tcx is known by its type information", () => {
  const btf = join(mkdtempSync(join(tmpdir(), "weft-btf-")), "vmlinux");
  writeFileSync(btf, "\0BPF_TCX_INGRESS\0");
  expect([hasTcx("/etc/hostname"), hasTcx(btf)]).toEqual([false, true]);
  rmSync(dirname(btf), { recursive: true });
});

it("how a kernel closes sockets is known by its type information", () => {
  expect(closingMeans("/etc/hostname")).toBe("SOCK_DESTROY");
});
