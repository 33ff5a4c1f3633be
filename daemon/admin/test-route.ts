// Owns a route as specs of the admin port and of weftctl show it. Must not be imported by anything else.

import type { RouteExplanation } from "./route-answers.js";

export const route: RouteExplanation = {
  from: { pod: "shop/cart", workload: "Kubernetes//Pod/shop/cart" },
  to: "web:80",
  protocol: "tcp",
  name: "shop/web.shop.svc.cluster.local",
  routes: [
    {
      address: "10.96.0.1:80",
      action: "rewrite",
      reason: "routed",
      service: "shop/web.shop.svc.cluster.local",
      owner: null,
      candidates: [
        { service: "shop/web.shop.svc.cluster.local", block: null, standing: "seen" },
        { service: "default/web", block: null, standing: "own_namespace_first" },
      ],
      port: { service_port: 80, target_port: 8080 },
      balancing: {
        mode: "FAILOVER",
        routingPreference: ["REGION", "ZONE"],
        healthPolicy: "ONLY_HEALTHY",
        ipFamilies: "AUTOMATIC",
      },
      waypoint: null,
      guided: false,
      crosses: false,
      endpoints: [
        { address: "10.0.0.2:8080", workload: "Kubernetes//Pod/shop/web-b", share: 0.75, through: [] },
        { address: "10.0.0.1:8080", workload: null, share: 0.25, through: ["Kubernetes/ServiceEntry/web"] },
      ],
      unused: [
        {
          workload: "Kubernetes//Pod/shop/web-c",
          addresses: ["10.0.0.3"],
          reason: "unhealthy",
          why: "unhealthy",
        },
      ],
      omitted: { endpoints: 0, unused: 0 },
      notes: [],
      differences: [],
    },
  ],
};
