import { describe, expect, it } from "vitest";
import { reasonNames } from "../bpf/maps.gen.js";
import { AsideList } from "../model/aside.js";
import type { IpFamilies, LoadBalancingMode, RoutingScope, Service } from "../model/service.js";
import { pod, type SampleFields, service } from "../model/test-samples.js";
import type { Workload, WorkloadFields } from "../model/workload.js";
import { createResolver, type Family, portsOf, sameEndpoint } from "./eligibility.js";
import type { NodeContext } from "./node.js";

const NODE: NodeContext = {
  node: "node-a",
  locality: { region: "r1", zone: "z1", subzone: "" },
  cluster: "Kubernetes",
  network: "net-1",
};

/** `name address:port` of each endpoint, or the reason for none. */
function resolve(
  to: Service,
  workloads: readonly Workload[],
  {
    family = "ipv4",
    node = NODE,
    aside = [],
  }: { family?: Family; node?: NodeContext; aside?: string[] } = {},
): string | string[] {
  const port = portsOf(to).get(80);
  if (port === undefined) throw new Error("the sample service has no port 80");
  const list = new AsideList(aside.map((name) => ({ uid: pod(name).uid, address: "10.0.0.1", port: 8080 })));
  const resolution = createResolver(to, workloads, node, undefined, list)(port, family);
  if (!resolution.ok) return reasonNames[resolution.reason] ?? "";
  return resolution.endpoints.map(({ workload, address, port }) => `${workload.name} ${address}:${port}`);
}

function endpoint(name: string, fields: SampleFields = {}, listens = "80:8080"): Workload {
  return pod(name, {
    addresses: ["10.0.0.1"],
    network: "net-1",
    serves: { "default/web": listens },
    ...fields,
  });
}

function balanced(mode: LoadBalancingMode, routingPreference: RoutingScope[]): Service {
  return service("web", { loadBalancing: { mode, routingPreference, healthPolicy: "ONLY_HEALTHY" } });
}

describe("endpoints that are set aside", () => {
  const web = service("web");
  const names = (to: Service, workloads: Workload[], ...aside: string[]) =>
    [resolve(to, workloads, { aside })].flat().map((text) => text.split(" ")[0]);
  const [a, b, c] = ["a", "b", "c"].map((name) => endpoint(name)) as [Workload, Workload, Workload];
  const far = endpoint("far", { locality: { region: "r2", zone: "z9", subzone: "" } });

  it("are passed over", () => {
    expect(names(web, [a, b, c], "b")).toEqual(["a", "c"]);
  });

  it("are never more than half, those first that were set aside first", () => {
    expect(names(web, [a, b, c], "c", "a", "b")).toEqual(["a", "b"]);
    expect(names(web, [a, b], "b", "a")).toEqual(["a"]);
    expect(names(web, [a, b, c, far], "b", "a", "far")).toEqual(["c", "far"]);
  });

  it("are the last resort where there is nothing else", () => {
    expect(names(web, [a], "a")).toEqual(["a"]);
    // One that cannot be used is none of the half that stays.
    expect(names(web, [a, endpoint("b", { status: "UNHEALTHY" })], "a")).toEqual(["a"]);
  });

  it("are so on the port and the address where they fail only", () => {
    expect(names(web, [endpoint("a", {}, "80:9090"), b], "a")).toEqual(["a", "b"]);
    expect(names(web, [endpoint("a", { addresses: ["10.0.0.2"] }), b], "a")).toEqual(["a", "b"]);
  });

  it("let FAILOVER go farther, and STRICT not", () => {
    expect(names(balanced("FAILOVER", ["REGION"]), [a, far])).toEqual(["a"]);
    expect(names(balanced("FAILOVER", ["REGION"]), [a, far], "a")).toEqual(["far"]);
    expect(names(balanced("STRICT", ["REGION"]), [a, far], "a")).toEqual(["a"]);
    expect(names(balanced("STRICT", ["REGION"]), [a, b, far], "a", "b")).toEqual(["b"]);
  });
});

describe("target port", () => {
  const web = service("web", { listens: "80:9090" });

  it("is the endpoint's own mapping, else the service's", () => {
    expect(resolve(web, [endpoint("a"), endpoint("b", {}, "443")])).toEqual([
      "a 10.0.0.1:8080",
      "b 10.0.0.1:9090",
    ]);
  });

  it("is the last mapping when a port is listed twice, in the service too", () => {
    expect(resolve(web, [endpoint("a", {}, "80:53 80:5353")])).toEqual(["a 10.0.0.1:5353"]);
    expect(portsOf(service("web", { listens: "80:1 0:5 80:2" }))).toEqual(
      new Map([[80, { servicePort: 80, targetPort: 2 }]]),
    );
  });

  it("of a named port exists where the endpoint maps it", () => {
    const named = service("web", { listens: "80:0" });
    expect(resolve(named, [endpoint("a"), endpoint("b", {}, "7000")])).toEqual(["a 10.0.0.1:8080"]);
    expect(resolve(named, [endpoint("b", {}, "7000")])).toBe("no_endpoint");
    expect(resolve(named, [endpoint("b", {}, "80:0")])).toBe("no_endpoint");
  });
});

describe("refusal", () => {
  const web = service("web");
  it.each<[string, Workload[], string]>([
    ["nobody there", [], "no_endpoint"],
    ["all unhealthy", [endpoint("a", { status: "UNHEALTHY" })], "no_healthy_endpoint"],
    ["capacity 0", [endpoint("a", { capacity: 0 })], "no_healthy_endpoint"],
    ["another network", [endpoint("a", { network: "net-2" })], "remote_network"],
    ["host name only", [endpoint("a", { addresses: [], hostname: "db.example.org" })], "no_address"],
    ["other family", [endpoint("a", { addresses: ["2001:db8::1"] })], "no_address"],
    [
      "the farthest of several",
      [endpoint("a", { status: "UNHEALTHY" }), endpoint("b", { network: "net-2" })],
      "remote_network",
    ],
  ])("%s", (_, workloads, reason) => {
    expect(resolve(web, workloads)).toBe(reason);
  });

  it("does not hide who is left", () => {
    const others = [endpoint("b", { status: "UNHEALTHY" }), endpoint("c", { network: "net-2" })];
    expect(resolve(web, [...others, endpoint("a")])).toEqual(["a 10.0.0.1:8080"]);
  });
});

describe("eligibility", () => {
  it("takes unhealthy ones where the service allows all, but none without weight", () => {
    const web = service("web", {
      loadBalancing: { mode: "UNSPECIFIED", routingPreference: [], healthPolicy: "ALLOW_ALL" },
    });
    expect(resolve(web, [endpoint("a", { status: "UNHEALTHY" }), endpoint("b", { capacity: 0 })])).toEqual([
      "a 10.0.0.1:8080",
    ]);
  });

  it("takes the first address of the family", () => {
    const addresses = ["2001:db8::1", "10.0.0.1", "10.0.0.2", "2001:db8::2"];
    const workloads = [endpoint("a", { addresses })];
    expect(resolve(service("web"), workloads)).toEqual(["a 10.0.0.1:8080"]);
    expect(resolve(service("web"), workloads, { family: "ipv6" })).toEqual(["a 2001:db8::1:8080"]);
  });

  it("counts a gateway on the own network for nothing, and no network as the own one", () => {
    const networkGateway = {
      destination: { kind: "address", network: "", address: "1.1.1.1" },
      hbonePort: 0,
    } as const;
    const workloads = [endpoint("a", { networkGateway }), endpoint("b", { network: "" })];
    expect(resolve(service("web"), workloads)).toHaveLength(2);
  });

  it("counts every network as the own one until that is known", () => {
    const node = { ...NODE, network: undefined };
    expect(resolve(service("web"), [endpoint("a", { network: "net-2" })], { node })).toHaveLength(1);
  });
});

describe("families", () => {
  const four = endpoint("a", { addresses: ["10.0.0.1"] });
  const six = endpoint("b", { addresses: ["2001:db8::1"] });
  const both = endpoint("c", { addresses: ["10.0.0.3", "2001:db8::3"] });
  const of = (ipFamilies: IpFamilies, workloads: Workload[]) =>
    (["ipv4", "ipv6"] as const).map((family) =>
      resolve(service("web", { ipFamilies }), workloads, { family }),
    );

  it("of IPv6 go to IPv4 when there is nothing else, those of IPv4 never to IPv6", () => {
    expect(of("AUTOMATIC", [four, six, both])).toEqual([
      ["a 10.0.0.1:8080", "c 10.0.0.3:8080"],
      ["b 2001:db8::1:8080", "c 2001:db8::3:8080"],
    ]);
    expect(of("DUAL", [four])).toEqual([["a 10.0.0.1:8080"], ["a 10.0.0.1:8080"]]);
    expect(of("DUAL", [six])).toEqual(["no_address", ["b 2001:db8::1:8080"]]);
  });

  it("are those that the service is of", () => {
    expect(of("IPV4_ONLY", [four, six, both])).toEqual([
      ["a 10.0.0.1:8080", "c 10.0.0.3:8080"],
      ["a 10.0.0.1:8080", "c 10.0.0.3:8080"],
    ]);
    expect(of("IPV6_ONLY", [four, six, both])).toEqual([
      "no_address",
      ["b 2001:db8::1:8080", "c 2001:db8::3:8080"],
    ]);
    expect(of("IPV6_ONLY", [endpoint("a", { status: "UNHEALTHY" })])[0]).toBe("no_healthy_endpoint");
  });

  it("go to IPv4 that is near before nothing at all", () => {
    const away = six.with({ node: "node-z" });
    const strict = balanced("STRICT", ["NODE"]);
    expect(resolve(strict, [away, four], { family: "ipv6" })).toEqual(["a 10.0.0.1:8080"]);
    expect(resolve(strict, [away], { family: "ipv6" })).toBe("no_local_endpoint");
  });
});

describe("locality", () => {
  const here = endpoint("here");
  const zone = endpoint("zone", { node: "node-b" });
  const region = endpoint("region", { node: "node-c", locality: { region: "r1", zone: "z2", subzone: "" } });
  const far = endpoint("far", { node: "node-d", locality: { region: "r2", zone: "z1", subzone: "" } });
  const names = (to: Service, workloads: Workload[]): string | string[] => {
    const result = resolve(to, workloads);
    return typeof result === "string" ? result : result.map((text) => text.split(" ")[0] ?? "");
  };

  it("FAILOVER keeps the best rank that has an endpoint", () => {
    const close = balanced("FAILOVER", ["NETWORK", "REGION", "ZONE", "SUBZONE", "NODE"]);
    expect(names(close, [far, region, zone, here])).toEqual(["here"]);
    expect(names(close, [far, region, zone])).toEqual(["zone"]);
    expect(names(close, [far, region])).toEqual(["region"]);
    expect(names(close, [far])).toEqual(["far"]);
  });

  it("does not count an unhealthy one nearby", () => {
    const close = balanced("FAILOVER", ["REGION", "ZONE"]);
    expect(names(close, [far, zone.with({ status: "UNHEALTHY" }), region])).toEqual(["region"]);
  });

  it("stops at the first mismatch", () => {
    // Zone z1 of another region is no nearer than any other place.
    const close = balanced("FAILOVER", ["REGION", "ZONE"]);
    const other = far.with({ name: "other", locality: { region: "r3", zone: "z9", subzone: "" } });
    expect(names(close, [far, other])).toEqual(["far", "other"]);
  });

  it("STRICT keeps full matches only", () => {
    const local = balanced("STRICT", ["NODE"]);
    expect(names(local, [zone, here])).toEqual(["here"]);
    expect(names(local, [zone])).toBe("no_local_endpoint");
  });

  it("is no matter without a mode", () => {
    expect(names(balanced("UNSPECIFIED", ["NODE"]), [zone, here])).toEqual(["zone", "here"]);
  });

  it("takes two empty strings for a match", () => {
    const anywhere = here.with({ name: "anywhere", locality: { region: "", zone: "", subzone: "" } });
    const node = { ...NODE, locality: { region: "", zone: "", subzone: "" } };
    const result = resolve(balanced("STRICT", ["REGION"]), [anywhere], { node });
    expect(result).toHaveLength(1);
  });

  it("goes by cluster where asked", () => {
    const other = endpoint("other", { clusterId: "two" });
    expect(names(balanced("FAILOVER", ["CLUSTER"]), [other, far])).toEqual(["far"]);
  });
});

describe("sameEndpoint", () => {
  const base = endpoint("a");
  it.each<[string, Partial<WorkloadFields>, boolean]>([
    ["policies", { authorizationPolicies: ["default/p"] }, true],
    ["service account", { serviceAccount: "other" }, true],
    ["health", { status: "UNHEALTHY" }, false],
    ["weight", { capacity: 2 }, false],
    ["address", { addresses: ["10.0.0.9"] }, false],
    ["network", { network: "net-2" }, false],
    ["node", { node: "node-z" }, false],
    ["zone", { locality: { ...base.locality, zone: "z9" } }, false],
    ["cluster", { clusterId: "two" }, false],
    ["port", { services: new Map([["default/web", [{ servicePort: 80, targetPort: 1 }]]]) }, false],
    ["another service's port", { services: new Map([...base.services, ["default/x", []]]) }, true],
    ["the service itself", { services: new Map() }, false],
  ])("%s", (_, fields, same) => {
    expect(sameEndpoint(base, base.with(fields), "default/web")).toBe(same);
  });

  it("comes and goes", () => {
    expect(sameEndpoint(undefined, base, "default/web")).toBe(false);
    expect(sameEndpoint(base, undefined, "default/web")).toBe(false);
  });
});
