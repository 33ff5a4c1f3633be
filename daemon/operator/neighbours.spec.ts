// Owns the proof of what is said of neighbours. That they are found is test/netns/beside-others.test.ts.

import { expect, it } from "vitest";
import { neighbourWarnings } from "./neighbours.js";

/** What is said where programs of these names are attached, the first of them weft's own. */
const said = (names: readonly string[], mesh?: string) =>
  neighbourWarnings({ mesh: () => mesh, programs: () => names.map((name, id) => ({ id, name })) }, [
    { link: { id: 1, type: 3, attachType: 10, programId: 0 } },
    { link: undefined },
  ]);

it("is nothing where nobody else is", () => {
  expect(said(["weft_connect4"])).toEqual([]);
});

it("is a sentence for each kind", () => {
  const names = ["weft_connect4", "cil_sock4_conne", "weft_connect4", "cil_sock6_sendm"];
  expect(said(names, "Kmesh is on this node: x")).toEqual([
    "Kmesh is on this node: x; it and weft take the same connections",
    expect.stringMatching(/^cil_sock4_conne, cil_sock6_sendm: Cilium chooses .*hostNamespaceOnly=true/),
    expect.stringMatching(/^weft_connect4: programs of others/),
  ]);
});

it("is said of Kmesh's programs as of a mesh, and not again as of a stranger's", () => {
  expect(said(["weft_connect4", "cgroup_connect4"], "Kmesh is on this node: y")).toHaveLength(1);
});
