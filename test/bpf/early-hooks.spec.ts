// Owns the proof of which frames the early hooks judge, drop and answer, frame by frame, and of the stubs in front of
// them. Knows no verdict but "denies" and "admits". test/netns/early-hooks.test.ts does it with real sockets.

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { packageRoot } from "../../daemon/base/package-root.js";
import { loadTcStub, loadXdpStub } from "../../daemon/bpf/early-stub.js";
import { Reason, TableFlag, TableNumber } from "../../daemon/bpf/maps.gen.js";
import { loadNative } from "../../native/index.js";
import { type Answer, type Hook, runHook } from "./early.js";
import { counted, entry, type LoadedObject, loadObject, podEntry } from "./fixture.js";
import {
  ACK,
  AH,
  DESTINATION,
  type Extension,
  FRAGMENT,
  type FrameOptions,
  frameOf,
  HERE,
  HOP_BY_HOP,
  ROUTING,
  RST,
  readReset,
  SYN,
  THERE,
} from "./frames.js";
import { CLIENT_PORT } from "./verdict.fixture.js";
import { CLIENT, CLIENT_V6, guarded, POD, peers, SERVER, SERVER_V6, settings } from "./verdict.tables.js";

const OBJECTS = { tc: "forward", xdp: "xdp" } as const;
const VLAN = 0x8100;
const PROVIDER = 0x88a8;
const UDP = 17;

const v6 = (...extensions: Extension[]): FrameOptions => ({ from: CLIENT_V6, to: SERVER_V6, extensions });

/** What becomes of a frame at a pod that denies everybody. */
const frames: readonly { readonly what: string; readonly frame: FrameOptions; readonly answer: Answer }[] = [
  { what: "a SYN", frame: {}, answer: "answer" },
  { what: "a SYN over IPv6", frame: v6(), answer: "answer" },
  { what: "a SYN with options and data", frame: { tcpOptions: 20, payload: 101 }, answer: "answer" },
  { what: "one over IPv6", frame: { ...v6(), tcpOptions: 40, payload: 3 }, answer: "answer" },
  { what: "a SYN with a VLAN tag", frame: { tags: [VLAN] }, answer: "answer" },
  { what: "with two", frame: { ...v6(), tags: [PROVIDER, VLAN] }, answer: "answer" },
  { what: "a frame with three VLAN tags", frame: { tags: [PROVIDER, VLAN, VLAN] }, answer: "drop" },
  { what: "a SYN with FIN", frame: { flags: SYN | 1 }, answer: "answer" },
  { what: "a SYN with RST, which nobody answers", frame: { flags: SYN | RST }, answer: "drop" },
  { what: "an answer to a SYN", frame: { flags: SYN | ACK }, answer: "pass" },
  { what: "a segment of a connection", frame: { flags: ACK, payload: 9 }, answer: "pass" },
  { what: "a datagram", frame: { protocol: UDP }, answer: "pass" },
  { what: "one over IPv6", frame: { ...v6(), protocol: UDP }, answer: "pass" },
  { what: "a SYN to a group of hosts", frame: { destinationMac: Buffer.alloc(6, 255) }, answer: "pass" },
  { what: "a SYN to an address that is not the pod's", frame: { to: "192.0.2.9" }, answer: "pass" },
  { what: "a SYN with IPv4 options", frame: { options: 12 }, answer: "drop" },
  { what: "the first fragment of a SYN", frame: { more: true }, answer: "drop" },
  { what: "a later fragment", frame: { offset: 24 }, answer: "pass" },
  { what: "a later fragment of a datagram", frame: { offset: 8, protocol: UDP }, answer: "pass" },
  { what: "a fragment that begins inside the TCP header", frame: { offset: 16 }, answer: "drop" },
  { what: "a first fragment without the TCP flags", frame: { length: 32, more: true }, answer: "drop" },
  { what: "a packet that ends before its TCP header does", frame: { length: 39 }, answer: "drop" },
  { what: "a packet shorter than its own header", frame: { length: 19 }, answer: "drop" },
  { what: "a SYN without a length (it is a long packet's)", frame: { length: 0 }, answer: "drop" },
  { what: "hop-by-hop options", frame: v6({ header: HOP_BY_HOP, size: 16 }), answer: "drop" },
  { what: "a routing header", frame: v6({ header: ROUTING, size: 24 }), answer: "drop" },
  { what: "destination options", frame: v6({ header: DESTINATION, size: 64 }), answer: "drop" },
  { what: "an authentication header", frame: v6({ header: AH, size: 24 }), answer: "drop" },
  { what: "a fragment header of a whole packet", frame: v6({ header: FRAGMENT }), answer: "drop" },
  { what: "a first IPv6 fragment", frame: v6({ header: FRAGMENT, more: true }), answer: "drop" },
  { what: "a later one", frame: v6({ header: FRAGMENT, offset: 24 }), answer: "pass" },
  {
    what: "one that begins inside the TCP header",
    frame: v6({ header: FRAGMENT, offset: 8 }),
    answer: "drop",
  },
  {
    what: "every header that there is",
    frame: v6(...[HOP_BY_HOP, DESTINATION, ROUTING, FRAGMENT, AH, DESTINATION].map((header) => ({ header }))),
    answer: "drop",
  },
  {
    what: "one header more than any packet needs, before a datagram",
    frame: { ...v6(...Array.from({ length: 7 }, () => ({ header: DESTINATION }))), protocol: UDP },
    answer: "drop",
  },
  {
    what: "a datagram behind headers",
    frame: { ...v6({ header: HOP_BY_HOP }, { header: DESTINATION }), protocol: UDP },
    answer: "pass",
  },
  {
    what: "a header that is longer than its packet",
    frame: { ...v6({ header: DESTINATION }), length: 7 },
    answer: "drop",
  },
];

const deniers = [...peers(TableNumber.DENY), settings({ xdpReset: 1 })];

describe.each(["tc", "xdp"] as const)("%s, at a pod that denies everybody", (hook) => {
  let object: LoadedObject;
  beforeAll(() => {
    object = loadObject(OBJECTS[hook], deniers);
    object.callFor(POD);
  });
  afterAll(() => object?.close());

  it.each(frames)("$what: $answer", ({ frame, answer }) => {
    expect(runHook(object, hook, POD, frameOf(frame)).answer).toBe(answer);
  });

  it.each([
    ["IPv4", {}, 0],
    ["IPv4, with data and a tag", { payload: 101, tcpOptions: 12, tags: [VLAN] }, 1],
    ["IPv6", v6(), 0],
    ["IPv6, with data", { ...v6(), payload: 7 }, 0],
  ] as const)("answers with a RST: %s", (_, given, tags) => {
    const frame = { from: CLIENT, to: SERVER, payload: 0, ...given };
    const { data } = runHook(object, hook, POD, frameOf({ ...frame, sequence: 0xffff_ffff }));
    expect(readReset(data, tags)).toEqual({
      macs: [THERE.toString("hex"), HERE.toString("hex")],
      ...{ from: frame.to, to: frame.from, fromPort: 80, port: CLIENT_PORT },
      ...{ sequence: 0, acknowledged: frame.payload, flags: RST | ACK },
      length: frame.to === SERVER ? 40 : 20,
      size: frame.to === SERVER ? 40 : 60,
      isHeaderRight: true,
      isSegmentRight: true,
    });
  });

  it.each([
    ["IPv4", {}, 34],
    ["IPv6", v6({ header: HOP_BY_HOP, size: 2048 }), 54],
  ] as const)("passes no frame that ends early: %s", (_, frame, headers) => {
    const whole = frameOf(frame);
    // A test run of tc takes no packet that lacks its IP header.
    for (let size = hook === "tc" ? headers : 20; size < whole.length; size += 13)
      expect(runHook(object, hook, POD, whole.subarray(0, size)).answer).toBe("drop");
  });
});

describe.each(["tc", "xdp"] as const)("%s", (hook) => {
  const run = (maps: Parameters<typeof loadObject>[1], cookie = POD) => {
    const object = loadObject(OBJECTS[hook], maps);
    try {
      object.callFor(cookie);
      const { answer } = runHook(object, hook, cookie, frameOf());
      return { answer, reasons: object.reasons(), hits: object.policyHits().map(({ kind }) => kind) };
    } finally {
      object.close();
    }
  };
  const early = hook === "tc" ? Reason.TC_DENIED : Reason.XDP_DENIED;

  it("leaves it to the guard to count whom it admits", () => {
    expect(run(peers(TableNumber.OPEN))).toEqual({ answer: "pass", reasons: {}, hits: [] });
  });

  it("counts whom it denies apart from the guard's denials", () => {
    const byPolicy = [...guarded({ flags: TableFlag.HAS_ALLOW, allow: [] }), settings({ xdpReset: 1 })];
    expect(run(byPolicy)).toEqual({ answer: "answer", reasons: counted(early), hits: [2] });
    // Where policies are not known none of them is to be told of.
    expect(run(deniers)).toEqual({ answer: "answer", reasons: counted(early), hits: [] });
  });

  it("passes what is not enrolled, and says so", () => {
    expect(run([...deniers], 99n)).toEqual({
      answer: "pass",
      reasons: counted(Reason.EARLY_PASSED),
      hits: [],
    });
  });
});

describe("XDP on an interface of the node", () => {
  const frame = frameOf();
  const run = (...named: ReturnType<typeof entry>[]) => {
    const object = loadObject("xdp", [...peers(TableNumber.DENY), ...named]);
    try {
      object.callFor(0n);
      return runHook(object, "xdp", 0n, frame).answer;
    } finally {
      object.close();
    }
  };

  it("drops what the pod at the destination denies", () => {
    expect(run(entry("workload_pods", 2, POD))).toBe("drop");
  });

  it("passes what is for no pod of this node, and does not believe an entry that the pod does not bear out", () => {
    expect(run()).toBe("pass");
    expect(run(entry("workload_pods", 2, POD + 1n))).toBe("pass");
    expect(run(entry("workload_pods", 2, 99n), podEntry(99n, { guard: TableNumber.DENY, workload: 3 }))).toBe(
      "pass",
    );
  });
});

describe("a stub", () => {
  const native = loadNative(packageRoot());
  const OPEN = 0xf000_0001_8000_0007n;
  const SHUT = 0x8000_0002n;
  const maps = [
    ...peers(TableNumber.OPEN),
    podEntry(OPEN, { guard: TableNumber.OPEN, workload: 2 }),
    podEntry(SHUT, { guard: TableNumber.DENY, workload: 2 }),
  ];
  /** tc: TC_ACT_UNSPEC, TC_ACT_SHOT, TC_ACT_REDIRECT; XDP: XDP_PASS, XDP_DROP. */
  const results = { tc: { pass: 0xffffffff, deny: 7, drop: 2 }, xdp: { pass: 2, deny: 1, drop: 1 } } as const;

  const run = (object: LoadedObject, hook: Hook, cookie: bigint) => {
    const state = {
      guarded: object.map("guarded"),
      early_tc: object.map("early_tc"),
      early_xdp: object.map("early_xdp"),
    };
    const stub = hook === "tc" ? loadTcStub(native, state, cookie) : loadXdpStub(native, state, cookie);
    try {
      return stub.testRun({ data: frameOf() }).returnValue;
    } finally {
      stub.close();
    }
  };

  it.each([
    "tc",
    "xdp",
  ] as const)("of %s tells the one program whose packet it is, and drops while there is none", (hook) => {
    const { pass, deny, drop } = results[hook];
    const object = loadObject(OBJECTS[hook], maps);
    try {
      expect([OPEN, SHUT].map((cookie) => run(object, hook, cookie))).toEqual([drop, drop]);
      object.putProgram(`early_${hook}`, hook === "tc" ? "weft_forward" : "weft_xdp");
      expect([OPEN, SHUT, OPEN].map((cookie) => run(object, hook, cookie))).toEqual([pass, deny, pass]);
    } finally {
      object.close();
    }
  });
});
