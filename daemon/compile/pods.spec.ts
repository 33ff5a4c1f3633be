import { expect, it } from "vitest";
import { maps } from "../bpf/maps.gen.js";
import { pod, service } from "../model/test-samples.js";
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

it("what comes from outside is counted under a Service of the cluster, with an address where there is one", () => {
  const mesh = createMesh();
  const counted = () => {
    const [row] = [...mesh.kernel.entries()].filter(([map]) => map === "pods");
    return mesh.compiler.names.service(maps.pods.value.decode(row?.[2] ?? Buffer.alloc(0)).service.number)
      ?.hostname;
  };
  const clusterHost = (name: string) => ({ hostname: `${name}.default.svc.cluster.local` });
  const serves = Object.fromEntries(
    [
      "a.example",
      "b.default.svc.cluster.local",
      "c.default.svc.cluster.local",
      "d.default.svc.cluster.local",
    ].map((host) => [`default/${host}`, "80:8080"]),
  );
  mesh.push({ pods: [{ cookie: 7n, namespace: "default", name: "a" }], workloads: [pod("a", { serves })] });
  expect(counted()).toBeUndefined();
  mesh.push({ services: [service("a", { hostname: "a.example", vips: ["240.240.0.1"] })] });
  expect(counted()).toBe("a.example");
  mesh.push({ services: [service("b", clusterHost("b"))] });
  expect(counted()).toBe("b.default.svc.cluster.local");
  mesh.push({ services: [service("d", { ...clusterHost("d"), vips: ["10.96.0.4"] })] });
  expect(counted()).toBe("d.default.svc.cluster.local");
  mesh.push({ services: [service("c", { ...clusterHost("c"), vips: ["10.96.0.3"] })] });
  expect(counted()).toBe("c.default.svc.cluster.local");
  mesh.push({ services: [service("b", { ...clusterHost("b"), vips: ["10.96.0.2"] })] });
  expect(counted()).toBe("b.default.svc.cluster.local");
});
