// Owns what runs on the nodes of a cluster, and how it is configured. Must not know how a node is made.

import { join } from "node:path";
import { packageRoot } from "../../daemon/base/package-root.js";
import type { Credentials } from "./credentials.js";

/** All of Kubernetes and etcd as one program: test/istiod/harness/kubernetes. */
export const KUBERNETES = join(packageRoot(), "build", "kubernetes");

const SERVICES = "10.96.0.0/16";
/** The API server's, as pods reach it: the first of SERVICES. */
export const API_SERVICE = "10.96.0.1";
/** Of istiod's Service. */
const ISTIOD = "10.96.0.15";

const PODS = "10.244.0.0/16";

/** Of the node of that number, from 1 on. */
export const podsOf = (number: number) => `10.244.${number}.0/24`;
export const addressOf = (number: number) => `10.250.0.${10 + number}`;

/** Of kube-proxy: each of the two that people run has a node. */
const proxyModeOf = (number: number) => (number === 1 ? "nftables" : "iptables");

/** Kubernetes' configuration files may be JSON. */
const json = (value: object) => `${JSON.stringify(value, null, 2)}\n`;

/** The list of CNI plugins of the node of that number. */
export function podNetwork(number: number): string {
  const ipam = {
    ...{ type: "host-local", ranges: [[{ subnet: podsOf(number) }]] },
    routes: [{ dst: "0.0.0.0/0" }],
  };
  const bridge = { type: "bridge", bridge: "cni0", isGateway: true, ipMasq: false, hairpinMode: true, ipam };
  const portmap = { type: "portmap", capabilities: { portMappings: true } };
  return json({ cniVersion: "0.4.0", name: "pods", plugins: [bridge, portmap] });
}

/** What a node's /etc has: pods' network, names, and the programs' configuration. */
export function etcOf(number: number, name: string, credentials: Credentials): Record<string, string> {
  return {
    "cni/net.d/10-pods.conflist": podNetwork(number),
    // In place of a cluster DNS, for what is on the node's network.
    hosts: `127.0.0.1 localhost\n${ISTIOD} istiod.istio-system.svc\n`,
    "resolv.conf": "nameserver 10.96.0.10\n",
    "kubernetes/kubelet.json": json(kubeletConfig(credentials)),
    "kubernetes/proxy.json": json({
      ...{ apiVersion: "kubeproxy.config.k8s.io/v1alpha1", kind: "KubeProxyConfiguration" },
      ...{ mode: proxyModeOf(number), clusterCIDR: PODS, hostnameOverride: name },
      clientConnection: { kubeconfig: credentials.kubeconfig("proxy") },
      // One value for the whole machine: left alone.
      conntrack: { maxPerCore: 0, min: 0 },
    }),
  };
}

function kubeletConfig({ authority }: Credentials): object {
  return {
    ...{ apiVersion: "kubelet.config.k8s.io/v1beta1", kind: "KubeletConfiguration" },
    ...{ failCgroupV1: false, cgroupDriver: "cgroupfs", failSwapOn: false },
    containerRuntimeEndpoint: "unix:///run/containerd/containerd.sock",
    authentication: {
      anonymous: { enabled: false },
      webhook: { enabled: true },
      x509: { clientCAFile: authority },
    },
    authorization: { mode: "Webhook" },
    ...{ clusterDNS: ["10.96.0.10"], clusterDomain: "cluster.local", resolvConf: "/etc/resolv.conf" },
    volumePluginDir: "/var/lib/kubelet/plugins-of-others",
    evictionHard: { "memory.available": "200Mi", "nodefs.available": "1%", "nodefs.inodesFree": "1%" },
    // Nothing brings an image back.
    ...{ imageGCHighThresholdPercent: 100, imageGCLowThresholdPercent: 99 },
    shutdownGracePeriod: "0s",
  };
}

/** Node 1 carries the control plane too. */
export function programsOf(
  number: number,
  name: string,
  credentials: Credentials,
): Record<string, readonly string[]> {
  const kubelet = ["kubelet", "--config=/etc/kubernetes/kubelet.json", `--hostname-override=${name}`];
  return {
    ...(number === 1 ? controlPlane(credentials) : {}),
    kubelet: [
      ...[KUBERNETES, ...kubelet, `--node-ip=${addressOf(number)}`],
      `--kubeconfig=${credentials.kubeconfig(name)}`,
    ],
    "kube-proxy": [KUBERNETES, "kube-proxy", "--config=/etc/kubernetes/proxy.json"],
  };
}

function controlPlane(credentials: Credentials): Record<string, readonly string[]> {
  const { authority, server, toKubelets, accounts } = credentials;
  const etcd = "http://127.0.0.1:2379";
  const peers = "http://127.0.0.1:2380";
  return {
    etcd: [
      ...[KUBERNETES, "etcd", "--data-dir=/var/lib/etcd", "--unsafe-no-fsync"],
      ...[`--listen-client-urls=${etcd}`, `--advertise-client-urls=${etcd}`],
      ...[`--listen-peer-urls=${peers}`, `--initial-advertise-peer-urls=${peers}`],
      `--initial-cluster=default=${peers}`,
    ],
    "kube-apiserver": [
      ...[KUBERNETES, "kube-apiserver", `--etcd-servers=${etcd}`, `--advertise-address=${addressOf(1)}`],
      ...["--secure-port=6443", `--service-cluster-ip-range=${SERVICES}`, "--allow-privileged"],
      ...["--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction"],
      ...[`--client-ca-file=${authority}`, "--kubelet-preferred-address-types=InternalIP"],
      ...[`--tls-cert-file=${server.certificate}`, `--tls-private-key-file=${server.key}`],
      ...[`--kubelet-client-certificate=${toKubelets.certificate}`],
      ...[`--kubelet-client-key=${toKubelets.key}`],
      "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
      `--service-account-key-file=${accounts.certificate}`,
      `--service-account-signing-key-file=${accounts.key}`,
    ],
    "kube-controller-manager": [
      ...[KUBERNETES, "kube-controller-manager", "--leader-elect=false", "--bind-address=127.0.0.1"],
      `--kubeconfig=${credentials.kubeconfig("controller-manager")}`,
      ...["--use-service-account-credentials", `--service-account-private-key-file=${accounts.key}`],
      `--root-ca-file=${authority}`,
    ],
    "kube-scheduler": [
      ...[KUBERNETES, "kube-scheduler", "--leader-elect=false", "--bind-address=127.0.0.1"],
      `--kubeconfig=${credentials.kubeconfig("scheduler")}`,
    ],
  };
}

/** Where root lacks CAP_SYS_RESOURCE a lower oom_score_adj cannot be written. */
export const CONTAINERD = `version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "weft.test/pause:1"
  disable_apparmor = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/opt/cni/bin"
    conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
`;
