import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  Direction,
  HitKind,
  Hits,
  LabelKind,
  Outcome,
  Party,
  PodTraffic,
  PodTrafficKey,
  PolicyHitKey,
  PolicyId,
  Reason,
  Traffic,
  TrafficKey,
} from "../bpf/maps.gen.js";
import { partyText, podText, policyText, serviceText } from "../model/label-text.js";
import { pod, service } from "../model/test-samples.js";
import type { Part } from "./exposition.js";
import { Instruments } from "./instruments.js";
import { createMetrics, type MetricsOptions } from "./metrics.js";
import { parseExposition, samplesOf, textOf } from "./test-exposition.js";
import { bookOf, rowsOf } from "./test-series.js";

const MOST = 956;
const reviews = { workloadName: "reviews", canonicalName: "reviews", serviceAccount: "reviews" };
const productpage = {
  workloadName: "productpage",
  canonicalName: "productpage",
  canonicalRevision: "v1",
};

/** Parties 2 and 3 have the same labels. */
const LABELS = [
  [LabelKind.PARTY, 1, partyText(pod("productpage-a", productpage), MOST)],
  [LabelKind.PARTY, 2, partyText(pod("reviews-a", reviews), MOST)],
  [LabelKind.PARTY, 3, partyText(pod("reviews-b", reviews), MOST)],
  [
    LabelKind.SERVICE,
    9,
    serviceText(service("reviews", { hostname: "reviews.default.svc.cluster.local" }), MOST),
  ],
  [LabelKind.POD, 70, podText(pod("reviews-a", { addresses: ["10.0.0.7"] }), MOST)],
  [LabelKind.POLICY, 5, policyText({ namespace: "default", name: "no-ratings" }, MOST)],
  [LabelKind.POLICY, 6, policyText({ namespace: "default", name: "ratings" }, MOST)],
] as const;

interface Row {
  readonly key: TrafficKey;
  readonly value: Traffic;
}

function key(fields: Partial<TrafficKey>): TrafficKey {
  return {
    sourceParty: 1,
    destinationParty: 2,
    service: 9,
    direction: Direction.OUTBOUND,
    outcome: Outcome.OK,
    ...fields,
  };
}

function traffic(fields: Partial<Traffic>): Traffic {
  return { usedNs: 1n, opened: 0n, closed: 0n, failed: 0n, sentBytes: 0n, receivedBytes: 0n, ...fields };
}

const HITS = [
  { policy: 5, destinationParty: 2, kind: HitKind.DENIED, count: 2n },
  { policy: 5, destinationParty: 3, kind: HitKind.DENIED, count: 4n },
  { policy: 0, destinationParty: 0, kind: HitKind.DENIED, count: 1n },
  { policy: PolicyId.UNKNOWN, destinationParty: 1, kind: HitKind.DENIED, count: 11n },
  { policy: 77, destinationParty: 1, kind: HitKind.DENIED, count: 13n },
  { policy: 5, destinationParty: 1, kind: HitKind.WOULD_DENY, count: 8n },
  { policy: 6, destinationParty: 1, kind: HitKind.WOULD_ALLOW, count: 16n },
  { policy: 5, destinationParty: 2, kind: HitKind.EARLY, count: 64n },
  { policy: 5, destinationParty: 2, kind: HitKind.ALLOWED, count: 128n },
];

/** What is counted by the destination's pod, with --workload-metrics. */
const PODS = [
  {
    key: { sourceParty: 1, destinationParty: 2, pod: 70, direction: Direction.OUTBOUND, outcome: Outcome.OK },
    value: {
      traffic: traffic({ opened: 3n, closed: 2n, sentBytes: 100n, receivedBytes: 2000n }),
      retransmits: 9n,
      lost: 8n,
    },
  },
  {
    key: {
      sourceParty: 1,
      destinationParty: 2,
      pod: 0,
      direction: Direction.OUTBOUND,
      outcome: Outcome.DENY,
    },
    value: { traffic: traffic({ failed: 4n }), retransmits: 0n, lost: 0n },
  },
];

async function scrape(counts: readonly Row[], changes: Partial<MetricsOptions> = {}) {
  const instruments = new Instruments();
  const traffic = [rowsOf(TrafficKey, Traffic, counts)];
  const pods = [rowsOf(PodTrafficKey, PodTraffic, PODS)];
  const hits = HITS.map(({ count, ...key }) => ({ key, value: { count, usedNs: 1n } }));
  const metrics = createMetrics({
    instruments,
    book: bookOf(LABELS),
    keeper: {
      read: () => ({ traffic, pod_traffic: pods, policy_hits: [rowsOf(PolicyHitKey, Hits, hits)] }),
    },
    details: () => ({ workloads: false, connections: false }),
    connections: { counts: { shown: 2, omitted: 1 }, render: () => [].values() as never },
    counters: {
      reasons: () => [
        { reason: Reason.ROUTED, count: 7n },
        { reason: Reason.EVENT_DROPPED, count: 3n },
        { reason: Reason.TRAFFIC_FULL, count: 5n },
      ],
      maps: () => [{ name: "slots", entries: 3, capacity: 32768 }],
      programs: () => [{ name: "weft_connect4", runTimeNs: 1_500_000_002n, runCount: 11n }],
      skippedRuns: () => [{ name: "weft_on_destroy", count: 3n }],
    },
    state: {
      xds: () => ({
        connected: true,
        lastContactAt: 1_500,
        snapshot: { bytes: 70, governs: true },
        messages: 2,
        bytes: 100,
        streams: 1,
        faults: { port: 3 },
        types: [{ type: "Address", responses: 2, nacks: 1 }],
      }),
      resources: () => ({ workload: 3, service: 1 }),
      disabled: () => true,
      blindSpots: () => ({ forwarding: 2 }),
      limits: () => ({ descriptors: 0.25 }),
      authzEnforced: () => true,
      outliers: () => ({ aside: 1, changes: { set_aside: 3, time: 2 } }),
      policyHolds: () => ({ begun: 5, expired: 2 }),
      pods: () => ({ named: 2, unnamed: 1, pending: 0, failed: 1 }),
    },
    accessLog: { written: 4, dropped: 1, suppressed: 6 },
    log: { written: 9, dropped: 2 },
    build: { version: "1", commit: "c", layout: "l" },
    legacyNames: false,
    ...changes,
  });
  instruments.responseToKernel(0.0004);
  instruments.mapWriteFailed("slots");
  const parts: Part[] = [];
  for await (const part of metrics.render()) parts.push(part);
  return parseExposition(textOf(parts));
}

describe("traffic metrics", () => {
  it("publishes both families with all labels", async () => {
    const page = await scrape([{ key: key({}), value: traffic({ opened: 2n, closed: 1n }) }]);
    const labels = {
      reporter: "source",
      source_workload: "productpage",
      source_canonical_service: "productpage",
      source_canonical_revision: "v1",
      source_workload_namespace: "default",
      source_principal: "spiffe://cluster.local/ns/default/sa/default",
      source_app: "productpage",
      source_version: "v1",
      source_cluster: "Kubernetes",
      destination_service: "reviews.default.svc.cluster.local",
      destination_service_namespace: "default",
      destination_service_name: "reviews",
      destination_workload: "reviews",
      destination_canonical_service: "reviews",
      destination_canonical_revision: "latest",
      destination_workload_namespace: "default",
      destination_principal: "spiffe://cluster.local/ns/default/sa/reviews",
      destination_app: "reviews",
      destination_version: "latest",
      destination_cluster: "Kubernetes",
      request_protocol: "tcp",
      response_flags: "-",
      connection_security_policy: "none",
    };
    for (const family of ["kmesh_tcp_connections_opened_total", "istio_tcp_connections_opened_total"]) {
      expect(page.get(family)?.type).toBe("counter");
      expect(samplesOf(page, family)).toEqual([{ labels, value: 2 }]);
    }
    expect(samplesOf(page, "kmesh_tcp_connections_closed_total")[0]?.value).toBe(1);
    expect(samplesOf(page, "kmesh_tcp_received_bytes_total")[0]?.value).toBe(0);
    expect(samplesOf(page, "kmesh_tcp_connections_failed_total")).toEqual([]);
  });

  it("counts bytes by the way of the request, whoever reports", async () => {
    const client = traffic({ opened: 1n, sentBytes: 100n, receivedBytes: 2000n });
    const server = traffic({ opened: 1n, sentBytes: 2000n, receivedBytes: 100n });
    const page = await scrape([
      { key: key({}), value: client },
      { key: key({ direction: Direction.INBOUND }), value: server },
    ]);
    const both = (name: string) => samplesOf(page, name).map(({ labels, value }) => [labels.reporter, value]);
    expect(both("istio_tcp_received_bytes_total")).toEqual([
      ["source", 100],
      ["destination", 100],
    ]);
    expect(both("istio_tcp_sent_bytes_total")).toEqual([
      ["source", 2000],
      ["destination", 2000],
    ]);
  });

  it("sums replicas, which have equal labels", async () => {
    const page = await scrape([
      { key: key({ destinationParty: 2 }), value: traffic({ opened: 2n ** 53n }) },
      { key: key({ destinationParty: 3 }), value: traffic({ opened: 2n ** 53n }) },
    ]);
    expect(samplesOf(page, "kmesh_tcp_connections_opened_total").map(({ value }) => value)).toEqual([
      2 ** 54,
    ]);
  });

  it("shows nothing of whom nobody knows yet, and of the overflow once something is counted there", async () => {
    const overflow = { sourceParty: Party.OVERFLOW, destinationParty: Party.OVERFLOW, service: 0 };
    const page = await scrape([
      { key: key({ sourceParty: 40 }), value: traffic({ opened: 1n }) },
      { key: key({ service: 41 }), value: traffic({ opened: 1n }) },
      { key: key(overflow), value: traffic({ opened: 2n }) },
      { key: key({ ...overflow, direction: Direction.INBOUND }), value: traffic({ usedNs: 0n }) },
    ]);
    const samples = samplesOf(page, "kmesh_tcp_connections_opened_total");
    expect(samples.map(({ labels, value }) => [labels.source_workload, value])).toEqual([["overflow", 2]]);
  });

  it("says absent as each system does", async () => {
    const page = await scrape([{ key: key({ sourceParty: 0, service: 0 }), value: traffic({ opened: 1n }) }]);
    const [kmesh] = samplesOf(page, "kmesh_tcp_connections_opened_total");
    const [istio] = samplesOf(page, "istio_tcp_connections_opened_total");
    expect([kmesh?.labels.source_workload, kmesh?.labels.destination_service]).toEqual(["-", "-"]);
    expect([istio?.labels.source_principal, istio?.labels.destination_service]).toEqual([
      "unknown",
      "unknown",
    ]);
    expect(istio?.labels.response_flags).toBe("-");
  });

  it("flags failures and can spell them as Kmesh does", async () => {
    const counts = [Outcome.DENY, Outcome.CONNECT, Outcome.NO_ENDPOINT].map((outcome) => ({
      key: key({ outcome }),
      value: traffic({ failed: 1n }),
    }));
    const page = await scrape(counts, { legacyNames: true });
    for (const name of ["kmesh_tcp_connections_failed_total", "kmesh_tcp_conntections_failed_total"]) {
      expect(samplesOf(page, name).map(({ labels }) => labels.response_flags)).toEqual([
        "DENY",
        "CONNECT",
        "NO_ENDPOINT",
      ]);
    }
    expect(samplesOf(page, "kmesh_tcp_connections_opened_total")).toEqual([]);
    expect(page.has("istio_tcp_conntections_failed_total")).toBe(false);
  });

  it("counts by pod, with what was sent again and lost, only where that is asked for", async () => {
    const names = ["connections_opened", "connections_closed", "received_bytes", "sent_bytes"];
    const families = [
      ...[...names, "connections_failed"].map((name) => `kmesh_tcp_workload_${name}_total`),
      ...["kmesh_tcp_retrans_total", "kmesh_tcp_packet_loss_total"],
    ];
    const without = await scrape([]);
    expect(families.filter((name) => without.has(name))).toEqual([]);
    const details = () => ({ workloads: true, connections: false });
    const page = await scrape([], { details, legacyNames: true });
    const pod = {
      destination_pod_address: "10.0.0.7",
      destination_pod_namespace: "default",
      destination_pod_name: "reviews-a",
    };
    const nobody = {
      destination_pod_address: "-",
      destination_pod_namespace: "-",
      destination_pod_name: "-",
    };
    const shown = families.map((name) => samplesOf(page, name));
    expect(shown.map(([first]) => first?.value)).toEqual([3, 2, 100, 2000, 4, 9, 8]);
    for (const samples of shown) expect(samples).toHaveLength(1);
    expect(shown[0]?.[0]?.labels).toMatchObject({
      ...pod,
      reporter: "source",
      source_workload: "productpage",
    });
    expect(shown[0]?.[0]?.labels).not.toHaveProperty("destination_service");
    expect(shown[4]?.[0]?.labels).toMatchObject({ ...nobody, response_flags: "DENY" });
    expect(page.has("kmesh_tcp_workload_conntections_failed_total")).toBe(true);
  });

  it("asks for connections one by one, and says for how many there was no room, where that is asked for", async () => {
    const connections = {
      counts: { shown: 2, omitted: 1 },
      *render() {
        yield "# HELP kmesh_tcp_connection_retrans_total x\n# TYPE kmesh_tcp_connection_retrans_total counter\n";
      },
    };
    const counts = (page: Awaited<ReturnType<typeof scrape>>) =>
      samplesOf(page, "weft_connection_series").map(({ labels, value }) => [labels.state, value]);
    const without = await scrape([], { connections });
    expect([without.has("kmesh_tcp_connection_retrans_total"), counts(without)]).toEqual([false, []]);
    const details = () => ({ workloads: false, connections: true });
    const page = await scrape([], { connections, details });
    expect(page.has("kmesh_tcp_connection_retrans_total")).toBe(true);
    expect(counts(page)).toEqual([
      ["shown", 2],
      ["omitted", 1],
    ]);
  });

  it("is a valid page whatever names the control plane sends", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.string({ unit: "binary" }), fc.string({ unit: "binary" })), { maxLength: 4 }),
        async (texts) => {
          const book = bookOf(
            texts.map(([workloadName, canonicalName], index) => [
              LabelKind.PARTY,
              index + 1,
              partyText(pod("x", { workloadName, canonicalName }), MOST),
            ]),
          );
          const counts = texts.map((_, index) => ({
            key: key({ sourceParty: index + 1, destinationParty: 0, service: 0 }),
            value: traffic({ opened: 1n }),
          }));
          const page = await scrape(counts, { book });
          const total = samplesOf(page, "kmesh_tcp_connections_opened_total").reduce(
            (sum, { value }) => sum + value,
            0,
          );
          expect(total).toBe(texts.length);
        },
      ),
      { numRuns: 30 },
    );
  });
});

describe("metrics of the daemon", () => {
  it("reports kernel, stream and process", async () => {
    const page = await scrape([]);
    const value = (name: string, labels: Record<string, string> = {}) =>
      samplesOf(page, name).find((sample) =>
        Object.entries(labels).every(([label, text]) => sample.labels[label] === text),
      )?.value;
    expect(value("weft_bpf_decisions_total", { reason: "routed" })).toBe(7);
    expect(value("weft_ring_buffer_drops_total")).toBe(3);
    expect(value("weft_bpf_map_entries", { map: "slots" })).toBe(3);
    expect(value("weft_bpf_map_capacity", { map: "slots" })).toBe(32768);
    expect(value("weft_bpf_program_runs_total", { program: "weft_connect4" })).toBe(11);
    expect(value("weft_bpf_program_skipped_runs_total", { program: "weft_on_destroy" })).toBe(3);
    expect(value("weft_bpf_program_run_seconds_total")).toBeCloseTo(1.500000002, 9);
    for (const name of ["weft_bpf_program_runs_total", "weft_bpf_program_run_seconds_total"])
      expect(page.get(name)?.help).toContain("begins anew with each generation of programs");
    expect(value("weft_policy_denials_total", { policy: "default/no-ratings" })).toBe(6);
    expect(value("weft_policy_denials_total", { policy: "-" })).toBe(1);
    expect(value("weft_policy_allows_total", { policy: "default/no-ratings" })).toBe(128);
    expect(value("weft_policy_early_denials_total", { policy: "default/no-ratings" })).toBe(64);
    const dryRuns = (verdict: string) =>
      value("weft_policy_dry_run_matches_total", { destination_workload: "productpage", verdict });
    expect(["would_deny", "would_allow"].map(dryRuns)).toEqual([8, 16]);
    expect(value("weft_policy_denials_total", { policy: "unknown" })).toBe(11);
    expect(samplesOf(page, "weft_policy_denials_total")).toHaveLength(3);
    expect(value("weft_metrics_overflow_total")).toBe(5);
    expect(value("weft_blind_spots", { kind: "forwarding" })).toBe(2);
    expect(value("weft_endpoints_set_aside")).toBe(1);
    expect(value("weft_endpoint_outliers_total", { event: "set_aside" })).toBe(3);
    expect(value("weft_xds_messages_total")).toBe(2);
    expect(value("weft_xds_bytes_total")).toBe(100);
    expect(value("weft_xds_responses_total", { type: "Address", answer: "nack" })).toBe(1);
    expect(value("weft_xds_rejected_resources_total", { fault: "port" })).toBe(3);
    expect(value("weft_xds_connected")).toBe(1);
    expect(value("weft_resources", { type: "workload" })).toBe(3);
    expect(value("weft_pods", { state: "named" })).toBe(2);
    expect(value("weft_pods", { state: "failed" })).toBe(1);
    expect(value("weft_policy_holds_total", { event: "begun" })).toBe(5);
    expect(value("weft_policy_holds_total", { event: "expired" })).toBe(2);
    expect(value("weft_access_log_lines_total", { result: "dropped" })).toBe(1);
    expect(value("weft_access_log_lines_total", { result: "suppressed" })).toBe(6);
    expect(value("weft_log_lines_total", { result: "suppressed" })).toBeUndefined();
    expect(page.get("weft_access_log_lines_total")?.type).toBe("counter");
    expect(value("weft_bpf_map_write_failures_total", { map: "slots" })).toBe(1);
    expect(page.get("weft_xds_response_to_kernel_seconds")?.type).toBe("histogram");
    expect(value("process_resident_memory_bytes")).toBeGreaterThan(0);
  });
});
