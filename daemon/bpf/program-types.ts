// Owns what weft asks of a kernel beyond maps, and what is lost where it is refused: program types, and one function.
// Must not know what is in the objects.

import { readFileSync } from "node:fs";
import { AttachType, type Native } from "../../native/index.js";
import { failed, kernelLacks, ok, programTypeRefused, type Result, type WeftError } from "../base/errors.js";
import { BTF_PATH } from "./environment.js";
import type { SPARABLE_OBJECTS } from "./hooks.js";

interface ProgramType {
  readonly name: string;
  /** enum bpf_prog_type */
  readonly type: number;
  /** enum bpf_attach_type */
  readonly attachType: number;
  /** A clause: what weft cannot do without it. */
  readonly consequence: string;
}

/** Without one of these weftd does not start. */
export const NEEDED: readonly ProgramType[] = [
  {
    name: "cgroup_sock_addr",
    type: 18,
    attachType: AttachType.cgroupInet4Connect,
    consequence: "no connection could be routed to an endpoint",
  },
  {
    name: "sock_ops",
    type: 13,
    attachType: AttachType.cgroupSockOps,
    consequence: "no connection could be followed: its source and its end would be unknown",
  },
  {
    name: "sk_lookup",
    type: 30,
    attachType: AttachType.skLookup,
    consequence: "no policy could be enforced on connections to a pod",
  },
];

/** What the sweeps of sockets are for. */
const UNSWEPT =
  "connections go on when a policy denies them, and connected UDP sockets keep an endpoint that has gone until their application connects anew";

type SparableObject = (typeof SPARABLE_OBJECTS)[number];

const NO_HOOK = "there is no early hook of this kind, whatever --authz-hook says";

const SPARABLE: Readonly<Record<SparableObject, { readonly what: string; readonly consequence: string }>> = {
  sweep: { what: "BPF programs of the types iter/tcp and iter/udp", consequence: UNSWEPT },
  ends: {
    what: "BPF programs of type tp_btf on tcp_destroy_sock and tcp_send_reset",
    consequence:
      "the end of a connection is taken from its changes of state, which costs more CPU a connection",
  },
  bytes: {
    what: "BPF programs of type iter/tcp that keep notes on sockets",
    consequence: "bytes are counted when a connection closes, and not before",
  },
  drops: {
    what: "BPF programs of type tp_btf on kfree_skb",
    consequence:
      "a late segment of a connection that is gone is counted and logged as a denial where a policy would deny it",
  },
  forward: { what: "BPF programs of type sched_cls", consequence: NO_HOOK },
  xdp: { what: "BPF programs of type xdp", consequence: NO_HOOK },
  waypoint: {
    what: "BPF programs of the types sk_msg and sk_skb",
    consequence:
      "what is behind a waypoint is refused, for nothing could tell it where a connection was going",
  },
};

/** `r0 = 1; exit`: a verdict that every needed type may give. Code in the first byte, immediate in the last four. */
const PASS = new Uint8Array([0xb7, 0, 0, 0, 1, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0]);

/** Loads the smallest program of each needed type; the first that the kernel refuses is the error. */
export function checkProgramTypes(native: Pick<Native, "loadProgram">): Result<void> {
  for (const { name, type, attachType, consequence } of NEEDED) {
    try {
      native.loadProgram({ type, attachType, name: "weft_probe", instructions: PASS }).close();
    } catch (error) {
      return failed(programTypeRefused(name, consequence, error));
    }
  }
  return ok(undefined);
}

/** How sockets are closed that must not go on: by the iterator that finds them (Linux 6.5), or by netlink after it. */
export type ClosingMeans = "bpf_sock_destroy" | "SOCK_DESTROY";

/** An object was refused that weft goes on without. */
export function objectRefused(object: SparableObject, cause: unknown): WeftError {
  const { what, consequence } = SPARABLE[object];
  return kernelLacks(what, consequence, cause);
}

/** The means that the kernel of this type information has. */
export function closingMeans(btf: string = BTF_PATH): ClosingMeans {
  return knows(btf, "bpf_sock_destroy") ? "bpf_sock_destroy" : "SOCK_DESTROY";
}

/** Whether the kernel of this type information has the hook tcx. */
export function hasTcx(btf: string = BTF_PATH): boolean {
  return knows(btf, "BPF_TCX_INGRESS");
}

function knows(btf: string, name: string): boolean {
  return readFileSync(btf).includes(`\0${name}\0`);
}
