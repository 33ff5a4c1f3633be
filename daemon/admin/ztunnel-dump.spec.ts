// Owns the proof of daemon/admin/ztunnel-dump.ts.

import { describe, expect, it } from "vitest";
import type { Match, Policy } from "../model/policy.js";
import { pod, ports, service } from "../model/test-samples.js";
import { ztunnelPolicy, ztunnelService, ztunnelWorkload } from "./ztunnel-dump.js";

/** As a reader of the dump gets it: absent fields are gone. */
const read = (value: unknown): unknown => JSON.parse(JSON.stringify(value));

describe("workload", () => {
  it("has ztunnel's names, and nothing that is empty", () => {
    const plain = pod("web", {
      addresses: ["10.0.0.1", "fd00::1"],
      tunnelProtocol: "NONE",
      workloadType: "DEPLOYMENT",
      locality: { region: "", zone: "", subzone: "" },
      node: "",
    });
    expect(read(ztunnelWorkload(plain))).toEqual({
      uid: "Kubernetes//Pod/default/web",
      workloadIps: ["10.0.0.1", "fd00::1"],
      protocol: "TCP",
      networkMode: "Standard",
      name: "web",
      namespace: "default",
      trustDomain: "cluster.local",
      serviceAccount: "default",
      workloadName: "web",
      workloadType: "deployment",
      canonicalName: "web",
      canonicalRevision: "latest",
      status: "Healthy",
      clusterId: "Kubernetes",
      capacity: 1,
    });
  });

  it("has what is said of it", () => {
    const rich = pod("web", {
      network: "n1",
      hostname: "web.example.org",
      nativeTunnel: true,
      networkMode: "HOST_NETWORK",
      status: "UNHEALTHY",
      waypoint: {
        destination: { kind: "hostname", namespace: "default", hostname: "wp.local" },
        hbonePort: 15008,
      },
      networkGateway: {
        destination: { kind: "address", network: "n1", address: "fd00::9" },
        hbonePort: 0,
      },
      authorizationPolicies: ["default/deny"],
      serves: { "default/web": "80" },
    });
    expect(read(ztunnelWorkload(rich))).toMatchObject({
      network: "n1",
      hostname: "web.example.org",
      node: "node-a",
      nativeTunnel: true,
      protocol: "HBONE",
      networkMode: "HostNetwork",
      status: "Unhealthy",
      locality: { region: "r1", zone: "z1", subzone: "" },
      waypoint: { destination: "default/wp.local", hboneMtlsPort: 15008 },
      networkGateway: { destination: "n1/fd00::9", hboneMtlsPort: 0 },
      authorizationPolicies: ["default/deny"],
      services: ["default/web"],
    });
  });
});

describe("service", () => {
  it("has endpoints by uid with their own ports, healthy or not", () => {
    const web = service("web", { vips: ["10.96.0.1", "fd00::1"], listens: "80:8080 443:0" });
    const endpoints = [
      pod("a", { serves: { "default/web": "80:8080 443:8443", "default/other": "1" } }),
      pod("b", { serves: { "default/web": "80" }, status: "UNHEALTHY" }),
    ];
    expect(read(ztunnelService(web, endpoints))).toEqual({
      name: "web",
      namespace: "default",
      hostname: "web",
      vips: ["/10.96.0.1", "/fd00::1"],
      ports: { 80: 8080, 443: 0 },
      endpoints: {
        "Kubernetes//Pod/default/a": {
          workloadUid: "Kubernetes//Pod/default/a",
          service: "default/web",
          port: { 80: 8080, 443: 8443 },
          status: "Healthy",
        },
        "Kubernetes//Pod/default/b": {
          workloadUid: "Kubernetes//Pod/default/b",
          service: "default/web",
          port: { 80: 80 },
          status: "Unhealthy",
        },
      },
      subjectAltNames: [],
      canonical: true,
    });
  });

  it("keeps blocks apart from addresses, and says how it is balanced", () => {
    const blocks = service("db", {
      addresses: [
        { network: "n1", address: "10.0.0.0", prefixLength: 8 },
        { network: "n1", address: "10.96.0.1", prefixLength: 32 },
        { network: "", address: "fd00::", prefixLength: 64 },
      ],
      ports: ports("5432"),
      subjectAltNames: ["spiffe://cluster.local/ns/default/sa/db"],
      waypoint: {
        destination: { kind: "address", network: "", address: "10.96.0.9" },
        hbonePort: 15008,
      },
      loadBalancing: {
        mode: "FAILOVER",
        routingPreference: ["NETWORK", "REGION", "SUBZONE"],
        healthPolicy: "ALLOW_ALL",
      },
      ipFamilies: "IPV6_ONLY",
      canonical: false,
      visibility: "NAMESPACE",
    });
    expect(read(ztunnelService(blocks, []))).toMatchObject({
      vips: ["n1/10.96.0.1"],
      cidrVips: ["n1/10.0.0.0/8", "/fd00::/64"],
      endpoints: {},
      subjectAltNames: ["spiffe://cluster.local/ns/default/sa/db"],
      waypoint: { destination: "/10.96.0.9", hboneMtlsPort: 15008 },
      loadBalancer: {
        mode: "Failover",
        routingPreferences: ["Network", "Region", "Subzone"],
        healthPolicy: "AllowAll",
      },
      ipFamilies: "IPv6",
      canonical: false,
      visibility: "Namespace",
    });
  });
});

describe("policy", () => {
  const nothing: Match = {
    namespaces: [],
    notNamespaces: [],
    principals: [],
    notPrincipals: [],
    serviceAccounts: [],
    notServiceAccounts: [],
    sourceIps: [],
    notSourceIps: [],
    destinationIps: [],
    notDestinationIps: [],
    destinationPorts: [],
    notDestinationPorts: [],
  };
  const policy: Policy = {
    name: "p",
    namespace: "default",
    scope: "WORKLOAD_SELECTOR",
    action: "ALLOW",
    dryRun: false,
    rules: [],
  };

  it("has rules of clauses of matches without their empty fields", () => {
    const first: Match = {
      ...nothing,
      namespaces: [{ kind: "exact", value: "a" }, { kind: "presence" }],
      notPrincipals: [
        { kind: "prefix", value: "td/" },
        { kind: "suffix", value: "/web" },
      ],
      serviceAccounts: [{ namespace: "default", serviceAccount: "sa" }],
      sourceIps: [{ address: "10.0.0.0", prefixLength: 8 }],
      notDestinationIps: [{ address: "fd00::1", prefixLength: 128 }],
      destinationPorts: [80, 443],
    };
    expect(read(ztunnelPolicy({ ...policy, rules: [{ clauses: [[first, nothing], []] }] }))).toEqual({
      name: "p",
      namespace: "default",
      scope: "WorkloadSelector",
      action: "Allow",
      dryRun: false,
      rules: [
        [
          [
            {
              namespaces: [{ Exact: "a" }, { Presence: [] }],
              notPrincipals: [{ Prefix: "td/" }, { Suffix: "/web" }],
              serviceAccounts: [{ namespace: "default", serviceAccount: "sa" }],
              sourceIps: ["10.0.0.0/8"],
              notDestinationIps: ["fd00::1/128"],
              destinationPorts: [80, 443],
            },
            {},
          ],
          [],
        ],
      ],
    });
  });

  it.each([
    ["GLOBAL", "Global", "DENY", "Deny"],
    ["NAMESPACE", "Namespace", "ALLOW", "Allow"],
  ] as const)("%s is %s, %s is %s", (scope, scopeName, action, actionName) => {
    expect(ztunnelPolicy({ ...policy, scope, action })).toMatchObject({
      scope: scopeName,
      action: actionName,
    });
  });
});
