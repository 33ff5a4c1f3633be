// Owns which of Kubernetes' end-to-end tests a run is asked for, and which of those are known to fail, each with the
// reason. Must not know how they are run.

/** What is asked for unless FOCUS says otherwise; a regular expression as ginkgo takes it. */
export const FOCUS = "\\[sig-network\\]";

/** Part of a name as a regular expression: why these are not asked for. */
export const LEFT_OUT: Readonly<Record<string, string>> = {
  "\\[Feature:":
    "SCTP, IPv6 beside IPv4, Ingress, NetworkPolicy, load balancers, the internet: the cluster has none",
  "\\[Provider:": "for one cloud provider",
  "\\[Disruptive\\]": "restarts of the control plane by a provider's means",
  "DNS configMap": "changes kubeadm's Corefile, and expects to be alone",
  KubeProxy: "kube-proxy's own tables and metrics",
};

/** Name of a test without its tags: why it fails without weft too. */
export const FAILING_WITHOUT: Readonly<Record<string, string>> = {};

const AFFINITY = "istiod says nothing of sessionAffinity: weft balances such a Service as any other";
const TERMINATING = "istiod says of an endpoint only whether it is ready, and one that ends is not";

/** Name of a test: what weft would have to know to pass it and is not told, as ztunnel is not. They pass without weft. */
export const NOT_TOLD: Readonly<Record<string, string>> = {
  "Networking Granular Checks: Services should function for client IP based session affinity: http": AFFINITY,
  "Networking Granular Checks: Services should function for client IP based session affinity: udp": AFFINITY,
  "Services should have session affinity work for service with type clusterIP": AFFINITY,
  "Services should have session affinity timeout work for service with type clusterIP": AFFINITY,
  "Services should be able to switch session affinity for service with type clusterIP": AFFINITY,
  "Services should fallback to terminating endpoints when there are no ready endpoints with internalTrafficPolicy=Cluster":
    TERMINATING,
  "Services should fallback to local terminating endpoints when there are no ready endpoints with internalTrafficPolicy=Local":
    TERMINATING,
  "Services should serve endpoints on same port and different protocols":
    "istiod does not say which protocol a port is of: a port of TCP is one of UDP too",
  "Services should serve endpoints on same port and different protocol for internal traffic on Type LoadBalancer":
    "istiod knows a named target port only of TCP, and of two ports with one number only the last",
};
