// Owns the shape of what is said of a route, as answers.ts does of all else. Must not know how it comes about.

import * as z from "zod";
import { list, type Of, port, text } from "./answers.js";

const routeCandidate = z.object({
  service: text("namespace/hostname"),
  block: z.string().nullable().describe("the block that it has there; null: the address itself"),
  standing: z
    .enum([
      "seen",
      "not_visible",
      "own_namespace_first",
      "narrower_first",
      "canonical_first",
      "smaller_key_first",
    ])
    .describe("`seen`: it decides; else why another does, or none"),
});
export type RouteCandidate = Of<typeof routeCandidate>;

const routeEndpoint = z.object({
  address: text("with its port"),
  workload: z.string().nullable().describe("uid"),
  share: z.number().describe("of new connections, of 1"),
  through: list.describe(
    "uids of endpoints of the service that lead here: their address is another service's",
  ),
});
export type RouteEndpoint = Of<typeof routeEndpoint>;

const unusedEndpoint = z.object({
  workload: text("uid"),
  addresses: list,
  reason: text(
    "no_port, unhealthy, no_weight, remote_network, no_address, chained_nowhere, other_family, not_local, farther, set_aside",
  ),
  why: text("for a person"),
});
export type UnusedEndpoint = Of<typeof unusedEndpoint>;

const route = z.object({
  address: text("with its port"),
  action: z.enum(["pass", "rewrite", "refuse"]).describe("the kernel's own decision"),
  reason: text("as in weft_bpf_decisions_total"),
  service: z.string().nullable().describe("whose frontend the kernel found"),
  owner: z.string().nullable().describe("uid of the workload that has the address"),
  candidates: z.array(routeCandidate).describe("services at the address, or at the blocks around it"),
  port: port.nullable().describe("as the service lists it; a target port of 0: endpoints name their own"),
  balancing: z
    .object({ mode: z.string(), routingPreference: list, healthPolicy: z.string(), ipFamilies: z.string() })
    .nullable()
    .describe("how the service chooses among its endpoints"),
  waypoint: z.string().nullable().describe("of the service, or else of the addressed workload"),
  guided: z.boolean().describe("the endpoints, or none, are the waypoint's"),
  crosses: z.boolean().describe("from IPv6 to endpoints of IPv4"),
  endpoints: z.array(routeEndpoint).describe("what the kernel picks from, the largest share first"),
  unused: z.array(unusedEndpoint).describe("endpoints of the service that get nothing"),
  omitted: z
    .object({ endpoints: z.int(), unused: z.int() })
    .describe("how many more there are than are listed"),
  notes: list.describe("what else decides, a sentence each"),
  differences: list.describe("what the resources as received say otherwise than the kernel, a sentence each"),
});
export type ExplainedRoute = Of<typeof route>;

export const routeExplanation = z.object({
  from: z.object({ pod: text("namespace/name"), workload: z.string().nullable() }),
  to: text("as asked"),
  protocol: z.enum(["tcp", "udp"]),
  name: z
    .string()
    .nullable()
    .describe("the service or pod that was meant, namespace/hostname; null: an address"),
  routes: z.array(route).describe("one for each address of the name"),
});
export type RouteExplanation = Of<typeof routeExplanation>;
