// Owns Kubernetes objects as a cluster would hold them while its pods run. Must not know istiod or weft.

/** Objects as one text for apply and delete; JSON is YAML. */
export function yamlOf(...objects: readonly object[]): string {
  return objects.map((object) => JSON.stringify(object)).join("\n---\n");
}

export const node = "node";

/** Namespaces, all in ambient, and the one node they run on. */
export function clusterOf(...namespaces: readonly string[]): object[] {
  const labels = (name: string) => ({
    "kubernetes.io/metadata.name": name,
    "istio.io/dataplane-mode": "ambient",
  });
  return [
    ...["istio-system", ...namespaces].map((name) => ({
      apiVersion: "v1",
      kind: "Namespace",
      metadata: { name, labels: labels(name) },
    })),
    { apiVersion: "v1", kind: "Node", metadata: { name: node } },
  ];
}

export interface PodFacts {
  readonly namespace?: string;
  readonly app: string;
  readonly ip: string;
  /** A second address. */
  readonly ipv6?: string;
  /** Default true. */
  readonly ready?: boolean;
  /** Default: the app's name. */
  readonly account?: string;
  /** Beside that of the app. */
  readonly labels?: Readonly<Record<string, string>>;
}

/** A running pod, enrolled as istio-cni marks it. */
export function pod(
  name: string,
  { namespace = "shop", app, ip, ipv6, ready = true, account = app, labels = {} }: PodFacts,
): object {
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: {
      name,
      namespace,
      labels: { app, ...labels },
      annotations: { "ambient.istio.io/redirection": "enabled" },
    },
    spec: {
      serviceAccountName: account,
      nodeName: node,
      containers: [{ name: "app", image: "example.invalid/app:1" }],
    },
    status: {
      phase: "Running",
      podIP: ip,
      podIPs: [ip, ...(ipv6 === undefined ? [] : [ipv6])].map((each) => ({ ip: each })),
      conditions: [{ type: "Ready", status: ready ? "True" : "False" }],
    },
  };
}

export interface ServiceFacts {
  readonly namespace?: string;
  readonly vip: string;
  /** A second one. */
  readonly ipv6?: string;
  /** Port to target port. */
  readonly ports: Readonly<Record<number, number>>;
  /** Default: endpoints by hand. */
  readonly app?: string;
  readonly labels?: Readonly<Record<string, string>>;
}

export function service(
  name: string,
  { namespace = "shop", vip, ipv6, ports, app, labels = {} }: ServiceFacts,
): object {
  const vips = [vip, ...(ipv6 === undefined ? [] : [ipv6])];
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name, namespace, labels },
    spec: {
      type: "ClusterIP",
      clusterIP: vip,
      clusterIPs: vips,
      ipFamilies: vips.map((each) => (each.includes(":") ? "IPv6" : "IPv4")),
      ipFamilyPolicy: vips.length > 1 ? "RequireDualStack" : "SingleStack",
      ports: Object.entries(ports).map(([port, targetPort]) => ({
        name: `tcp-${port}`,
        port: Number(port),
        targetPort,
        protocol: "TCP",
      })),
      ...(app === undefined ? {} : { selector: { app } }),
    },
  };
}

export interface ServiceEntryFacts {
  readonly namespace: string;
  readonly host: string;
  /** Addresses and blocks. */
  readonly addresses: readonly string[];
  readonly ports: readonly object[];
  readonly resolution: "STATIC" | "DNS";
  readonly endpoints: readonly { readonly address: string }[];
}

export function serviceEntry(name: string, { namespace, host, ...spec }: ServiceEntryFacts): object {
  return {
    apiVersion: "networking.istio.io/v1",
    kind: "ServiceEntry",
    metadata: { name, namespace },
    spec: { hosts: [host], location: "MESH_INTERNAL", ...spec },
  };
}

/** A Gateway of class istio-waypoint with what Istio makes of it: a service at `vip` and a pod at `ip`. */
export function waypoint(
  name: string,
  { namespace = "shop", vip, ip }: { namespace?: string; vip: string; ip: string },
): object[] {
  const gateway = "gateway.networking.k8s.io";
  const mesh = { name: "mesh", port: 15008, protocol: "HBONE" };
  return [
    {
      apiVersion: `${gateway}/v1`,
      kind: "GatewayClass",
      metadata: { name: "istio-waypoint" },
      spec: { controllerName: "istio.io/mesh-controller" },
    },
    {
      apiVersion: `${gateway}/v1`,
      kind: "Gateway",
      metadata: { name, namespace, labels: { "istio.io/waypoint-for": "service" } },
      spec: {
        gatewayClassName: "istio-waypoint",
        listeners: [{ ...mesh, allowedRoutes: { namespaces: { from: "Same" } } }],
      },
      status: { addresses: [{ type: "IPAddress", value: vip }] },
    },
    service(name, {
      ...{ namespace, vip, ports: { 15008: 15008 }, app: name },
      labels: {
        [`${gateway}/gateway-name`]: name,
        "gateway.istio.io/managed": "istio.io-mesh-controller",
      },
    }),
    pod(name, { namespace, app: name, ip, labels: { [`${gateway}/gateway-name`]: name } }),
  ];
}

/** Endpoints written by hand for a service without a selector; the slice's ports carry the service ports' names. */
export function endpointSlice(
  serviceName: string,
  port: number,
  targetPort: number,
  ips: readonly string[],
): object {
  return {
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: {
      name: `${serviceName}-1`,
      namespace: "shop",
      labels: { "kubernetes.io/service-name": serviceName },
    },
    addressType: "IPv4",
    ports: [{ name: `tcp-${port}`, port: targetPort, protocol: "TCP" }],
    endpoints: ips.map((ip) => ({ addresses: [ip], conditions: { ready: true } })),
  };
}

/** A policy of the namespace, or for the pods of one app. */
export function authorizationPolicy(name: string, spec: object, app?: string, namespace = "shop"): object {
  return {
    apiVersion: "security.istio.io/v1",
    kind: "AuthorizationPolicy",
    metadata: { name, namespace },
    spec: { ...spec, ...selecting(app) },
  };
}

/** mTLS mode of a namespace, or of the pods of one app. */
export function peerAuthentication(
  name: string,
  mode: "STRICT" | "PERMISSIVE",
  app?: string,
  namespace = "shop",
): object {
  return {
    apiVersion: "security.istio.io/v1",
    kind: "PeerAuthentication",
    metadata: { name, namespace },
    spec: { mtls: { mode }, ...selecting(app) },
  };
}

function selecting(app: string | undefined): object {
  return app === undefined ? {} : { selector: { matchLabels: { app } } };
}

/** A rule for callers by service account in namespace shop. */
export function from(...accounts: readonly string[]): object {
  return { from: [{ source: { principals: accounts.map((name) => `cluster.local/ns/shop/sa/${name}`) } }] };
}
