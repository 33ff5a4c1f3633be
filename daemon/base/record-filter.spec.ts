import { describe, expect, it } from "vitest";
import { parseRecordFilter, type RecordField } from "./record-filter.js";

const RECORD: Partial<Record<RecordField, string>> = {
  ...{ "src.workload": "node", "src.namespace": "-", "dst.addr": "10.244.0.13:9080" },
  ...{ "dst.service": "productpage.echo.svc.cluster.local", "dst.namespace": "echo-1-27855" },
  ...{ direction: "INBOUND", event: "closed" },
};

function matches(expression: string, changes: typeof RECORD = {}): boolean {
  const result = parseRecordFilter(expression);
  if (!result.ok) throw new Error(result.reason);
  return result.value((field) => ({ ...RECORD, ...changes })[field] ?? "-");
}

describe("parseRecordFilter", () => {
  it("compares fields, with wildcards, all terms together", () => {
    expect(matches("")).toBe(true);
    expect(matches("direction=inbound")).toBe(true);
    expect(matches("direction=inbound, event=denied")).toBe(false);
    expect(matches("dst.service=productpage.*")).toBe(true);
    expect(matches("dst.service=*echo*local src.namespace!=default")).toBe(true);
    expect(matches("dst.service=*echo*global")).toBe(false);
    expect(matches("dst.addr=10.244.0.13:*")).toBe(true);
  });

  it("lets no part of a pattern count twice", () => {
    expect(matches("dst.namespace=echo*27855")).toBe(true);
    expect(matches("dst.namespace=echo-1-27855*5")).toBe(false);
    expect(matches("dst.namespace=*-1-*-27855")).toBe(false);
  });

  it("takes groups of terms of which one must hold", () => {
    const withoutProbes = "src.workload!=node or event!=closed";
    expect(matches(withoutProbes)).toBe(false);
    expect(matches(withoutProbes, { event: "denied" })).toBe(true);
    expect(matches(withoutProbes, { "src.workload": "cart" })).toBe(true);
    expect(matches("direction=OUTBOUND OR src.workload=node, event=closed")).toBe(true);
    expect(matches("direction=OUTBOUND or src.workload=node, event=denied")).toBe(false);
  });

  it("refuses what it does not understand", () => {
    for (const expression of ["direction", "=x", "nothing=1", "toString=x", "direction<1"])
      expect(parseRecordFilter(expression), expression).toMatchObject({
        ...{ ok: false, reason: expect.stringContaining(`"${expression}" is no FIELD=TEXT`) },
      });
    for (const expression of ["or", "event=closed or", "or event=closed", "event=a or or event=b"])
      expect(parseRecordFilter(expression), expression).toMatchObject({
        ...{ ok: false, reason: '"or" has nothing before or after it' },
      });
  });
});
