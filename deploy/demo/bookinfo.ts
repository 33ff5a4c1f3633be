// Owns the demo's mesh: its pods, its services, its policy, and the YAML that weft-xds serves for it.
// Must not know how any of it is run.

/** What the demo changes while it runs. */
export interface Knobs {
  /** Weights of reviews v1, v2 and v3. */
  readonly weights: readonly [number, number, number];
  /** Name of a workload that is unhealthy. */
  readonly unhealthy?: string;
}

export const webPort = 9080;
export const reviewsName = "reviews.bookinfo.svc.cluster.local";

/** Virtual addresses: no interface anywhere has them. */
export const vip = {
  reviews: "10.96.0.20",
  details: "10.96.0.21",
  ratings: "fd96::22",
  dns: "10.96.0.53",
} as const;

export interface DemoPod {
  readonly namespace: string;
  readonly name: string;
  readonly serviceAccount: string;
  readonly ipv4: string;
  readonly ipv6: string;
  readonly runs: "client" | "web" | "dns";
}

function pod(name: string, octet: number, runs: DemoPod["runs"], namespace = "bookinfo"): DemoPod {
  const serviceAccount = name.replace(/-v\d$/, "");
  return { namespace, name, serviceAccount, ipv4: `10.77.0.${octet}`, ipv6: `fd77::${octet}`, runs };
}

export const pods: readonly DemoPod[] = [
  pod("productpage", 10, "client"),
  pod("stranger", 11, "client"),
  pod("reviews-v1", 21, "web"),
  pod("reviews-v2", 22, "web"),
  pod("reviews-v3", 23, "web"),
  pod("details-v1", 31, "web"),
  pod("ratings-v1", 41, "web"),
  pod("dns", 53, "dns", "kube-system"),
];

/** The mesh as weft-xds reads it. */
export function bookinfoYaml({ weights, unhealthy }: Knobs): string {
  const workloads = pods.map((pod) => {
    const version = /^reviews-v(\d)$/.exec(pod.name)?.[1];
    const lines = [
      `name: ${pod.name}`,
      `namespace: ${pod.namespace}`,
      `serviceAccount: ${pod.serviceAccount}`,
      `addresses: [${pod.ipv4}, "${pod.ipv6}"]`,
      ...(version === undefined ? [] : [`capacity: ${weights[Number(version) - 1]} # weight`]),
      ...(pod.name === unhealthy ? ["status: UNHEALTHY"] : []),
    ];
    return `  - ${lines.join("\n    ")}\n`;
  });
  return `# Save this file and weft-xds pushes what changed.
workloads:
${workloads.join("")}
services:
  - name: reviews
    namespace: bookinfo
    vips: [${vip.reviews}]
    ports: { ${webPort}: ${webPort} }
    endpoints: [reviews-v1, reviews-v2, reviews-v3]
  - name: details
    namespace: bookinfo
    vips: [${vip.details}]
    ports: { 80: ${webPort} }
    endpoints: [details-v1]
  - name: ratings
    namespace: bookinfo
    vips: ["${vip.ratings}"]
    ports: { ${webPort}: ${webPort} }
    endpoints: [ratings-v1]
  - name: dns
    namespace: kube-system
    vips: [${vip.dns}]
    ports: { 53: 53 }
    endpoints: [dns]

policies:
  - name: no-strangers
    namespace: bookinfo
    action: DENY
    rules:
      - principals: [cluster.local/ns/bookinfo/sa/stranger]
`;
}
