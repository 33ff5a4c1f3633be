// Owns the context of hook sk_lookup, as a test run hands it over. Knows no decision.

import { isIpv4Text, toKeyBytes } from "../../daemon/model/address.js";
import { CLIENT_PORT, type VerdictFixture } from "./verdict.fixture.js";
import { CLIENT, SERVER } from "./verdict.tables.js";

export const SK_DROP = 0;
export const SK_PASS = 1;
const AF_INET = 2;
const AF_INET6 = 10;
const TCP = 6;
export const UDP = 17;
export const SCTP = 132;

export interface Attempt extends Pick<VerdictFixture, "from" | "to" | "port"> {
  readonly protocol?: number;
}

/**
 * struct bpf_sk_lookup of linux/bpf.h (a stable interface with a union, so not generated): cookie 0, family 8,
 * protocol 12, remote_ip4 16, remote_ip6 20, remote_port 36 (big-endian), local_ip4 40, local_ip6 44,
 * local_port 60 (host order, 32 bits); 72 bytes in all. The ingress_ifindex at 64 must be 0 in a test run, so that
 * the pod talking to itself over lo is for the tests in namespaces.
 */
export function contextOf({ from = CLIENT, to = SERVER, port = 80, protocol = TCP }: Attempt): Uint8Array {
  const context = Buffer.alloc(72);
  const v4 = isIpv4Text(to);
  context.writeUInt32LE(v4 ? AF_INET : AF_INET6, 8);
  context.writeUInt32LE(protocol, 12);
  if (v4) {
    context.set(toKeyBytes(from).subarray(12), 16);
    context.set(toKeyBytes(to).subarray(12), 40);
  } else {
    context.set(toKeyBytes(from), 20);
    context.set(toKeyBytes(to), 44);
  }
  context.writeUInt16BE(CLIENT_PORT, 36);
  context.writeUInt32LE(port, 60);
  return context;
}
