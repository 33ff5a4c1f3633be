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
  /** `<namespace>/<hostname>` of the service it stands behind. */
  readonly service?: string;
  readonly runs: "client" | "web" | "dns";
}

function pod(
  namespace: string,
  name: string,
  serviceAccount: string,
  octet: number,
  runs: DemoPod["runs"],
  service?: string,
): DemoPod {
  const addresses = { ipv4: `10.77.0.${octet}`, ipv6: `fd77::${octet}` };
  return {
    namespace,
    name,
    serviceAccount,
    ...addresses,
    runs,
    ...(service === undefined ? {} : { service }),
  };
}

const reviews = `bookinfo/${reviewsName}`;
export const pods: readonly DemoPod[] = [
  pod("bookinfo", "productpage", "productpage", 10, "client"),
  pod("bookinfo", "stranger", "stranger", 11, "client"),
  pod("bookinfo", "reviews-v1", "reviews", 21, "web", reviews),
  pod("bookinfo", "reviews-v2", "reviews", 22, "web", reviews),
  pod("bookinfo", "reviews-v3", "reviews", 23, "web", reviews),
  pod("bookinfo", "details-v1", "details", 31, "web", "bookinfo/details.bookinfo.svc.cluster.local"),
  pod("bookinfo", "ratings-v1", "ratings", 41, "web", "bookinfo/ratings.bookinfo.svc.cluster.local"),
  pod("kube-system", "dns", "dns", 53, "dns", "kube-system/dns.kube-system.svc.cluster.local"),
];

/** The mesh as weft-xds reads it. */
export function bookinfoYaml({ weights, unhealthy }: Knobs): string {
  const workloads = pods.map((pod) => {
    const version = /^reviews-v(\d)$/.exec(pod.name)?.[1];
    const fields = [
      `name: ${pod.name}`,
      `namespace: ${pod.namespace}`,
      `serviceAccount: ${pod.serviceAccount}`,
      `addresses: [${pod.ipv4}, "${pod.ipv6}"]`,
      ...(pod.service === undefined ? [] : [`services: [${pod.service}]`]),
      ...(version === undefined ? [] : [`capacity: ${weights[Number(version) - 1]}`]),
      ...(pod.name === unhealthy ? ["status: UNHEALTHY"] : []),
    ];
    return `  - ${fields.join("\n    ")}\n`;
  });
  return `# Save this file and weft-xds pushes what changed.
workloads:
${workloads.join("")}
services:
  - name: reviews
    namespace: bookinfo
    addresses: [${vip.reviews}]
    ports: [${webPort}]
  - name: details
    namespace: bookinfo
    addresses: [${vip.details}]
    ports: [${webPort}]
  - name: ratings
    namespace: bookinfo
    addresses: ["${vip.ratings}"]
    ports: [${webPort}]
  - name: dns
    namespace: kube-system
    addresses: [${vip.dns}]
    ports: [53]
policies:
  - name: no-strangers
    namespace: bookinfo
    scope: NAMESPACE
    action: DENY
    rules:
      - - - principals: [cluster.local/ns/bookinfo/sa/stranger]
`;
}
