// Owns the proof of which connections have series, under which labels. What is open is the kernel's:
// test/netns/monitoring.test.ts.

import { expect, it } from "vitest";
import { Direction, LabelKind, OpenConnection } from "../bpf/maps.gen.js";
import { toKeyBytes } from "../model/address.js";
import { ConnectionMetrics } from "./connection-metrics.js";
import { Labeller } from "./labels.js";
import { parseExposition, samplesOf, textOf } from "./test-exposition.js";
import { bookOf } from "./test-series.js";

const party = (workload: string) =>
  ["shop", workload, workload, "v1", "cluster.local", workload, "c"].join("\0");
const book = bookOf([
  [LabelKind.PARTY, 1, party("cart")],
  [LabelKind.PARTY, 2, party("db")],
  [LabelKind.SERVICE, 9, "shop\0db.shop.svc.cluster.local\0db"],
  [LabelKind.POD, 70, "shop\0db-0\x0010.0.0.7"],
]);

function metrics(most = 10) {
  return new ConnectionMetrics({ labeller: new Labeller(book), most });
}

function open(sourcePort: number, fields: Partial<OpenConnection> = {}, pod = 70): Buffer {
  const identity = {
    ...{ sourcePort, destinationPort: 5432, service: 9, pod, direction: Direction.OUTBOUND },
    ...{ sourceParty: 1, destinationParty: 2, startedNs: 1_745_498_874_439_318_976n },
    sourceAddress: toKeyBytes("10.0.0.1"),
    destinationAddress: toKeyBytes("10.0.0.7"),
  };
  const nothing = { sentBytes: 0n, receivedBytes: 0n, retransmits: 0, lost: 0 };
  return Buffer.from(OpenConnection.encode({ identity, ...nothing, ...fields }));
}

const pageOf = (shown: ConnectionMetrics) => parseExposition(textOf(shown.render()));
const NAMES = ["sent_bytes", "received_bytes", "packet_lost", "retrans"].map(
  (name) => `kmesh_tcp_connection_${name}_total`,
);
const portsOf = (shown: ConnectionMetrics) =>
  samplesOf(pageOf(shown), NAMES[0] ?? "").map(({ labels }) => labels.source_address?.split(":")[1]);

it("has all labels, and bytes by the way of the request", () => {
  const shown = metrics();
  shown.see([open(47660, { sentBytes: 100n, receivedBytes: 2n ** 40n, retransmits: 3, lost: 2 })]);
  const page = pageOf(shown);
  expect(NAMES.map((name) => samplesOf(page, name)[0]?.value)).toEqual([2 ** 40, 100, 2, 3]);
  for (const name of NAMES) expect(page.get(name)?.type).toBe("counter");
  expect(samplesOf(page, NAMES[0] ?? "")[0]?.labels).toEqual({
    reporter: "source",
    source_workload: "cart",
    source_canonical_service: "cart",
    source_canonical_revision: "v1",
    source_workload_namespace: "shop",
    source_principal: "spiffe://cluster.local/ns/shop/sa/cart",
    source_app: "cart",
    source_version: "v1",
    source_cluster: "c",
    destination_pod_address: "10.0.0.7",
    destination_pod_namespace: "shop",
    destination_pod_name: "db-0",
    destination_service: "db.shop.svc.cluster.local",
    destination_service_namespace: "shop",
    destination_service_name: "db",
    destination_workload: "db",
    destination_canonical_service: "db",
    destination_canonical_revision: "v1",
    destination_workload_namespace: "shop",
    destination_principal: "spiffe://cluster.local/ns/shop/sa/db",
    destination_app: "db",
    destination_version: "v1",
    destination_cluster: "c",
    request_protocol: "tcp",
    response_flags: "-",
    connection_security_policy: "none",
    start_time: "2025-04-24 12:47:54.439318976 +0000 UTC",
    source_address: "10.0.0.1:47660",
    destination_address: "10.0.0.7:5432",
  });
});

it("goes with its connection, and grows while that goes on", () => {
  const shown = metrics();
  shown.see([Buffer.concat([open(1), open(2)]), open(3)]);
  expect(portsOf(shown)).toEqual(["1", "2", "3"]);
  shown.see([open(2, { retransmits: 7 })]);
  expect(samplesOf(pageOf(shown), NAMES[3] ?? "").map(({ value }) => value)).toEqual([7]);
  shown.see([]);
  expect(portsOf(shown)).toEqual([]);
});

it("is there for so many; who has it keeps it, and who has none is counted", () => {
  const shown = metrics(2);
  shown.see([open(1), open(2), open(3), open(4)]);
  expect([portsOf(shown), shown.counts]).toEqual([["1", "2"], { shown: 2, omitted: 2 }]);
  shown.see([open(4), open(3), open(2)]);
  expect([portsOf(shown), shown.counts]).toEqual([["2", "4"], { shown: 2, omitted: 1 }]);
});

it("is not shown before its names are known, and asks that they be kept", () => {
  const shown = metrics();
  shown.see([open(1, {}, 71)]);
  expect(portsOf(shown)).toEqual([]);
  expect([...shown.used()]).toContainEqual([LabelKind.POD, 71]);
  book.keep(LabelKind.POD, 71, "shop\0db-1\x0010.0.0.8");
  expect(portsOf(shown)).toEqual(["1"]);
});
