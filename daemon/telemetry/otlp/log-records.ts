// Owns an access log record as OpenTelemetry has it: the same keys as the JSON form, the text form as its body.
// Must not know how it is exported.

import type { HrTime } from "@opentelemetry/api";
import { type LogAttributes, SeverityNumber } from "@opentelemetry/api-logs";
import type { ReadableLogRecord } from "@opentelemetry/sdk-logs";
import { type AccessRecord, jsonLine, textLine } from "../record.js";

const NS_PER_S = 1_000_000_000n;

/** What closed in order is INFO; what was refused or failed is WARN. */
const SEVERITY: Readonly<Record<string, { readonly number: SeverityNumber; readonly text: string }>> = {
  denied: { number: SeverityNumber.WARN, text: "WARN" },
  failed: { number: SeverityNumber.WARN, text: "WARN" },
};
const INFO = { number: SeverityNumber.INFO, text: "INFO" };

/** `context`: whom it is about, and who says so. */
export function logRecordOf(
  record: AccessRecord,
  observed: HrTime,
  context: Pick<ReadableLogRecord, "resource" | "instrumentationScope">,
): ReadableLogRecord {
  const { time: _, ...attributes } = JSON.parse(jsonLine(record)) as LogAttributes;
  const severity = SEVERITY[record.event] ?? INFO;
  return {
    ...context,
    hrTime: [Number(record.timeNs / NS_PER_S), Number(record.timeNs % NS_PER_S)],
    hrTimeObserved: observed,
    severityNumber: severity.number,
    severityText: severity.text,
    eventName: "weft.connection",
    body: textLine(record),
    attributes,
    droppedAttributesCount: 0,
  };
}
