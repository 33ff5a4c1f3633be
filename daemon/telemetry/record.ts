// Owns one access log record: from the kernel's event to a line of text or JSON, and filters over its fields.
// Must not know where lines go.

import { printable } from "../base/printable.js";
import type { RecordChoice, RecordField } from "../base/record-filter.js";
import {
  ConnectionEvent,
  Direction,
  EarlyHook,
  EventKind,
  earlyHookNames,
  eventKindNames,
  Reason,
  reasonNames,
  WorkloadId,
} from "../bpf/maps.gen.js";
import { addressFromKeyBytes } from "../model/address.js";
import { type Policy, policyKey } from "../model/policy.js";
import type { ResourcesById } from "../model/resource-ids.js";
import type { WallClock } from "./clock.js";

export type RecordFormat = "text" | "json";

/** Fields in the order of the text form. Absent names are `-`. Bytes and duration as seen from the reporter. */
export interface AccessRecord {
  /** Nanoseconds since 1970, UTC. */
  readonly timeNs: bigint;
  readonly sourceAddress: string;
  readonly sourceWorkload: string;
  readonly sourceNamespace: string;
  /** After translation. */
  readonly destinationAddress: string;
  readonly destinationService: string;
  readonly destinationWorkload: string;
  readonly destinationNamespace: string;
  readonly direction: string;
  readonly sentBytes: bigint;
  readonly receivedBytes: bigint;
  readonly durationNs: bigint;
  /** closed, denied, failed, dry_run */
  readonly event: string;
  readonly state: string;
  readonly srttUs: number;
  readonly minRttUs: number;
  readonly retransmissions: number;
  readonly packetLoss: number;
  /** What the application asked for, when that was translated; undefined otherwise. */
  readonly originalAddress: string | undefined;
  /** Why, unless the connection simply closed; of a dry-run match `would_deny` or `would_allow`. */
  readonly reason: string | undefined;
  /** `namespace/name` where a policy decided or a dry run matched, `-` when no ALLOW matched; undefined otherwise. */
  readonly policy: string | undefined;
  /** tc or xdp where one of them denied; undefined: the guard, or no denial. */
  readonly hook: string | undefined;
  /** How many others of its kind this record stands for, which nobody wrote. */
  readonly suppressed: number;
}

/** TCP states by the kernel's number (include/net/tcp_states.h). */
const TCP_STATES = [
  "-",
  "ESTABLISHED",
  "SYN_SENT",
  "SYN_RECV",
  "FIN_WAIT1",
  "FIN_WAIT2",
  "TIME_WAIT",
  "CLOSE",
  "CLOSE_WAIT",
  "LAST_ACK",
  "LISTEN",
  "CLOSING",
  "NEW_SYN_RECV",
] as const;

/** What a source is called that is a process of the node itself. */
export const NODE_NAME = "node";

/** What a policy is called that decided, and is known no more. */
export const UNKNOWN_POLICY = "unknown";

/** Reads one record of the ring buffer `events`. @throws RangeError when it is too short. */
export function readRecord(bytes: Uint8Array, names: ResourcesById, clock: WallClock): AccessRecord {
  const event = ConnectionEvent.decode(bytes);
  const source = names.workload(event.source);
  const destination = names.workload(event.destination);
  const translated =
    event.originalPort !== event.destinationPort || !equal(event.originalAddress, event.destinationAddress);
  const judged = event.kind === EventKind.DENIED || event.kind === EventKind.DRY_RUN;
  return {
    timeNs: clock(event.timeNs),
    sourceAddress: socketAddress(event.sourceAddress, event.sourcePort),
    sourceWorkload: event.source === WorkloadId.NODE ? NODE_NAME : (source?.name ?? "-"),
    sourceNamespace: source?.namespace ?? "-",
    destinationAddress: socketAddress(event.destinationAddress, event.destinationPort),
    destinationService: names.service(event.service)?.hostname ?? "-",
    destinationWorkload: destination?.name ?? "-",
    destinationNamespace: destination?.namespace ?? "-",
    direction: event.direction === Direction.INBOUND ? "INBOUND" : "OUTBOUND",
    sentBytes: event.sentBytes,
    receivedBytes: event.receivedBytes,
    durationNs: event.durationNs,
    event: eventKindNames[event.kind] ?? String(event.kind),
    state: TCP_STATES[event.state] ?? String(event.state),
    srttUs: event.srttUs,
    minRttUs: event.minRttUs,
    retransmissions: event.retransmits,
    packetLoss: event.lost,
    originalAddress: translated ? socketAddress(event.originalAddress, event.originalPort) : undefined,
    reason: reasonOf(event, names),
    policy: judged ? policyName(event, names) : undefined,
    hook: event.early === EarlyHook.NONE ? undefined : (earlyHookNames[event.early] ?? String(event.early)),
    suppressed: 0,
  };
}

/** What a dry-run policy would have done by a match; `-` when it is not known any more. */
function dryRunVerdict(policy: Policy | undefined): string {
  if (policy === undefined) return "-";
  return policy.action === "DENY" ? "would_deny" : "would_allow";
}

/** What denials and dry-run matches have in common of which one may stand for others; undefined for anything else. */
export function verdictKind(record: AccessRecord): string | undefined {
  const { policy, event, state, reason, hook, destinationNamespace, destinationWorkload } = record;
  if (event !== eventKindNames[EventKind.DENIED] && event !== eventKindNames[EventKind.DRY_RUN])
    return undefined;
  return [event, state, reason, hook, policy, destinationNamespace, destinationWorkload].join(" ");
}

/** The line that operators' scripts know; what we add follows after its last field. Without line end. */
export function textLine(record: AccessRecord): string {
  const { date, time, nanoseconds } = utc(record.timeNs);
  const line =
    `accesslog: ${date} ${time}.${nanoseconds} +0000 UTC ` +
    `src.addr=${record.sourceAddress}, src.workload=${word(record.sourceWorkload)}, ` +
    `src.namespace=${word(record.sourceNamespace)}, dst.addr=${record.destinationAddress}, ` +
    `dst.service=${word(record.destinationService)}, dst.workload=${word(record.destinationWorkload)}, ` +
    `dst.namespace=${word(record.destinationNamespace)}, direction=${record.direction}, ` +
    `sent_bytes=${record.sentBytes}, received_bytes=${record.receivedBytes}, ` +
    `duration=${milliseconds(record.durationNs)}ms, event=${record.event}, state=${record.state}, ` +
    `srtt=${record.srttUs}us, min_rtt=${record.minRttUs}us, retransmissions=${record.retransmissions}, ` +
    `packet_loss=${record.packetLoss}`;
  const original = record.originalAddress === undefined ? "" : `, dst.original=${record.originalAddress}`;
  const reason = record.reason === undefined ? "" : `, reason=${record.reason}`;
  const policy = record.policy === undefined ? "" : `, policy=${word(record.policy)}`;
  const hook = record.hook === undefined ? "" : `, hook=${record.hook}`;
  const suppressed = record.suppressed === 0 ? "" : `, suppressed=${record.suppressed}`;
  return line + original + reason + policy + hook + suppressed;
}

/** One JSON object with the keys of the text form; 64-bit numbers stand in full, as JSON allows. Without line end. */
export function jsonLine(record: AccessRecord): string {
  const { date, time, nanoseconds } = utc(record.timeNs);
  const text = JSON.stringify;
  const original = record.originalAddress === undefined ? "" : `,"dst.original":"${record.originalAddress}"`;
  const reason = record.reason === undefined ? "" : `,"reason":"${record.reason}"`;
  const policy = record.policy === undefined ? "" : `,"policy":${text(record.policy)}`;
  const hook = record.hook === undefined ? "" : `,"hook":"${record.hook}"`;
  const suppressed = record.suppressed === 0 ? "" : `,"suppressed":${record.suppressed}`;
  return (
    `{"time":"${date}T${time}.${nanoseconds}Z",` +
    `"src.addr":"${record.sourceAddress}","src.workload":${text(record.sourceWorkload)},` +
    `"src.namespace":${text(record.sourceNamespace)},"dst.addr":"${record.destinationAddress}",` +
    `"dst.service":${text(record.destinationService)},"dst.workload":${text(record.destinationWorkload)},` +
    `"dst.namespace":${text(record.destinationNamespace)},"direction":"${record.direction}",` +
    `"sent_bytes":${record.sentBytes},"received_bytes":${record.receivedBytes},` +
    `"duration_ns":${record.durationNs},"event":"${record.event}","state":"${record.state}",` +
    `"srtt_us":${record.srttUs},"min_rtt_us":${record.minRttUs},` +
    `"retransmissions":${record.retransmissions},"packet_loss":${record.packetLoss}` +
    `${original}${reason}${policy}${hook}${suppressed}}`
  );
}

/** What a filter compares. */
const FILTERED: Readonly<Record<RecordField, (record: AccessRecord) => string>> = {
  "src.addr": (record) => record.sourceAddress,
  "src.workload": (record) => record.sourceWorkload,
  "src.namespace": (record) => record.sourceNamespace,
  "dst.addr": (record) => record.destinationAddress,
  "dst.original": (record) => record.originalAddress ?? "-",
  "dst.service": (record) => record.destinationService,
  "dst.workload": (record) => record.destinationWorkload,
  "dst.namespace": (record) => record.destinationNamespace,
  direction: (record) => record.direction,
  event: (record) => record.event,
  state: (record) => record.state,
  reason: (record) => record.reason ?? "-",
  policy: (record) => record.policy ?? "-",
  hook: (record) => record.hook ?? "-",
};

export type RecordFilter = (record: AccessRecord) => boolean;

/** Whether a record is one that an expression chooses. */
export function filterOf(choice: RecordChoice): RecordFilter {
  return (record) => choice((field) => FILTERED[field](record));
}

function reasonOf({ kind, reason, policy }: ConnectionEvent, names: ResourcesById): string | undefined {
  if (kind === EventKind.CLOSED) return undefined;
  if (kind === EventKind.DRY_RUN) return dryRunVerdict(names.policy(policy));
  return reasonNames[reason] ?? String(reason);
}

/** undefined where no policy decided: something that policies need was missing, and `reason` says what. */
function policyName({ kind, policy: id, reason }: ConnectionEvent, names: ResourcesById): string | undefined {
  if (id === 0) return kind === EventKind.DENIED && reason !== Reason.AUTHZ_NO_ALLOW ? undefined : "-";
  const policy = names.policy(id);
  return policy === undefined ? UNKNOWN_POLICY : policyKey(policy);
}

function socketAddress(address: Uint8Array, port: number): string {
  const text = addressFromKeyBytes(address);
  return text.includes(":") ? `[${text}]:${port}` : `${text}:${port}`;
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return a.every((byte, index) => byte === b[index]);
}

/** Names come from the control plane: one with a space, comma or line end must not forge fields or lines. */
function word(text: string): string {
  return /^[\w.:/@-]*$/.test(text) ? text : printable(JSON.stringify(text));
}

/** Nanoseconds as milliseconds with as many decimals as they need. */
function milliseconds(ns: bigint): string {
  const whole = ns / 1_000_000n;
  const rest = ns % 1_000_000n;
  return rest === 0n ? `${whole}` : `${whole}.${rest.toString().padStart(6, "0").replace(/0+$/, "")}`;
}

/** Nanoseconds since 1970 as the parts of a text. */
export function utc(ns: bigint): { date: string; time: string; nanoseconds: string } {
  const iso = new Date(Number(ns / 1_000_000n)).toISOString();
  const nanoseconds = (ns % 1_000_000_000n).toString().padStart(9, "0");
  return { date: iso.slice(0, 10), time: iso.slice(11, 19), nanoseconds };
}
