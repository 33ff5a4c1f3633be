// Owns Ethernet frames as tests want them, and the reading of the RST that a hook makes of one. Knows no decision.

import { addressFromKeyBytes, isIpv4Text, toKeyBytes } from "../../daemon/model/address.js";
import { CLIENT_PORT } from "./verdict.fixture.js";
import { CLIENT, SERVER } from "./verdict.tables.js";

const TCP = 6;
export const SYN = 0x02;
export const RST = 0x04;
export const ACK = 0x10;
export const HOP_BY_HOP = 0;
export const ROUTING = 43;
export const FRAGMENT = 44;
export const AH = 51;
export const DESTINATION = 60;

const IPV4 = 0x0800;
const IPV6 = 0x86dd;
const ETHERNET = 14;

/** Of the receiver: the address that a test run takes for its own. */
export const HERE = Buffer.alloc(6);
export const THERE = Buffer.from([2, 0, 0, 0, 0, 9]);

export interface Extension {
  /** Number of the header. */
  readonly header: number;
  /** Bytes, a multiple of 8 (of AH: of 4). */
  readonly size?: number;
  /** Of a fragment header: where it begins, in bytes, and whether more follow. */
  readonly offset?: number;
  readonly more?: boolean;
}

export interface FrameOptions {
  readonly from?: string;
  readonly to?: string;
  readonly fromPort?: number;
  readonly port?: number;
  readonly flags?: number;
  readonly sequence?: number;
  /** Bytes of TCP options, a multiple of 4. */
  readonly tcpOptions?: number;
  readonly payload?: number;
  /** EtherTypes of VLAN tags, the outer one first. */
  readonly tags?: readonly number[];
  /** Of IPv4: bytes of options, a multiple of 4. */
  readonly options?: number;
  /** Of IPv4: where the fragment begins, in bytes, and whether more follow. */
  readonly offset?: number;
  readonly more?: boolean;
  /** Of IPv6. */
  readonly extensions?: readonly Extension[];
  readonly protocol?: number;
  /** What stands as length of the packet, in place of the true one. */
  readonly length?: number;
  readonly destinationMac?: Buffer;
}

/** A frame with right checksums: a SYN from CLIENT to SERVER's port 80 unless told otherwise. */
export function frameOf(frame: FrameOptions = {}): Buffer {
  const { from = CLIENT, to = SERVER, tags = [], destinationMac = HERE, protocol = TCP } = frame;
  const segment = segmentOf({ ...frame, from, to });
  const packet = isIpv4Text(to)
    ? ipv4Of(frame, from, to, protocol, segment)
    : ipv6Of(frame, from, to, protocol, segment);
  const types = [...tags, isIpv4Text(to) ? IPV4 : IPV6];
  const [type = 0, ...inner] = types;
  const tagged = inner.flatMap((each) => [word(7), word(each)]);
  return Buffer.concat([destinationMac, THERE, word(type), ...tagged, packet]);
}

/** What a frame that answers says of itself; its checksums are verified. */
export function readReset(frame: Buffer, tags = 0) {
  const at = ETHERNET + 4 * tags;
  const isIpv4 = frame.readUInt16BE(at - 2) === IPV4;
  const tcp = at + (isIpv4 ? 20 : 40);
  const address = (offset: number, size: number) => {
    const bytes = frame.subarray(at + offset, at + offset + size);
    return size === 16 ? addressFromKeyBytes(bytes) : [...bytes].join(".");
  };
  const [from, to] = isIpv4 ? [address(12, 4), address(16, 4)] : [address(8, 16), address(24, 16)];
  const segment = frame.subarray(tcp);
  const pseudo = pseudoHeader(from, to, segment.length);
  return {
    macs: [frame.subarray(0, 6).toString("hex"), frame.subarray(6, 12).toString("hex")],
    ...{ from, to, fromPort: segment.readUInt16BE(0), port: segment.readUInt16BE(2) },
    ...{ sequence: segment.readUInt32BE(4), acknowledged: segment.readUInt32BE(8), flags: segment[13] },
    length: isIpv4 ? frame.readUInt16BE(at + 2) : frame.readUInt16BE(at + 4),
    size: frame.length - at,
    isHeaderRight: !isIpv4 || checksum(frame.subarray(at, at + 20)) === 0,
    isSegmentRight: checksum(Buffer.concat([pseudo, segment])) === 0,
  };
}

function segmentOf(frame: FrameOptions & { readonly from: string; readonly to: string }): Buffer {
  const { fromPort = CLIENT_PORT, port = 80, flags = SYN, sequence = 1_000, tcpOptions = 0 } = frame;
  const { payload = 0, from, to } = frame;
  const segment = Buffer.alloc(20 + tcpOptions + payload, 1);
  segment.fill(0, 0, 20);
  segment.writeUInt16BE(fromPort, 0);
  segment.writeUInt16BE(port, 2);
  segment.writeUInt32BE(sequence, 4);
  segment[12] = ((20 + tcpOptions) / 4) << 4;
  segment[13] = flags;
  const sum = checksum(Buffer.concat([pseudoHeader(from, to, segment.length), segment]));
  segment.writeUInt16BE(sum, 16);
  return segment;
}

function ipv4Of(frame: FrameOptions, from: string, to: string, protocol: number, segment: Buffer): Buffer {
  const { options = 0, offset = 0, more = false, length = 20 + options + segment.length } = frame;
  const header = Buffer.alloc(20 + options, 1);
  header.fill(0, 0, 20);
  header[0] = 0x40 | (header.length / 4);
  header.writeUInt16BE(length, 2);
  header.writeUInt16BE((more ? 0x2000 : 0) | (offset / 8), 6);
  header[8] = 64;
  header[9] = protocol;
  header.set(toKeyBytes(from).subarray(12), 12);
  header.set(toKeyBytes(to).subarray(12), 16);
  header.writeUInt16BE(checksum(header), 10);
  return Buffer.concat([header, segment]);
}

function ipv6Of(frame: FrameOptions, from: string, to: string, protocol: number, segment: Buffer): Buffer {
  const { extensions = [] } = frame;
  const nexts = [...extensions.map(({ header }) => header), protocol];
  const chain = extensions.map(({ header, size = 8, offset = 0, more = false }, index) => {
    const bytes = Buffer.alloc(size);
    bytes[0] = nexts[index + 1] ?? 0;
    if (header === FRAGMENT) bytes.writeUInt16BE(offset | (more ? 1 : 0), 2);
    else bytes[1] = header === AH ? size / 4 - 2 : size / 8 - 1;
    return bytes;
  });
  const content = Buffer.concat([...chain, segment]);
  const header = Buffer.alloc(40);
  header[0] = 0x60;
  header.writeUInt16BE(frame.length ?? content.length, 4);
  header[6] = nexts[0] ?? 0;
  header[7] = 64;
  header.set(toKeyBytes(from), 8);
  header.set(toKeyBytes(to), 24);
  return Buffer.concat([header, content]);
}

function pseudoHeader(from: string, to: string, length: number): Buffer {
  const bytes = (address: string) => toKeyBytes(address).subarray(isIpv4Text(address) ? 12 : 0);
  return Buffer.concat([bytes(from), bytes(to), word(0), word(length), word(0), word(TCP)]);
}

/** RFC 1071; 0 over what bears a right one. */
function checksum(bytes: Buffer): number {
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 2) sum += (bytes[at] ?? 0) * 256 + (bytes[at + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return 0xffff - sum;
}

function word(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  return bytes;
}
