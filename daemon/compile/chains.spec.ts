import { describe, expect, it } from "vitest";
import { Reason } from "../bpf/maps.gen.js";
import { pod, type SampleFields, service } from "../model/test-samples.js";
import type { Workload } from "../model/workload.js";
import { createMesh } from "./test-mesh.js";

/** An endpoint written in a ServiceEntry. */
function written(name: string, address: string, fields: SampleFields): Workload {
  const uid = `Kubernetes/networking.istio.io/ServiceEntry/default/${name}/${address}`;
  return pod(name, { addresses: [address], tunnelProtocol: "NONE", ...fields }).with({ uid });
}

const inner = service("inner", { vips: ["10.96.0.1"], listens: "80:8080" });
const outer = service("outer", { vips: ["10.96.0.2"], listens: "90:80" });
const last = service("last", { vips: ["10.96.0.3"], listens: "70:90" });
const behind = [
  pod("a", { addresses: ["10.0.0.1"], capacity: 3, serves: { "default/inner": "80:8080" } }),
  pod("b", { addresses: ["10.0.0.2"], serves: { "default/inner": "80:8080" } }),
];
const leadsOn = written("on", "10.96.0.1", { serves: { "default/outer": "90:80" } });
const at = "10.96.0.2/128:90";

describe("an endpoint at a service's address", () => {
  it("leads to that one's endpoints, in their shares of its weight", () => {
    const mesh = createMesh();
    const beside = pod("c", { addresses: ["10.0.0.3"], serves: { "default/outer": "90:9090" } });
    mesh.push({ services: [inner, outer], workloads: [...behind, leadsOn, beside] });
    expect(mesh.frontends()[at]).toBe("outer 10.0.0.1:8080 0.37,10.0.0.2:8080 0.12,10.0.0.3:9090 0.50");
  });

  it("follows what becomes of that one, and of its address", () => {
    const mesh = createMesh();
    mesh.push({ services: [outer], workloads: [...behind, leadsOn] });
    expect(mesh.frontends()[at]).toBe("outer 10.96.0.1:80 1.00");
    mesh.push({ services: [inner] });
    expect(mesh.frontends()[at]).toBe("outer 10.0.0.1:8080 0.75,10.0.0.2:8080 0.25");
    mesh.push({ removedAddresses: [behind[0]?.uid ?? ""] });
    expect(mesh.frontends()[at]).toBe("outer 10.0.0.2:8080 1.00");
    mesh.push({ removedAddresses: [behind[1]?.uid ?? ""] });
    expect(mesh.frontends()[at]).toBe(`outer refuses ${Reason.CHAINED_NOWHERE}`);
    mesh.push({ removedAddresses: ["default/inner"] });
    expect(mesh.frontends()[at]).toBe("outer 10.96.0.1:80 1.00");
  });

  it("leads on once", () => {
    const mesh = createMesh();
    const further = written("further", "10.96.0.2", { serves: { "default/last": "70:90" } });
    mesh.push({ services: [inner, outer, last], workloads: [...behind, leadsOn, further] });
    expect(mesh.frontends()["10.96.0.3/128:70"]).toBe(`last refuses ${Reason.CHAINED_NOWHERE}`);
  });

  it("leads nowhere past a waypoint, or on a port that is not listed; is left to PASSTHROUGH", () => {
    const waypoint = {
      destination: { kind: "hostname", namespace: "default", hostname: "wp" },
      hbonePort: 15008,
    } as const;
    const loadBalancing = { mode: "PASSTHROUGH", routingPreference: [], healthPolicy: "ALLOW_ALL" } as const;
    const nowhere = `outer refuses ${Reason.CHAINED_NOWHERE}`;
    for (const [fields, expected] of [
      [{ waypoint }, nowhere],
      [{ listens: "81:8080" }, nowhere],
      [{ loadBalancing }, "outer 10.96.0.1:80 1.00"],
    ] as const) {
      const mesh = createMesh();
      const other = service("inner", { vips: ["10.96.0.1"], ...fields });
      mesh.push({ services: [other, outer], workloads: [...behind, leadsOn] });
      expect(mesh.frontends()[at]).toBe(expected);
    }
  });

  it("is itself when it is a pod, or when the address is its own service's", () => {
    const mesh = createMesh();
    const both = { "default/outer": "90:80" };
    mesh.push({
      services: [
        service("inner", { vips: ["10.0.0.9"] }),
        { ...outer, addresses: service("x", { vips: ["10.9.9.9"] }).addresses },
      ],
      workloads: [
        pod("p", { addresses: ["10.0.0.9"], serves: both }),
        written("self", "10.9.9.9", { serves: both }),
      ],
    });
    expect(mesh.frontends()["10.9.9.9/128:90"]).toBe("outer 10.0.0.9:80 0.50,10.9.9.9:80 0.50");
  });
});
