// Owns the proof that a workload has the fields that it was made of, whatever form it keeps them in.

import { isDeepStrictEqual } from "node:util";
import { describe, expect, it } from "vitest";
import { pod } from "./test-samples.js";
import { Workload } from "./workload.js";

describe("a workload", () => {
  it.each([
    ["the end of its uid", "cluster//Pod/default/web", "web"],
    ["all of its uid", "web", "web"],
    ["another text", "cluster//Pod/default/web", "api"],
    ["nothing", "cluster//Pod/default/web", ""],
  ])("has a name that is %s", (_, uid, name) => {
    const workload = pod("web").with({ uid, name });
    expect([workload.uid, workload.name, workload.fields().name]).toEqual([uid, name, name]);
  });

  it.each([[[]], [["10.0.0.1"]], [["10.0.0.1", "fd00::1"]]])("has the addresses %j", (addresses) => {
    const workload = pod("web", { addresses });
    expect([workload.addresses, workload.fields().addresses]).toEqual([addresses, addresses]);
  });

  it("is another one for any field that differs, and the same for none", () => {
    const fields = pod("web", { addresses: ["10.0.0.1"] }).fields();
    expect(isDeepStrictEqual(Workload.of(fields), Workload.of({ ...fields }))).toBe(true);
    const other = pod("api", { namespace: "n", network: "m", node: "o", status: "UNHEALTHY" }).fields();
    for (const key of ["uid", "name", "namespace", "network", "node", "status"] as const)
      expect(isDeepStrictEqual(Workload.of(fields), Workload.of({ ...fields, [key]: other[key] }))).toBe(
        false,
      );
    for (const addresses of [[], ["10.9.9.9"], [...fields.addresses, "10.9.9.9"]])
      expect(isDeepStrictEqual(Workload.of(fields), Workload.of({ ...fields, addresses }))).toBe(false);
  });

  it("takes other fields, and keeps the rest", () => {
    const web = pod("web");
    expect(web.with({ serviceAccount: "api" }).fields()).toEqual({ ...web.fields(), serviceAccount: "api" });
  });
});
