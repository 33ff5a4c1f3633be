import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { RECORD_FIELDS } from "../base/record-filter.js";
import { ConnectionEvent, Direction, EarlyHook, EventKind, Reason } from "../bpf/maps.gen.js";
import { toKeyBytes } from "../model/address.js";
import type { Policy } from "../model/policy.js";
import type { ResourcesById } from "../model/resource-ids.js";
import { pod, service } from "../model/test-samples.js";
import { type AccessRecord, filterOf, jsonLine, readRecord, textLine, verdictKind } from "./record.js";

const policy: Policy = {
  name: "deny-all",
  namespace: "mesh",
  scope: "GLOBAL",
  action: "DENY",
  rules: [],
  dryRun: false,
};

const names: ResourcesById = {
  workload: (id) =>
    ({
      1: pod("prometheus-5fb7f6f8d8-h9cts", { namespace: "istio-system" }),
      2: pod("productpage-v1-8499c849b9-bz9t9", { namespace: "echo-1-27855" }),
    })[id],
  service: (id) =>
    id === 3 ? service("p", { hostname: "productpage.echo-1-27855.svc.cluster.local" }) : undefined,
  policy: (id) => (id === 4 ? policy : undefined),
};

const event: ConnectionEvent = {
  timeNs: 0n,
  durationNs: 2_733_902n,
  sentBytes: 5n,
  receivedBytes: 292n,
  sourceAddress: toKeyBytes("10.244.0.17"),
  destinationAddress: toKeyBytes("10.244.0.13"),
  originalAddress: toKeyBytes("10.244.0.13"),
  sourcePort: 51842,
  destinationPort: 9080,
  originalPort: 9080,
  kind: EventKind.CLOSED,
  direction: Direction.INBOUND,
  source: 1,
  destination: 2,
  service: 3,
  policy: 0,
  reason: 0,
  state: 8,
  early: 0,
  srttUs: 120,
  minRttUs: 40,
  retransmits: 1,
  lost: 2,
};

const CLOSE_TIME = BigInt(Date.UTC(2024, 8, 14, 8, 19, 26)) * 1_000_000n + 552_709_932n;

function record(changes: Partial<ConnectionEvent> = {}): AccessRecord {
  return readRecord(ConnectionEvent.encode({ ...event, ...changes }), names, () => CLOSE_TIME);
}

describe("text form", () => {
  it("is exactly what scripts know, ours behind it", () => {
    expect(textLine(record())).toBe(
      "accesslog: 2024-09-14 08:19:26.552709932 +0000 UTC src.addr=10.244.0.17:51842, " +
        "src.workload=prometheus-5fb7f6f8d8-h9cts, src.namespace=istio-system, dst.addr=10.244.0.13:9080, " +
        "dst.service=productpage.echo-1-27855.svc.cluster.local, " +
        "dst.workload=productpage-v1-8499c849b9-bz9t9, dst.namespace=echo-1-27855, direction=INBOUND, " +
        "sent_bytes=5, received_bytes=292, duration=2.733902ms, event=closed, state=CLOSE_WAIT, srtt=120us, " +
        "min_rtt=40us, retransmissions=1, packet_loss=2",
    );
  });

  it("names the policy and the reason of a denial", () => {
    const denied = {
      kind: EventKind.DENIED,
      durationNs: 0n,
      source: 0,
      reason: Reason.AUTHZ_DENIED,
      policy: 4,
    };
    const line = textLine(record(denied));
    expect(line).toContain("src.workload=-, src.namespace=-,");
    expect(line).toContain("duration=0ms, event=denied");
    expect(line.endsWith(", reason=authz_denied, policy=mesh/deny-all")).toBe(true);
    const none = textLine(record({ ...denied, reason: Reason.AUTHZ_NO_ALLOW, policy: 0 }));
    expect(none.endsWith(", reason=authz_no_allow, policy=-")).toBe(true);
    const unnamed = record({ ...denied, reason: Reason.AUTHZ_UNNAMED, policy: 0 });
    expect(textLine(unnamed).endsWith(", reason=authz_unnamed")).toBe(true);
    expect(verdictKind(unnamed)).toContain("authz_unnamed");
    const forgotten = textLine(record({ ...denied, reason: Reason.AUTHZ_DENIED, policy: 99 }));
    expect(forgotten.endsWith(", reason=authz_denied, policy=unknown")).toBe(true);
  });

  it("names the hook that denied before the guard", () => {
    const early = { kind: EventKind.DENIED, reason: Reason.AUTHZ_DENIED, policy: 4, early: EarlyHook.XDP };
    expect(textLine(record(early))).toMatch(/, policy=mesh\/deny-all, hook=xdp$/);
    expect(JSON.parse(jsonLine(record(early)))).toMatchObject({ policy: "mesh/deny-all", hook: "xdp" });
    expect(verdictKind(record(early))).not.toBe(verdictKind(record({ ...early, early: EarlyHook.NONE })));
  });

  it("says of a dry-run match what would have been", () => {
    const match = { kind: EventKind.DRY_RUN, policy: 4 };
    expect(textLine(record(match))).toMatch(/event=dry_run, .*, reason=would_deny, policy=mesh\/deny-all$/);
    const allowing: ResourcesById = { ...names, policy: () => ({ ...policy, action: "ALLOW" }) };
    const allowed = readRecord(ConnectionEvent.encode({ ...event, ...match }), allowing, () => 0n);
    expect(allowed.reason).toBe("would_allow");
    expect(record({ ...match, policy: 9 }).reason).toBe("-");
  });

  it("ends with the number of records that it stands for", () => {
    const denied = record({ kind: EventKind.DENIED, reason: Reason.AUTHZ_DENIED, policy: 4 });
    expect(textLine({ ...denied, suppressed: 7 })).toMatch(/policy=mesh\/deny-all, suppressed=7$/);
    expect(JSON.parse(jsonLine({ ...denied, suppressed: 7 })).suppressed).toBe(7);
    expect(Object.keys(JSON.parse(jsonLine(denied)))).not.toContain("suppressed");
  });

  it("tells what was asked for when it was translated, IPv6 in brackets", () => {
    const line = textLine(
      record({
        sourceAddress: toKeyBytes("fd00::1"),
        destinationAddress: toKeyBytes("fd00::2"),
        originalAddress: toKeyBytes("fd00:10::9"),
        originalPort: 80,
        direction: Direction.OUTBOUND,
      }),
    );
    expect(line).toContain("src.addr=[fd00::1]:51842");
    expect(line).toContain("dst.addr=[fd00::2]:9080");
    expect(line.endsWith(", dst.original=[fd00:10::9]:80")).toBe(true);
  });

  it("lets no name forge a field or a line", () => {
    const forged: ResourcesById = { ...names, workload: () => pod("x, direction=OUTBOUND\naccesslog:") };
    const line = textLine(readRecord(ConnectionEvent.encode(event), forged, () => 0n));
    expect(line).not.toContain("\n");
    expect(line).toContain('src.workload="x, direction=OUTBOUND\\naccesslog:"');
  });
});

/** What a name may hold that does more than stand there, C1 and the turning of text round among it. */
const active = ["\0", "\x1b[2J", "\x7f", "\u0080", "\u0085", "\u009b2J", "\u009f", "\u2028", "\u2029"]
  .concat(["\u202e", "\u2066", "\u200b", "\ufeff", "\ud800", "\udfff", "\u{e0041}", "\r\n"])
  .map((text) => [JSON.stringify(text), text] as const);

describe.each(active)("a name with %s in it", (_, text) => {
  const odd: ResourcesById = {
    workload: () => pod(`a${text}b`, { namespace: `n${text}` }),
    service: () => service("p", { hostname: `${text}host` }),
    policy: () => ({ ...policy, name: `p${text}` }),
  };
  const bytes = ConnectionEvent.encode({ ...event, kind: EventKind.DENIED, policy: 4 });

  it("is written out in the text form, wherever it stands", () => {
    const line = textLine(readRecord(bytes, odd, () => CLOSE_TIME));
    expect(line).not.toMatch(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u);
    expect(line.match(/\w+\.(workload|namespace|service)="[^"]+"/g)).toHaveLength(5);
    expect(line).toMatch(/policy="mesh\/p[^"]+"$/);
  });
});

describe("JSON form", () => {
  it("is one object with nanosecond time and exact numbers", () => {
    const line = jsonLine(record({ sentBytes: 2n ** 64n - 1n }));
    expect(line).toContain('"sent_bytes":18446744073709551615');
    expect(JSON.parse(line)).toMatchObject({
      time: "2024-09-14T08:19:26.552709932Z",
      "src.workload": "prometheus-5fb7f6f8d8-h9cts",
      "dst.service": "productpage.echo-1-27855.svc.cluster.local",
      direction: "INBOUND",
      received_bytes: 292,
      duration_ns: 2_733_902,
      event: "closed",
    });
  });

  it("is valid whatever the names", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), fc.nat(), (name, reason) => {
        const odd: ResourcesById = { ...names, workload: () => pod(name), policy: () => undefined };
        const bytes = ConnectionEvent.encode({ ...event, kind: EventKind.FAILED, reason });
        const line = jsonLine(readRecord(bytes, odd, () => CLOSE_TIME));
        expect(line).not.toContain("\n");
        expect(JSON.parse(line)).toMatchObject({ "src.workload": JSON.parse(JSON.stringify(name)) });
      }),
    );
  });
});

describe("filterOf", () => {
  const valuesIn = (of: AccessRecord) => {
    let values: Record<string, string> = {};
    filterOf((fieldOf) => {
      values = Object.fromEntries(RECORD_FIELDS.map((field) => [field, fieldOf(field)]));
      return true;
    })(of);
    return values;
  };

  it("gives every field as the log writes it, and - where there is none", () => {
    const denied = record({ kind: EventKind.DENIED, policy: 4, reason: Reason.AUTHZ_DENIED });
    const line = textLine(denied);
    const values = valuesIn(denied);
    for (const [field, value] of Object.entries(values))
      if (value !== "-") expect(line).toContain(`${field}=${value}`);
      else expect(line).not.toContain(`${field}=`);
    expect(values).toMatchObject({ policy: expect.stringContaining("mesh/"), event: "denied" });
    expect(valuesIn(record({ kind: EventKind.CLOSED, policy: 0 }))).toMatchObject({
      ...{ reason: "-", policy: "-", hook: "-", event: "closed" },
    });
  });
});
