// Owns weftd's keys: of each its kind, its default and its help, from which flags, variables and YAML keys derive.
// Must not know where a value comes from, nor what is done with it.

import { isIP } from "node:net";
import { hostname } from "node:os";
import * as z from "zod";
import { type Parsed, parseDuration, parseHostPort, parsePod } from "../base/parse.js";
import { parseRecordFilter } from "../base/record-filter.js";
import { apiServerOfPod, parseLoopback, readLogLevels, readOutlierTime, wholeNumber } from "./values.js";

export interface Help {
  readonly argument: string;
  readonly text: string;
  /** May be given several times (a list in YAML, commas in the environment). */
  readonly repeatable?: true;
  /** A variable of OpenTelemetry's that says the same; weftd's own counts more. */
  readonly standardVariable?: string;
  /** What --help shows as default where the schema's own says too little. */
  readonly shownDefault?: string;
}

const help = z.registry<Help>();

const boolean = z.union([z.boolean(), z.stringbool()], { error: "expected true or false" });
const path = z.string({ error: "expected a path" }).startsWith("/", "expected an absolute path");
const text = z.string({ error: "expected text" });
const httpUrl = z.url({ error: "expected a URL, http:// or https://", protocol: /^https?$/ });
/** Parts of the node's id, which `~` joins. */
const name = text.regex(/^[^~\s]+$/, "expected a name without blanks and ~");
const address = text.refine((value) => isIP(value) !== 0, "expected an IP address");

/** The kernel's capacity of a map is a u32, which it rounds up to a power of two. */
const MAX_ENTRIES = 2 ** 31;

export const schema = z.object({
  xdsAddress: parsed(parseHostPort)
    .prefault("127.0.0.1:15010")
    .register(help, { argument: "HOST:PORT", text: "control plane that serves xDS" }),
  xdsTls: boolean.optional().register(help, {
    argument: "BOOL",
    text: "speak TLS to it, and show it the token",
    shownDefault: "true if its port is 15012",
  }),
  xdsServerName: name.optional().register(help, {
    argument: "NAME",
    text: "with TLS: DNS name or address that its certificate must be for",
    shownDefault: "the host of --xds-address",
  }),
  xdsRootCert: path.default("/var/run/secrets/istio/root-cert.pem").register(help, {
    argument: "PATH",
    text: "with TLS: certificates of the authorities that may sign its certificate",
  }),
  xdsTokenFile: path.default("/var/run/secrets/tokens/istio-token").register(help, {
    argument: "PATH",
    text: "with TLS: service account token, read again for every stream",
  }),
  clusterId: name.default("Kubernetes").register(help, {
    argument: "NAME",
    text: "name of this cluster as the control plane knows it",
  }),
  meshId: text.default("").register(help, { argument: "NAME", text: "name of the mesh" }),
  network: text.default("").register(help, { argument: "NAME", text: "network of this node" }),
  nodeName: text
    .min(1, "expected a name")
    .default(() => hostname())
    .register(help, {
      argument: "NAME",
      text: "name of this node as the control plane knows it",
      shownDefault: "host name",
    }),
  podName: name.optional().register(help, {
    argument: "NAME",
    text: "weftd's own pod, as it introduces itself",
    shownDefault: "weftd-<node name>",
  }),
  podNamespace: name.default("istio-system").register(help, {
    argument: "NAME",
    text: "namespace of that pod; the token's, or istiod does not let it in",
  }),
  podAddress: address.optional().register(help, {
    argument: "ADDRESS",
    text: "address of that pod",
    shownDefault: "the first of this node",
  }),
  serviceAccount: text.default("").register(help, {
    argument: "NAME",
    text: "service account of that pod; where given, the token must be its own",
  }),
  pod: z.array(parsed(parsePod), { error: "expected a list" }).default([]).register(help, {
    argument: "NAMESPACE/NAME=NETNS_PATH",
    text: "pod to enroll, by its network namespace; may be repeated",
    repeatable: true,
  }),
  kubernetes: boolean.default(false).register(help, {
    argument: "BOOL",
    text: "govern this node's pods that are labelled istio.io/dataplane-mode=ambient, as the API server lists them",
  }),
  kubernetesApi: httpUrl.default(apiServerOfPod).register(help, {
    argument: "URL",
    text: "with --kubernetes: the API server",
    shownDefault: "the cluster's own, as every pod is told it",
  }),
  serviceAccountDir: path.default("/var/run/secrets/kubernetes.io/serviceaccount").register(help, {
    argument: "PATH",
    text: "with --kubernetes: directory of ca.crt and token",
  }),
  cniSocket: path.default("/run/weft/cni.sock").register(help, {
    argument: "PATH",
    text: "with --kubernetes: unix socket on which the CNI plugin asks",
  }),
  cniBinDir: path.optional().register(help, {
    argument: "PATH",
    text: "with --kubernetes: directory into which the CNI plugin is put, such as /opt/cni/bin",
    shownDefault: "it is not",
  }),
  cniConfDir: path.optional().register(help, {
    argument: "PATH",
    text: "with --kubernetes: directory of the CNI configuration that names the plugin, such as /etc/cni/net.d",
    shownDefault: "it is left as it is",
  }),
  cniFailOpen: boolean.default(false).register(help, {
    argument: "BOOL",
    text: "let new pods start ungoverned while weftd does not answer, instead of waiting",
  }),
  cgroup: path.optional().register(help, {
    argument: "PATH",
    text: "cgroup v2 directory whose processes are governed",
    shownDefault: "the root of the cgroup v2 hierarchy, found by itself",
  }),
  besideOtherMesh: boolean.default(false).register(help, {
    argument: "BOOL",
    text: "start although Kmesh, or istio-cni for ztunnel, takes this node's connections too",
  }),
  bpffs: path.default("/sys/fs/bpf").register(help, {
    argument: "PATH",
    text: "BPF file system; programs and maps are pinned in weft/ below it",
  }),
  stateDir: path.optional().register(help, {
    argument: "PATH",
    text: "directory for a snapshot of what the control plane said, for a start without it",
    shownDefault: "none is kept",
  }),
  takeover: boolean.default(false).register(help, {
    argument: "BOOL",
    text: "ask a weftd that governs this BPF file system to end, and go on in its place",
  }),
  adminAddress: parsed(parseLoopback)
    .prefault("127.0.0.1:15200")
    .register(help, { argument: "HOST:PORT", text: "where weftctl asks; loopback only" }),
  metricsAddress: parsed(parseHostPort).prefault("[::]:15020").register(help, {
    argument: "HOST:PORT",
    text: "where Prometheus scrapes; [::] is every address, of IPv4 too",
  }),
  readyAddress: parsed(parseHostPort)
    .prefault("[::]:15021")
    .register(help, { argument: "HOST:PORT", text: "where readiness is probed" }),
  accessLog: boolean.optional().register(help, {
    argument: "BOOL",
    text: "log every connection at its close, denial or failure",
    shownDefault: "as it was last left, false at first",
  }),
  accessLogFormat: z
    .enum(["text", "json"], { error: "expected text or json" })
    .default("text")
    .register(help, { argument: "FORMAT", text: "text or json" }),
  accessLogFile: path.optional().register(help, {
    argument: "PATH",
    text: "append the access log to this file",
    shownDefault: "standard output",
  }),
  accessLogFilter: parsed(parseRecordFilter).prefault("").register(help, {
    argument: "EXPR",
    text: "which lines the access log holds, as in 'src.workload!=node or event!=closed': without the kubelet's probes",
    shownDefault: "all",
  }),
  accessLogMaxSize: parsed(wholeNumber(1_000_000)).prefault("100").register(help, {
    argument: "MIB",
    text: "size at which the access log's file becomes PATH.1 and another is begun",
  }),
  accessLogMaxFiles: parsed(wholeNumber(1_000)).prefault("5").register(help, {
    argument: "COUNT",
    text: "former files of the access log that are kept, PATH.1 the last",
  }),
  accessLogDenialLimit: parsed(wholeNumber(1_000_000)).prefault("10").register(help, {
    argument: "LINES",
    text: "denials a second that the access log holds of one policy at one workload; it counts the others",
  }),
  syncTimeout: parsed(parseDuration).prefault("30s").register(help, {
    argument: "DURATION",
    text: "how long a start waits for the control plane before it warns, and enforces its snapshot; it goes on waiting",
  }),
  authzNodeExempt: boolean.default(true).register(help, {
    argument: "BOOL",
    text: "let the node itself (kubelet's probes) connect to its pods whatever the policies say",
  }),
  identity: z
    .enum(["address", "none"], { error: "expected address or none" })
    .default("address")
    .register(help, {
      argument: "FROM",
      text: "what tells policies who connects: address, or none where addresses can be forged",
    }),
  policyMetrics: boolean.default(false).register(help, {
    argument: "BOOL",
    text: "count by policy what each allowed too, and not only what it denied",
  }),
  authzHook: z
    .enum(["sk_lookup", "tc", "xdp"], { error: "expected sk_lookup, tc or xdp" })
    .default("sk_lookup")
    .register(help, {
      argument: "HOOK",
      text: "what judges first: sk_lookup, which is always there, or tc or xdp before it",
    }),
  xdpInterface: z
    .array(text.min(1, "expected a name"), { error: "expected a list" })
    .default([])
    .register(help, {
      argument: "NAME",
      text: "with xdp: interface of the node, in place of the pods' own; may be repeated",
      repeatable: true,
    }),
  xdpDeny: z
    .enum(["drop", "reset"], { error: "expected drop or reset" })
    .default("drop")
    .register(help, { argument: "ANSWER", text: "with xdp: drop what is denied, or reset it" }),
  waypointProtocol: z
    .enum(["proxy-v2", "kmesh"], { error: "expected proxy-v2 or kmesh" })
    .default("proxy-v2")
    .register(help, {
      argument: "PROTOCOL",
      text: "how a waypoint is told where a connection was going: proxy-v2 (Envoy, nginx, HAProxy), or kmesh",
    }),
  waypointPort: parsed(wholeNumber(65_535)).optional().register(help, {
    argument: "PORT",
    text: "port on which every waypoint is dialled",
    shownDefault: "as the control plane says, 15019 with kmesh",
  }),
  dnsProxy: z
    .array(address, { error: "expected a list" })
    .refine((list) => new Set(list.map(isIP)).size === list.length, "expected one address of each family")
    .default([])
    .register(help, {
      argument: "ADDRESS",
      text: "answer pods that ask this resolver, such as 10.96.0.10, for names of the mesh that it does not know; once for IPv4, once for IPv6",
      repeatable: true,
      shownDefault: "names are the resolver's alone",
    }),
  hostNetns: path.default("/proc/self/ns/net").register(help, {
    argument: "PATH",
    text: "network namespace of the node: what its processes open is the node's own",
  }),
  podsCgroup: path.optional().register(help, {
    argument: "PATH",
    text: "cgroup v2 directory that all pods are below: pods on the node's network are not the node",
    shownDefault: "kubepods.slice or kubepods",
  }),
  rootNamespace: name.default("istio-system").register(help, {
    argument: "NAMESPACE",
    text: "namespace whose selector policies reach every other, as istiod has it",
  }),
  outlierDetection: boolean.default(true).register(help, {
    argument: "BOOL",
    text: "set endpoints aside for a while that connections fail to reach",
  }),
  outlierConsecutiveFailures: parsed(wholeNumber(1_000_000)).prefault("5").register(help, {
    argument: "FAILURES",
    text: "failed connects in a row, of two pods at least, that set an endpoint aside",
  }),
  outlierBaseTime: parsed(readOutlierTime).prefault("30s").register(help, {
    argument: "DURATION",
    text: "for how long the first time; the n-th time it is n times as long, 5m at most",
  }),
  mapLimit: parsed(wholeNumber(MAX_ENTRIES)).prefault("4194304").register(help, {
    argument: "ENTRIES",
    text: "the most entries that any configuration map may grow to",
  }),
  metricsMaxSeries: parsed(wholeNumber(1_000_000)).prefault("20000").register(help, {
    argument: "SERIES",
    text: "label sets of connections that are counted apart; what is beyond them is counted as overflow",
  }),
  metricsRetention: parsed(parseDuration).prefault("24h").register(help, {
    argument: "DURATION",
    text: "how long a series stays that nothing is counted in any more",
  }),
  workloadMetrics: boolean.optional().register(help, {
    argument: "BOOL",
    text: "count connections by the destination's pod too, with retransmissions and losses",
    shownDefault: "as it was last left, false at first",
  }),
  connectionMetrics: boolean.optional().register(help, {
    argument: "BOOL",
    text: "give connections that are open for more than 5s series of their own",
    shownDefault: "as it was last left, false at first",
  }),
  legacyMetricNames: boolean.default(false).register(help, {
    argument: "BOOL",
    text: "also publish kmesh_tcp_conntections_failed_total, spelt as in Kmesh",
  }),
  otlpEndpoint: httpUrl.optional().register(help, {
    argument: "URL",
    text: "export metrics and access log by OTLP to this collector, such as http://collector:4318",
    shownDefault: "nothing is exported",
    standardVariable: "OTEL_EXPORTER_OTLP_ENDPOINT",
  }),
  otlpMetricsEndpoint: httpUrl.optional().register(help, {
    argument: "URL",
    text: "export metrics to this URL, as it stands",
    shownDefault: "that of --otlp-endpoint, at v1/metrics",
    standardVariable: "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
  }),
  otlpLogsEndpoint: httpUrl.optional().register(help, {
    argument: "URL",
    text: "export the access log to this URL, as it stands",
    shownDefault: "that of --otlp-endpoint, at v1/logs",
    standardVariable: "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT",
  }),
  otlpProtocol: z
    .enum(["http/protobuf", "grpc"], { error: "expected http/protobuf or grpc" })
    .default("http/protobuf")
    .register(help, {
      argument: "PROTOCOL",
      text: "how OTLP is spoken: http/protobuf or grpc",
      standardVariable: "OTEL_EXPORTER_OTLP_PROTOCOL",
    }),
  logLevel: parsed(readLogLevels)
    .prefault("info")
    .register(help, { argument: "LEVELS", text: "such as info, or warn,xds:debug,bpf:trace" }),
  logFormat: z
    .enum(["text", "json"], { error: "expected text or json" })
    .default("text")
    .register(help, { argument: "FORMAT", text: "text or json, on standard error" }),
});

/** The checked settings. `syncTimeout` is in milliseconds; keys whose default depends on others may be absent. */
export type Config = z.output<typeof schema>;
export type Key = keyof typeof schema.shape;

export const KEYS = Object.keys(schema.shape) as Key[];

/** What --help says of a key. */
export function helpOf(key: Key): Help {
  const found = help.get(schema.shape[key]);
  if (found === undefined) throw new Error(`config key ${key} has no help`);
  return found;
}

/** The default as it would be typed; undefined for a list or when there is none. */
export function defaultText(key: Key): string | undefined {
  const def: { readonly type: string; readonly defaultValue?: unknown } = schema.shape[key].def;
  const value = def.defaultValue;
  return value === undefined || Array.isArray(value) ? undefined : String(value);
}

/** What a text says of a key that may be given several times: its items, which commas part. */
export function listed(key: Key, text: string): string | string[] {
  return helpOf(key).repeatable ? text.split(",").map((item) => item.trim()) : text;
}

/** The key as in flags and YAML. */
export function kebab(key: Key): string {
  return key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

/** The key as in the environment. */
export function envName(key: Key): string {
  return `WEFT_${kebab(key).replaceAll("-", "_").toUpperCase()}`;
}

/** The variables that set the key, the one that counts most first. */
export function variablesOf(key: Key): readonly string[] {
  const { standardVariable } = helpOf(key);
  return [envName(key), ...(standardVariable === undefined ? [] : [standardVariable])];
}

/** A schema that reads text with `parse`, whose reason becomes the error's message. */
function parsed<T>(parse: (text: string) => Parsed<T>) {
  return z.union([z.string(), z.number()], { error: "expected text" }).transform((text, context) => {
    const result = parse(String(text));
    if (result.ok) return result.value;
    context.issues.push({ code: "custom", message: result.reason, input: text });
    return z.NEVER;
  });
}
