// Owns sample answers about authorization for specs. Must not be imported by anything else.

import type { AuthzExplanation, AuthzTrial } from "./answers.js";

export const explanation: AuthzExplanation = {
  from: {
    address: "10.0.0.9",
    workload: "Kubernetes//Pod/shop/cart",
    principal: "cluster.local/ns/shop/sa/cart",
  },
  to: { address: "10.0.0.1:8080", pod: "default/web", workload: "Kubernetes//Pod/default/web" },
  allowed: false,
  reason: "authz_no_allow",
  decidedBy: null,
  policies: [
    {
      name: "default/viewers",
      action: "ALLOW",
      scope: "NAMESPACE",
      dryRun: false,
      held: true,
      rules: 2,
      matchingRule: null,
    },
  ],
  closest: {
    policy: "default/viewers",
    rule: 1,
    lacks: [{ field: "namespaces", is: "shop", wants: ["default", "a*"] }],
  },
  agrees: true,
};

export const trial: AuthzTrial = {
  changes: [
    {
      from: {
        address: "10.0.0.9",
        workload: "Kubernetes//Pod/shop/cart",
        principal: "cluster.local/ns/shop/sa/cart",
      },
      to: { pod: "default/web", address: "10.0.0.1", port: 8080 },
      seen: "open",
      before: { allowed: true, reason: "authz_allowed", decidedBy: "default/viewers" },
      after: { allowed: false, reason: "authz_denied", decidedBy: "default/no-cart" },
    },
    {
      from: { address: "192.0.2.1", workload: null, principal: null },
      to: { pod: "default/web", address: "10.0.0.1", port: null },
      seen: "counted",
      before: { allowed: false, reason: "authz_no_allow", decidedBy: null },
      after: { allowed: true, reason: "authz_no_policy", decidedBy: null },
    },
  ],
  policies: [{ name: "default/no-cart", isNew: true, scope: "NAMESPACE", pods: ["default/web"] }],
  counts: { refused: 1, admitted: 1, stillAllowed: 2, stillRefused: 0 },
  looked: {
    open: 2,
    logged: 1,
    loggedSince: "2024-09-14T08:00:00.000Z",
    logEnabled: false,
    counted: 1,
    byNode: 1,
    unnamed: 0,
    omitted: 0,
  },
  notes: ["policy default/no-cart is assumed"],
};
