// Owns a waypoint of one's own in the cluster: an Envoy, its Service, and the Gateway that says so to istiod, which
// deploys nothing then. Must not know who goes through it.

import { join } from "node:path";
import { packageRoot } from "../../daemon/base/package-root.js";
import { envoyConfig } from "../../lab/envoy.js";
import type { NodeName } from "./cluster.js";

/** Of the Gateway, the Service, the pod and its configuration. */
export const GATE = "gate";
const PORT = 15_008;
const GATEWAY = "gateway.networking.k8s.io";
/** Where the nodes have it: they see the machine's files. */
const ENVOY = join(packageRoot(), "build", "envoy", "envoy", "_bin");

/** Its log has a line for each connection: where it was going, from where, and where it went. */
export function gateObjects(namespace: string, node: NodeName, image: string): object[] {
  const labels = { app: GATE, [`${GATEWAY}/gateway-name`]: GATE };
  const metadata = { name: GATE, namespace, labels };
  const config = envoyConfig([{ port: PORT, proxied: true, logs: true }]);
  return [
    { apiVersion: "v1", kind: "ConfigMap", metadata, data: { "envoy.json": JSON.stringify(config) } },
    { apiVersion: "v1", kind: "Pod", metadata, spec: podSpec(node, image) },
    {
      ...{ apiVersion: "v1", kind: "Service", metadata },
      spec: { selector: { app: GATE }, ports: [{ name: "mesh", port: PORT }] },
    },
    {
      ...{ apiVersion: `${GATEWAY}/v1`, kind: "Gateway" },
      metadata: { ...metadata, labels: { "istio.io/waypoint-for": "service" } },
      spec: {
        gatewayClassName: "istio-waypoint",
        addresses: [{ type: "Hostname", value: `${GATE}.${namespace}.svc.cluster.local` }],
        listeners: [{ name: "mesh", port: PORT, protocol: "HBONE" }],
      },
    },
  ];
}

function podSpec(node: NodeName, image: string): object {
  const flags = ["--disable-hot-restart", "--log-level", "error", "--file-flush-interval-msec", "100"];
  return {
    ...{ nodeSelector: { "kubernetes.io/hostname": node }, terminationGracePeriodSeconds: 1 },
    containers: [
      {
        ...{ name: "envoy", image, imagePullPolicy: "Never" },
        command: ["/envoy/envoy", "--config-path", "/etc/envoy/envoy.json", "--concurrency", "1", ...flags],
        readinessProbe: { tcpSocket: { port: PORT }, periodSeconds: 1 },
        volumeMounts: [
          { name: "envoy", mountPath: "/envoy", readOnly: true },
          { name: "configuration", mountPath: "/etc/envoy" },
        ],
      },
    ],
    volumes: [
      { name: "envoy", hostPath: { path: ENVOY } },
      { name: "configuration", configMap: { name: GATE } },
    ],
  };
}
