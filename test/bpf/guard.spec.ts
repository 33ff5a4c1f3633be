// Owns the proof that hook sk_lookup reads its context as the verdict expects it: the same fixtures, another way in.
// Knows no verdict of its own.

import { describe, expect, it } from "vitest";
import { Reason, TableNumber } from "../../daemon/bpf/maps.gen.js";
import { isIpv4Text, toKeyBytes } from "../../daemon/model/address.js";
import { counted, withObject } from "./fixture.js";
import { verdictFixtures } from "./verdict.cases.js";
import { CLIENT_PORT, type VerdictFixture } from "./verdict.fixture.js";
import { CLIENT, POD, peers, SERVER } from "./verdict.tables.js";

const SK_DROP = 0;
const SK_PASS = 1;
const AF_INET = 2;
const AF_INET6 = 10;
const TCP = 6;
const UDP = 17;
const SCTP = 132;

interface Attempt extends Pick<VerdictFixture, "from" | "to" | "port"> {
  readonly protocol?: number;
}

/**
 * struct bpf_sk_lookup of linux/bpf.h (a stable interface with a union, so not generated): cookie 0, family 8,
 * protocol 12, remote_ip4 16, remote_ip6 20, remote_port 36 (big-endian), local_ip4 40, local_ip6 44,
 * local_port 60 (host order, 32 bits); 72 bytes in all. The ingress_ifindex at 64 must be 0 in a test run, so that
 * the pod talking to itself over lo is for the tests in namespaces.
 */
function contextOf({ from = CLIENT, to = SERVER, port = 80, protocol = TCP }: Attempt): Uint8Array {
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

function run(fixture: Attempt & Pick<VerdictFixture, "maps">): {
  verdict: number;
  reasons: Record<string, number>;
} {
  return withObject("guard", fixture.maps, (object) => {
    object.callFor(POD);
    return {
      verdict: object.runContext("weft_guard", contextOf(fixture)),
      reasons: object.reasons(),
    };
  });
}

describe("sk_lookup", () => {
  it.each(verdictFixtures)("$description", (fixture) => {
    const { allowed, reason } = fixture.expected;
    expect(run(fixture)).toEqual({ verdict: allowed ? SK_PASS : SK_DROP, reasons: counted(reason) });
  });

  const locked = peers(TableNumber.DENY);

  it("denies TCP to a pod that denies all", () => {
    expect(run({ maps: locked })).toEqual({ verdict: SK_DROP, reasons: counted(Reason.AUTHZ_DENY_ALL) });
  });

  it("denies TCP when no stub has said whose pod it is", () => {
    const verdict = withObject("guard", peers(TableNumber.OPEN), (object) =>
      object.runContext("weft_guard", contextOf({})),
    );
    expect(verdict).toBe(SK_DROP);
  });

  it.each([UDP, SCTP])("leaves protocol %i alone", (protocol) => {
    expect(run({ maps: locked, protocol })).toEqual({
      verdict: SK_PASS,
      reasons: counted(Reason.AUTHZ_NOT_TCP),
    });
  });
});
