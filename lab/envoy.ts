// Owns a real Envoy as a waypoint, and its configuration. Must not know weft.

import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { packageRoot } from "../daemon/base/package-root.js";
import type { Lab, Pod } from "./lab.js";
import type { RunningProcess } from "./process.js";

/** One place that Envoy listens on, IPv4 and IPv6. */
export interface EnvoyListener {
  readonly port: number;
  /** Whether each connection begins with PROXY protocol, which is what weft sends to a waypoint. */
  readonly proxied: boolean;
  /** Writes a line for each connection or request to Envoy's stdout: where it was going, from where, and where it went. */
  readonly logs?: boolean;
  /** Default tcp. http: HTTP/1.1, and HTTP/2 for those who begin with it. */
  readonly http?: EnvoyRoutes;
}

export interface EnvoyRoutes {
  /** Requests with the header x-version: v2 go there; nothing else does. */
  readonly v2?: EnvoyTarget;
  /** Where all others go, default to where the connection was going. */
  readonly others?: EnvoyTarget;
  /** Requests whose path begins so are denied with 403. */
  readonly denied?: string;
  /** What servers are spoken to in, default h2. */
  readonly upstream?: "h1" | "h2";
}

export interface EnvoyTarget {
  readonly host: string;
  readonly port: number;
}

const TYPE = "type.googleapis.com/envoy.";
const LINE = "%DOWNSTREAM_LOCAL_ADDRESS% from %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% to %UPSTREAM_HOST%\n";

/** Starts the Envoy that `make build/stamps/envoy` installed, with one worker; resolves when it listens. */
export async function startEnvoy(
  lab: Lab,
  pod: Pod,
  listeners: readonly [EnvoyListener, ...EnvoyListener[]],
): Promise<RunningProcess> {
  const binary = join(packageRoot(), "build", "envoy", "envoy", "_bin", "envoy");
  if (!existsSync(binary)) throw new Error(`${binary} is missing: run make build/stamps/envoy`);
  const file = join(lab.directory, "envoy.json");
  writeFileSync(file, JSON.stringify(envoyConfig(listeners)));
  const flags = ["--disable-hot-restart", "--log-level", "warn", "--file-flush-interval-msec", "100"];
  const argv = [binary, "--config-path", file, "--concurrency", "1", ...flags];
  return lab.spawn(pod, argv, { port: listeners[0].port });
}

/** Of an Envoy that is a waypoint; every file that it reads is in it. */
export function envoyConfig(listeners: readonly EnvoyListener[]): object {
  const clusters = listeners.flatMap(({ port, http }) => [
    clusterOf(`others-${port}`, http?.others, http),
    ...(http?.v2 === undefined ? [] : [clusterOf(`v2-${port}`, http.v2, http)]),
  ]);
  return { static_resources: { listeners: listeners.map(listenerOf), clusters } };
}

function listenerOf(listener: EnvoyListener): object {
  const { port, proxied, http } = listener;
  const filter = "extensions.filters.listener.proxy_protocol.v3.ProxyProtocol";
  return {
    name: `${port}`,
    address: { socket_address: { address: "::", port_value: port, ipv4_compat: true } },
    listener_filters: proxied ? [named("envoy.filters.listener.proxy_protocol", filter, {})] : [],
    filter_chains: [{ filters: [http === undefined ? tcpProxy(listener) : httpFilter(listener, http)] }],
  };
}

function tcpProxy({ port, logs }: EnvoyListener): object {
  return named("tcp", "extensions.filters.network.tcp_proxy.v3.TcpProxy", {
    stat_prefix: "tcp",
    cluster: `others-${port}`,
    access_log: accessLog(logs),
  });
}

function httpFilter({ port, logs }: EnvoyListener, { v2, denied }: EnvoyRoutes): object {
  const toV2 = {
    match: { prefix: "/", headers: [{ name: "x-version", string_match: { exact: "v2" } }] },
    route: { cluster: `v2-${port}`, timeout: "0s" },
  };
  const others = { match: { prefix: "/" }, route: { cluster: `others-${port}`, timeout: "0s" } };
  const told = (key: string, value: string) => ({ header: { key, value } });
  const router = named("router", "extensions.filters.http.router.v3.Router", {});
  return named("http", "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager", {
    stat_prefix: "http",
    access_log: accessLog(logs),
    route_config: {
      request_headers_to_add: [
        told("x-destination", "%DOWNSTREAM_LOCAL_ADDRESS%"),
        told("x-source", "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"),
      ],
      virtual_hosts: [{ name: "all", domains: ["*"], routes: [...(v2 === undefined ? [] : [toV2]), others] }],
    },
    http_filters: [...(denied === undefined ? [] : [denyPath(denied)]), router],
  });
}

function denyPath(prefix: string): object {
  const permissions = [{ url_path: { path: { prefix } } }];
  return named("rbac", "extensions.filters.http.rbac.v3.RBAC", {
    rules: { action: "DENY", policies: { path: { permissions, principals: [{ any: true }] } } },
  });
}

/** Without a target: to where the connection was going, as the header says. */
function clusterOf(name: string, target: EnvoyTarget | undefined, http: EnvoyRoutes | undefined): object {
  const protocol = http?.upstream === "h1" ? { http_protocol_options: {} } : { http2_protocol_options: {} };
  const options = {
    "@type": `${TYPE}extensions.upstreams.http.v3.HttpProtocolOptions`,
    explicit_http_config: protocol,
  };
  const spoken =
    http === undefined
      ? {}
      : {
          typed_extension_protocol_options: {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options,
          },
        };
  if (target === undefined) return { name, type: "ORIGINAL_DST", lb_policy: "CLUSTER_PROVIDED", ...spoken };
  const address = { socket_address: { address: target.host, port_value: target.port } };
  const endpoints = [{ lb_endpoints: [{ endpoint: { address } }] }];
  return { name, load_assignment: { cluster_name: name, endpoints }, ...spoken };
}

function accessLog(logs = false): object[] {
  const line = { log_format: { text_format_source: { inline_string: LINE } } };
  return logs ? [named("log", "extensions.access_loggers.stream.v3.StdoutAccessLog", line)] : [];
}

function named(name: string, type: string, fields: object): object {
  return { name, typed_config: { "@type": TYPE + type, ...fields } };
}
