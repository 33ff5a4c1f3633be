// Owns DNS messages: what is asked, whether an answer knows it, and an answer of the mesh's own. Must not know transports.

import { type Answer, decode, encode, type OptAnswer, type Packet } from "dns-packet";
import type { Addresses } from "./mesh-names.js";

/** Seconds that an answer of the mesh's own may be kept: a change is seen by then. */
const TTL = 30;

/** Bytes of a datagram without EDNS (RFC 1035, 4.2.1), and what we offer with it. */
const PLAIN_BYTES = 512;
const EDNS_BYTES = 1232;

/** Flags of the header, RFC 1035, 4.1.1. */
const OPCODE = 0x7800;
const RESPONSE_CODE = 0x0f;
const RECURSION_DESIRED = 0x0100;
const RECURSION_AVAILABLE = 0x0080;
const TRUNCATED = 0x0200;

export const HEADER_BYTES = 12;

export interface Question {
  readonly packet: Packet;
  readonly name: string;
  /** `A`, `AAAA` or another. */
  readonly type: string;
}

/** undefined: no question that the mesh could answer; whoever it is for decides. */
export function questionIn(message: Buffer): Question | undefined {
  try {
    const packet = decode(message);
    const [question, ...more] = packet.questions ?? [];
    if (packet.type !== "query" || question === undefined || more.length > 0) return undefined;
    // Opcode 0: a standard query.
    if (((packet.flags ?? 0) & OPCODE) !== 0 || (question.class ?? "IN") !== "IN") return undefined;
    return { packet, name: question.name, type: question.type };
  } catch {
    return undefined;
  }
}

/** Whether who answered knows the name: it has no such type, or it has. */
export function isKnown(answer: Buffer): boolean {
  return answer.length >= HEADER_BYTES && ((answer[3] ?? 0) & RESPONSE_CODE) === 0;
}

/** Whether it may be the answer to this question: the same number, and an answer. */
export function answers(answer: Buffer, question: Buffer): boolean {
  return (
    answer.length >= HEADER_BYTES &&
    answer.readUInt16BE(0) === question.readUInt16BE(0) &&
    (answer[2] ?? 0) >= 0x80
  );
}

/** The mesh's own answer. As a datagram it has room for what the client takes, and says so where that is too little. */
export function answerOf(
  { packet, name, type }: Question,
  { ipv4, ipv6 }: Addresses,
  isDatagram: boolean,
): Buffer {
  const addresses = type === "A" ? ipv4 : type === "AAAA" ? ipv6 : [];
  const records = addresses.map(
    (data) => ({ type: type as "A" | "AAAA", class: "IN", name, ttl: TTL, data }) satisfies Answer,
  );
  const offered = packet.additionals?.find((each): each is OptAnswer => each.type === "OPT");
  const desired = (packet.flags ?? 0) & RECURSION_DESIRED;
  const build = (flags: number, list: readonly Answer[]) =>
    encode({
      type: "response",
      ...(packet.id === undefined ? {} : { id: packet.id }),
      flags: desired | RECURSION_AVAILABLE | flags,
      ...(packet.questions === undefined ? {} : { questions: packet.questions }),
      answers: [...list],
      additionals: offered === undefined ? [] : [ownOptions()],
    });
  const whole = build(0, records);
  const room = isDatagram ? Math.max(PLAIN_BYTES, offered?.udpPayloadSize ?? 0) : Number.POSITIVE_INFINITY;
  return whole.length <= room ? whole : build(TRUNCATED, []);
}

function ownOptions(): OptAnswer {
  return {
    type: "OPT",
    name: ".",
    udpPayloadSize: EDNS_BYTES,
    extendedRcode: 0,
    ednsVersion: 0,
    flags: 0,
    flag_do: false,
    options: [],
  };
}
