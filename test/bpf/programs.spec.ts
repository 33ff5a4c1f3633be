// Owns the proof that the built objects are those the daemon was written for and pass this kernel's verifier.
// Knows no decision; other kernels and compilers are the matter of test/kernels.

import { join } from "node:path";
import { expect, it } from "vitest";
import { packageRoot } from "../../daemon/base/package-root.js";
import {
  BYTE_COUNT,
  CGROUP_HOOKS,
  CONNECTION_SWEEP,
  DATAGRAM_SWEEP,
  EARLY_PROGRAMS,
  EXPLAIN_AUTHZ,
  EXPLAIN_ROUTE,
  GUARD_PROGRAM,
  JOINED_OBJECTS,
  JOINT_OBJECT,
  LIST_CONNECTIONS,
  MAP_HOOKS,
  OWING_SWEEP,
  TRACE_HOOKS,
} from "../../daemon/bpf/hooks.js";
import { maps, ringBuffers, socketStorages } from "../../daemon/bpf/maps.gen.js";
import { openSmall } from "./fixture.js";
import { faultsOf, loadObjects } from "./verifier.js";

const build = join(packageRoot(), "build", "bpf");

it("every program of every hook loads, within its budget of verified instructions", () => {
  const reports = loadObjects(build);
  expect(reports.flatMap(faultsOf)).toEqual([]);
  const programsOf = (wanted: (object: string) => boolean) =>
    reports
      .filter(({ object }) => wanted(object))
      .flatMap((report) => Object.keys("instructions" in report ? report.instructions : {}))
      .sort();
  const joint = `${JOINT_OBJECT}.o`;
  const expected = [
    ...CGROUP_HOOKS.map(({ program }) => program),
    ...TRACE_HOOKS.flatMap(({ program, stub }) => [program, stub]),
    ...Object.values(EARLY_PROGRAMS).map(({ program }) => program),
    ...MAP_HOOKS.map(({ program }) => program),
    GUARD_PROGRAM,
    CONNECTION_SWEEP,
    DATAGRAM_SWEEP,
    BYTE_COUNT,
    OWING_SWEEP,
    EXPLAIN_AUTHZ,
    EXPLAIN_ROUTE,
    LIST_CONNECTIONS,
  ];
  expect(programsOf((object) => object !== joint)).toEqual(expected.sort());
  expect(programsOf((object) => object === joint)).toEqual(
    programsOf((object) => JOINED_OBJECTS.some((name) => object === `${name}.o`)),
  );
});

it("the objects have the maps that the daemon was generated for", () => {
  const object = openSmall(join(build, "guard.o"));
  try {
    object.load();
    const known = [maps, ringBuffers, socketStorages].flatMap((generated) => Object.keys(generated));
    expect([...object.mapNames].sort()).toEqual(known.sort());
    for (const { name, key, value, flags } of Object.values(maps)) {
      const { info } = object.map(name);
      expect({ name: info.name, key: info.keySize, value: info.valueSize, flags: info.flags }).toEqual({
        name,
        key: key.size,
        value: value.size,
        flags,
      });
    }
  } finally {
    object.close();
  }
});
