// Owns the list of hooks: which program of which object goes where. Must not know how it gets there.

import { AttachType } from "../../native/index.js";

/** Objects that a generation may have, in the order they are loaded. */
export const OBJECTS = [
  "connect",
  "datagram",
  "sockops",
  "guard",
  "sweep",
  "explain",
  "ends",
  "bytes",
  "drops",
  "forward",
  "xdp",
  "waypoint",
] as const;

export type ObjectName = (typeof OBJECTS)[number];

/**
 * Has the programs of several objects, those that ask for the kernel's types: libbpf reads these anew for each object,
 * which takes as long as verifying two programs.
 */
export const JOINT_OBJECT = "joint";
export const JOINED_OBJECTS: readonly ObjectName[] = [
  "connect",
  "datagram",
  "sockops",
  "sweep",
  "ends",
  "bytes",
  "drops",
  "waypoint",
];

/** Those that a generation may be without: their types of programs are not allowed everywhere. */
export const SPARABLE_OBJECTS = [
  "sweep",
  "ends",
  "bytes",
  "drops",
  "forward",
  "xdp",
  "waypoint",
] as const satisfies readonly ObjectName[];

export interface CgroupHook {
  /** Name of the link's pin and in `status`. */
  readonly hook: string;
  readonly program: string;
  /** enum bpf_attach_type */
  readonly attachType: number;
}

/** Hooks on the governed cgroup, in the order they are swapped. */
export const CGROUP_HOOKS: readonly CgroupHook[] = [
  { hook: "sockops", program: "weft_sockops", attachType: AttachType.cgroupSockOps },
  { hook: "connect4", program: "weft_connect4", attachType: AttachType.cgroupInet4Connect },
  { hook: "connect6", program: "weft_connect6", attachType: AttachType.cgroupInet6Connect },
  { hook: "sendmsg4", program: "weft_sendmsg4", attachType: AttachType.cgroupUdp4Sendmsg },
  { hook: "sendmsg6", program: "weft_sendmsg6", attachType: AttachType.cgroupUdp6Sendmsg },
  { hook: "recvmsg4", program: "weft_recvmsg4", attachType: AttachType.cgroupUdp4Recvmsg },
  { hook: "recvmsg6", program: "weft_recvmsg6", attachType: AttachType.cgroupUdp6Recvmsg },
  { hook: "getpeername4", program: "weft_peername4", attachType: AttachType.cgroupInet4Getpeername },
  { hook: "getpeername6", program: "weft_peername6", attachType: AttachType.cgroupInet6Getpeername },
];

export interface MapHook {
  readonly map: "pending" | "kicks";
  readonly program: string;
  /** enum bpf_attach_type */
  readonly attachType: number;
}

/** Hooks on maps of sockets: a generation has both or none, and speaks to no waypoint without. */
export const MAP_HOOKS: readonly MapHook[] = [
  { map: "pending", program: "weft_push_header", attachType: AttachType.skMsgVerdict },
  { map: "kicks", program: "weft_kick", attachType: AttachType.skSkbStreamVerdict },
];

/** Judges inbound connections of one enrolled pod. */
export const GUARD_PROGRAM = "weft_guard";

/** Iterator that lists a pod's inbound connections. Of no generation: loaded when somebody asks. */
export const LIST_CONNECTIONS = "weft_list_tcp";

/** A hook before the guard, of which the operator may choose one. */
export type EarlyHook = "tc" | "xdp";

interface EarlyProgram {
  readonly object: ObjectName;
  readonly program: string;
  readonly array: "early_tc" | "early_xdp";
}

/** Of each its program, for all pods, and the array that its stubs call through. */
export const EARLY_PROGRAMS: Readonly<Record<EarlyHook, EarlyProgram>> = {
  tc: { object: "forward", program: "weft_forward", array: "early_tc" },
  xdp: { object: "xdp", program: "weft_xdp", array: "early_xdp" },
};

/** Objects of a generation with this early hook, or without any, in the order they are loaded. */
export function objectsWith(early: EarlyHook | undefined): ObjectName[] {
  const hooks = ["tc", "xdp"] as const satisfies readonly EarlyHook[];
  const unused = hooks.filter((hook) => hook !== early).map((hook) => EARLY_PROGRAMS[hook].object);
  return OBJECTS.filter((name) => !unused.includes(name));
}

/** Judge and route a connection that is only asked about. */
export const EXPLAIN_AUTHZ = "weft_explain_authz";
export const EXPLAIN_ROUTE = "weft_explain_route";

export interface TraceHook {
  /** The tracepoint: name of the link's pin and in `status`. */
  readonly hook: string;
  /** Stays behind the link, whatever generation governs, and calls through `array`. */
  readonly stub: string;
  readonly array: "on_destroy" | "on_reset" | "on_drop";
  readonly program: string;
  /** A generation has all hooks of it or none. */
  readonly object: "ends" | "drops";
}

/** Tracepoints of the whole machine. */
export const TRACE_HOOKS: readonly TraceHook[] = [
  {
    hook: "tcp_destroy_sock",
    stub: "weft_on_destroy",
    array: "on_destroy",
    program: "weft_destroy",
    object: "ends",
  },
  {
    hook: "tcp_send_reset",
    stub: "weft_on_reset",
    array: "on_reset",
    program: "weft_reset",
    object: "ends",
  },
  { hook: "kfree_skb", stub: "weft_on_drop", array: "on_drop", program: "weft_drop", object: "drops" },
];

/** Iterator that closes a pod's inbound connections which are denied by now. */
export const CONNECTION_SWEEP = "weft_sweep_tcp";

/** Iterator that counts what a pod's open connections have sent and received. */
export const BYTE_COUNT = "weft_count_bytes";

/** Iterator that ends a pod's handshakes which owe a waypoint their header. */
export const OWING_SWEEP = "weft_sweep_owing";

/** Iterator that closes a pod's connected datagram sockets whose backend has gone. */
export const DATAGRAM_SWEEP = "weft_sweep_udp";
