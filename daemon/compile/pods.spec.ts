import { expect, it } from "vitest";
import { maps } from "../bpf/maps.gen.js";
import { pod } from "../model/test-samples.js";
import { createMesh } from "./test-mesh.js";

it("pods are found by their workloads, while these have names and are enrolled", () => {
  const mesh = createMesh();
  const found = () =>
    [...mesh.kernel.entries()]
      .filter(([map]) => map === "workload_pods")
      .map(([, key, value]) => [
        mesh.compiler.names.workload(maps.workload_pods.key.decode(key))?.name,
        maps.workload_pods.value.decode(value),
      ]);
  const enrolled = (cookie: bigint) => [{ cookie, namespace: "default", name: "a" }];
  mesh.push({ pods: enrolled(7n) });
  expect(found()).toEqual([]);
  mesh.push({ workloads: [pod("a"), pod("b")] });
  expect(found()).toEqual([["a", 7n]]);
  mesh.push({ pods: enrolled(8n) });
  expect(found()).toEqual([["a", 8n]]);
  mesh.push({ removedAddresses: [pod("a").uid] });
  expect(found()).toEqual([]);
});
