// Owns the words of a mesh file and what each may hold. Must not know YAML, nor what is served.

import * as z from "zod";
import { canonicalAddress } from "../../daemon/model/address.js";
import { blockWord, nameWord, policyWords } from "../../daemon/model/policy-words.js";

const port = z.int().min(1).max(65_535);

/** Canonical text. */
const address = z.string().transform((text, context) => {
  const canonical = canonicalAddress(text);
  if (canonical !== undefined) return canonical;
  context.addIssue(`${JSON.stringify(text)} is not an IP address`);
  return z.NEVER;
});

/** Service port -> target port; 0 is a named port, for which every endpoint gives its own. */
const ports = z.record(z.string(), z.int().min(0).max(65_535)).transform((map, context) =>
  Object.entries(map).map(([key, targetPort]) => {
    const servicePort = /^\d+$/.test(key) ? Number(key) : 0;
    if (port.safeParse(servicePort).success) return { servicePort, targetPort };
    context.addIssue({ code: "custom", path: [key], message: `${key} is not a port from 1 to 65535` });
    return z.NEVER;
  }),
);

/** A waypoint or network gateway: by address, or by service as namespace/hostname. */
const gateway = z
  .strictObject({
    address: address.optional(),
    service: z.string().optional(),
    network: z.string().default(""),
    port: port.default(15_008),
  })
  .refine(
    (value) => (value.address === undefined) !== (value.service === undefined),
    "needs one of address and service",
  )
  .refine((value) => value.service?.includes("/") ?? true, {
    path: ["service"],
    message: "expected namespace/hostname",
  });

const workload = z.strictObject({
  name: nameWord,
  namespace: nameWord.default("default"),
  uid: z.string().min(1).optional(),
  addresses: z.array(address).default([]),
  hostname: z.string().default(""),
  network: z.string().default(""),
  networkMode: z.enum(["STANDARD", "HOST_NETWORK"]).default("STANDARD"),
  tunnelProtocol: z.enum(["NONE", "HBONE", "LEGACY_ISTIO_MTLS"]).default("HBONE"),
  nativeTunnel: z.boolean().default(false),
  trustDomain: z.string().default(""),
  serviceAccount: z.string().default("default"),
  waypoint: gateway.optional(),
  networkGateway: gateway.optional(),
  node: z.string().default(""),
  workloadName: z.string().optional(),
  canonicalName: z.string().optional(),
  canonicalRevision: z.string().default("latest"),
  clusterId: z.string().min(1).default("Kubernetes"),
  locality: z
    .strictObject({
      region: z.string().default(""),
      zone: z.string().default(""),
      subzone: z.string().default(""),
    })
    .optional(),
  status: z.enum(["HEALTHY", "UNHEALTHY"]).default("HEALTHY"),
  capacity: z.int().min(0).max(0xffff_ffff).optional(),
  services: z.record(z.string(), ports.nullable()).default({}),
});

const endpoint = z.union([
  z.string().transform((reference) => ({ workload: reference, ports: undefined })),
  z.strictObject({ workload: z.string(), ports: ports.optional() }),
]);

const service = z.strictObject({
  name: nameWord,
  namespace: nameWord.default("default"),
  hostname: nameWord.optional(),
  vips: z.array(blockWord).default([]),
  network: z.string().default(""),
  ports,
  endpoints: z.array(endpoint).default([]),
  subjectAltNames: z.array(z.string()).default([]),
  waypoint: gateway.optional(),
  weightedWaypoints: z.array(z.strictObject({ destination: gateway, weight: z.int().min(0) })).default([]),
  loadBalancing: z
    .strictObject({
      mode: z.enum(["UNSPECIFIED", "STRICT", "FAILOVER", "PASSTHROUGH"]).default("UNSPECIFIED"),
      routingPreference: z
        .array(z.enum(["REGION", "ZONE", "SUBZONE", "NODE", "CLUSTER", "NETWORK"]))
        .default([]),
      healthPolicy: z.enum(["ONLY_HEALTHY", "ALLOW_ALL"]).default("ONLY_HEALTHY"),
    })
    .optional(),
  ipFamilies: z.enum(["AUTOMATIC", "IPV4_ONLY", "IPV6_ONLY", "DUAL"]).default("AUTOMATIC"),
  canonical: z.boolean().default(true),
  visibility: z.enum(["PUBLIC", "NAMESPACE"]).default("PUBLIC"),
});

/** A mesh file. Lists that are left out are empty. */
export const meshSchema = z.strictObject({
  workloads: z
    .array(workload)
    .nullish()
    .transform((list) => list ?? []),
  services: z
    .array(service)
    .nullish()
    .transform((list) => list ?? []),
  policies: z
    .array(policyWords)
    .nullish()
    .transform((list) => list ?? []),
});

export type MeshFile = z.infer<typeof meshSchema>;
export type MeshWorkload = MeshFile["workloads"][number];
export type MeshService = MeshFile["services"][number];
export type MeshGateway = z.infer<typeof gateway>;
