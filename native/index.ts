// Owns the typed face of the addon: BPF objects, maps, programs, links, ring buffers, namespaces.
// Knows no struct of weft: keys, values and records are bytes.

import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

/** Failure of a call into the kernel or libbpf. `errno` is positive; `code` its name, as in Node's own errors. */
export interface BpfError extends Error {
  readonly code: string;
  readonly errno: number;
  /** The verifier's whole log, present when it refused a program. Not enumerable: it may have megabytes. */
  readonly verifierLog?: string;
}

/** Numbers as in linux/bpf.h (enum bpf_map_type); sizes in bytes. */
export interface MapInfo {
  readonly id: number;
  readonly type: number;
  readonly name: string;
  readonly keySize: number;
  readonly valueSize: number;
  readonly maxEntries: number;
  readonly flags: number;
}

export interface ProgramInfo {
  readonly id: number;
  readonly type: number;
  readonly name: string;
  readonly tag: string;
  readonly verifiedInstructions: number;
  /** Counted while kernel.bpf_stats_enabled (or an open enableStats handle) says so; nanoseconds. */
  readonly runTimeNs: bigint;
  readonly runCount: bigint;
  /** Runs that the kernel left out because one of it was under way on that CPU: of tracing programs only. */
  readonly skippedRuns: bigint;
}

export interface LinkInfo {
  readonly id: number;
  readonly type: number;
  readonly programId: number;
  readonly attachType: number;
  /** Inode of the network namespace; 0 once it is gone. Netns links only. */
  readonly netnsInode?: number;
  readonly cgroupId?: bigint;
  /** Index of the interface in its namespace; 0 once it is gone. Links of interfaces only. */
  readonly ifindex?: number;
}

export interface NetnsInterface {
  readonly name: string;
  readonly index: number;
  /** ARPHRD_* of linux/if_arp.h. */
  readonly type: number;
  /** Without prefix lengths or zones. */
  readonly addresses: readonly string[];
}

/** ARPHRD_ETHER: its frames begin with an Ethernet header. */
export const ETHERNET = 1;

export interface NetnsState {
  readonly interfaces: readonly NetnsInterface[];
  /** Whether it forwards at all; single interfaces may differ. */
  readonly forwardsIpv4: boolean;
  readonly forwardsIpv6: boolean;
  /** Ids of the programs on its hook sk_lookup, at most 64. */
  readonly lookupPrograms: readonly number[];
}

/** A batch as the kernel gave it: `count` keys and values laid end to end. */
export interface Entries {
  readonly count: number;
  readonly keys: Buffer;
  readonly values: Buffer;
}

/** A field of a key or value, in bytes. Of what is no struct: all of it, without a name. */
export interface MapField {
  readonly name: string;
  readonly offset: number;
  readonly size: number;
}

export interface MapLayout {
  readonly key: readonly MapField[];
  readonly value: readonly MapField[];
}

/** update() and updateBatch() flags: BPF_ANY, BPF_NOEXIST, BPF_EXIST. */
export const UpdateFlag = { any: 0, noExist: 1, exist: 2 } as const;

/** Of enum bpf_link_type, the one that has neither update() nor detach(): it ends with its last descriptor and pin. */
export const RAW_TRACEPOINT_LINK = 1;

/** Values of enum bpf_attach_type that weft links to. */
export const AttachType = {
  cgroupSockOps: 3,
  skSkbStreamVerdict: 5,
  skMsgVerdict: 7,
  cgroupInet4Connect: 10,
  cgroupInet6Connect: 11,
  cgroupUdp4Sendmsg: 14,
  cgroupUdp6Sendmsg: 15,
  cgroupUdp4Recvmsg: 19,
  cgroupUdp6Recvmsg: 20,
  cgroupInet4Getpeername: 29,
  cgroupInet6Getpeername: 30,
  traceRawTp: 23,
  skLookup: 36,
  xdp: 37,
  /** Linux 6.6 */
  tcxIngress: 46,
} as const;

/**
 * A map. Values of per-CPU maps are `possibleCpus()` values laid end to end, each rounded up to 8 bytes.
 * Every method throws BpfError after close() (code EBADF).
 */
export interface BpfMap {
  readonly info: MapInfo;
  /** undefined when the key is absent (ENOENT). */
  lookup(key: Uint8Array): Buffer | undefined;
  update(key: Uint8Array, value: Uint8Array, flags?: number): void;
  /**
   * Puts a program into a PROG_ARRAY, in one step for every tail call; lookup() gives its id. BpfError EINVAL when
   * the map is of another type or already holds programs of another kind. The kernel empties the array when its last
   * descriptor and pin are gone.
   */
  updateProgram(key: Uint8Array, program: BpfProgram): void;
  /** false when the key was absent. */
  delete(key: Uint8Array): boolean;
  /**
   * Writes `count` entries laid end to end. Returns how many were written before the first failure, with that
   * failure; falls back to single updates where the kernel has no batch for the map's type.
   */
  updateBatch(
    keys: Uint8Array,
    values: Uint8Array,
    count: number,
    flags?: number,
  ): { done: number; error?: BpfError };
  /** As updateBatch(); keys that are absent are passed over and count as done. */
  deleteBatch(keys: Uint8Array, count: number): { done: number; error?: BpfError };
  /**
   * All entries, none twice: read in batches, tries key by key. Those that others add or delete meanwhile
   * may be there or not; a trie that others change meanwhile may lack more (the kernel's walk is not atomic).
   */
  entries(): Entries;
  /** What the kernel says of keys and values; undefined where the map was made without type information. */
  layout(): MapLayout | undefined;
  pin(path: string): void;
  /** Idempotent. */
  close(): void;
}

export interface BpfProgram {
  readonly info: ProgramInfo;
  pin(path: string): void;
  /**
   * BPF_PROG_TEST_RUN; `context` in and out where the type has one (sk_lookup takes nothing else). `repeat`, 1 or
   * more, is 1 unless given; durations are nanoseconds a run, averaged. `dataOutSize` is data's length and 256 bytes
   * unless given; BpfError ENOSPC when the packet comes out larger.
   */
  testRun(input: { data?: Uint8Array; context?: Uint8Array; repeat?: number; dataOutSize?: number }): {
    returnValue: number;
    durationNs: number;
    data: Buffer;
    context: Buffer;
  };
  close(): void;
}

export interface BpfLink {
  readonly info: LinkInfo;
  /** Replaces the program behind the link in one step (BPF_LINK_UPDATE). BpfError EINVAL of a tracepoint's. */
  update(program: BpfProgram): void;
  /** BPF_LINK_DETACH: the hook is gone although pins remain. BpfError EOPNOTSUPP of a tracepoint's. */
  detach(): void;
  pin(path: string): void;
  /** Idempotent; detaches unless pinned. */
  close(): void;
}

/** An opened, not yet loaded object: sizes and shared maps are settled here, then load() once. */
export interface BpfObject {
  /** Maps declared in the source; those that libbpf makes for global variables are left out. */
  readonly mapNames: readonly string[];
  readonly programNames: readonly string[];
  setMaxEntries(map: string, entries: number): void;
  /** Uses an existing map in place of the object's own of that name; all but the capacity must agree. */
  reuseMap(name: string, map: BpfMap): void;
  /**
   * Once. Throws BpfError with a one-line message: program and complaint with `verifierLog` when the verifier
   * refused, otherwise what libbpf said. After a failure the object is good for nothing but close().
   */
  load(): void;
  /** As load(), on another thread; rejects as that throws. Until then all but close() throws BpfError EBUSY. */
  loadAsync(): Promise<void>;
  map(name: string): BpfMap;
  program(name: string): BpfProgram;
  /** Idempotent. Maps and programs already taken stay usable. */
  close(): void;
}

/** A program without an object: see loadProgram(). */
export interface RawProgram {
  /** enum bpf_prog_type */
  readonly type: number;
  /** enum bpf_attach_type that the type expects at load time; 0 for those that expect none. */
  readonly attachType?: number;
  /** 1 to 15 bytes. */
  readonly name: string;
  /** struct bpf_insn laid end to end: 8 bytes each, in the machine's byte order. */
  readonly instructions: Uint8Array;
  /** Maps to put in: `instruction` counts from 0 and names the first half of a 64-bit immediate load (ld_imm64). */
  readonly maps?: readonly { readonly instruction: number; readonly map: BpfMap }[];
}

/**
 * Records arrive in batches on the event loop; each Buffer is a copy. A loop that is busy leaves them in the
 * ring, where the BPF program finds out that it is full. Open, it keeps the event loop alive and is never
 * garbage. An exception of the callback is an uncaught exception.
 */
export interface RingBuffer {
  /** Bytes waiting in the ring now, 8 of header for each record included; 0 once closed. */
  readonly pending: number;
  /**
   * Calls the callback, before it returns, with every record committed before the call and not delivered yet; never
   * again afterwards. Idempotent.
   */
  close(): void;
}

/** A socket pair whose far end is in a SOCKMAP: what is sent goes, message by message, to the program on that map. */
export interface MapSocket {
  /** False when there is no room for it now. BpfError EBADF after close(). */
  send(bytes: Uint8Array): boolean;
  /** Takes the far end out of the map. Idempotent. */
  close(): void;
}

/** Held until close() or the end of the process, whatever ends it. */
export interface DirectoryLock {
  /** Idempotent. */
  close(): void;
}

/** Either the lock, or that it is held: `holder` is the pid, undefined when it is of another pid namespace. */
export type LockAttempt =
  | { readonly lock: DirectoryLock }
  | { readonly lock?: undefined; readonly holder: number | undefined };

export interface StatsHandle {
  close(): void;
}

export interface Native {
  libbpfVersion(): string;
  possibleCpus(): number;
  /** Gives what the C heap keeps of freed memory back to the kernel (malloc_trim), where libc has such a call. */
  trimMemory(): void;
  /** Numbers of the CPUs that the calling thread may run on, rising (sched_getaffinity). */
  usableCpus(): number[];
  /**
   * Has every thread of the process run on these CPUs alone, and those that they start (sched_setaffinity). BpfError
   * EINVAL where its cgroup allows none of them; RangeError for a number of 8192 or more.
   */
  useCpus(cpus: readonly number[]): void;
  /** Nothing that libbpf prints reaches stderr: what it warns of is in the messages of errors. */
  openObject(path: string): BpfObject;
  /**
   * Loads instructions as they are: no object, no relocation, no type information; licence "Dual BSD/GPL". Throws
   * BpfError when the kernel refuses, with `verifierLog` when the verifier did; TypeError and RangeError name the
   * option that is wrong.
   */
  loadProgram(program: RawProgram): BpfProgram;
  /**
   * Resolves once every BPF program that was running at the time of the call has ended, so that nobody still uses
   * what it looked up in a map before: what was taken out of the maps' reach earlier may now be used again. Programs
   * that start later are not waited for, nor are sleepable ones (weft has none). Usually 8 to 20 milliseconds, waited
   * for on a thread of the pool. Rejects with BpfError when the kernel has no memory or descriptor left: nothing may be
   * concluded then.
   */
  waitForReaders(): Promise<void>;
  /** The three below throw BpfError EINVAL when something of another kind is pinned there. */
  openPinnedMap(path: string): BpfMap;
  openPinnedProgram(path: string): BpfProgram;
  openPinnedLink(path: string): BpfLink;
  /** The program of this id (ProgramInfo, LinkInfo); BpfError ENOENT when there is none any more. */
  openProgram(id: number): BpfProgram;
  linkCgroup(program: BpfProgram, cgroupPath: string, attachType: number): BpfLink;
  /**
   * Programs that run for processes of a cgroup at this hook, in their order: those of the cgroups above it included.
   * Names have 15 characters at most. BpfError ENOENT when there is no such cgroup.
   */
  cgroupPrograms(cgroupPath: string, attachType: number): Pick<ProgramInfo, "id" | "name">[];
  linkNetns(program: BpfProgram, netnsPath: string, attachType: number): BpfLink;
  /** `mode` as XDP_FLAGS_*; enters the namespace on a thread of its own when netnsPath is given. */
  linkXdp(
    program: BpfProgram,
    interfaceName: string,
    options: { netnsPath?: string; mode: "native" | "generic" },
  ): BpfLink;
  /** tcx ingress (Linux 6.6; BpfError EINVAL before), beside whatever else hangs there; netnsPath as linkXdp() has it. */
  linkTcx(program: BpfProgram, interfaceName: string, options?: { netnsPath?: string }): BpfLink;
  /**
   * Hangs a program on a map of sockets, in place of what hangs there (BPF_PROG_ATTACH): sockets that are put there from
   * now on have it, those that are there keep theirs. It stays as long as the map does.
   */
  attachToMap(program: BpfProgram, map: BpfMap, attachType: number): void;
  /** BpfError EINVAL of a map of another type, or whose values are not of 8 bytes. */
  openMapSocket(map: BpfMap, key: number): MapSocket;
  /** Attaches to the tracepoint that the program names (tp_btf), of the whole machine. */
  linkTracepoint(program: BpfProgram): BpfLink;
  /** A link that readIterator() reads, any number of times. */
  linkIterator(program: BpfProgram): BpfLink;
  /** Everything the iterator prints, read inside the given network namespace (the current one when absent). */
  readIterator(link: BpfLink, netnsPath?: string): Promise<Buffer>;
  /**
   * Closes sockets of the given network namespace (the current one when absent), whoever has them: SOCK_DESTROY.
   * `requests`: structs inet_diag_req_v2 (linux/inet_diag.h) laid end to end, each with the socket's cookie: without
   * one a listener may be found in its place. Gives 0 or an errno for each: ENOENT when there is no such socket any more, EOPNOTSUPP where the kernel cannot. Rejects with BpfError when it could not ask.
   */
  destroySockets(requests: Uint8Array, netnsPath?: string): Promise<number[]>;
  /** What is to be seen of the given network namespace (the current one when absent). Rejects with BpfError. */
  readNetns(netnsPath?: string): Promise<NetnsState>;
  /**
   * Descriptors of two sockets that are bound to an address and port in a network namespace, and shared with others that
   * ask for the same (SO_REUSEPORT): one of UDP, and one of TCP that does not listen yet. The caller closes them.
   * Rejects with BpfError: EADDRINUSE where somebody has the port for himself.
   */
  openNetnsSockets(netnsPath: string, address: string, port: number): Promise<{ udp: number; tcp: number }>;
  /** At most `maxBatch` records a call (default 512), at most `latencyMs` late (default 20). */
  openRingBuffer(
    map: BpfMap,
    onRecords: (records: Buffer[]) => void,
    options?: { maxBatch?: number; latencyMs?: number },
  ): RingBuffer;
  /** SO_NETNS_COOKIE (Linux 5.14) of the namespace behind a path such as /run/netns/x or /proc/1/ns/net. */
  netnsCookie(netnsPath: string): bigint;
  /**
   * flock(2) on a directory: one holder at a time on the whole host, in whatever network namespace. Whoever may open
   * the directory may take the lock: keep others out by its mode. Throws BpfError when there is no such directory,
   * ESTALE when it was removed meanwhile.
   */
  lockDirectory(path: string): LockAttempt;
  /** Turns on run-time statistics of programs until closed (BPF_ENABLE_STATS, Linux 5.8). */
  enableStats(): StatsHandle;
  /**
   * Sends one datagram to the UNIX socket at a path, or with a name in the abstract name space behind `@`, without
   * waiting (sd_notify(3)). Throws ECONNREFUSED, ENOENT where nobody listens.
   */
  sendNotice(socket: string, text: string): void;
}

/**
 * Loads the addon from `build/` below `root`, the package's directory; WEFT_ADDON names another build of it (the
 * sanitizer's). Throws when it is missing, and what dlopen(3) says when a library is that it is linked to.
 */
export function loadNative(root: string): Native {
  const path = process.env.WEFT_ADDON ?? join(root, "build", "weft_native.node");
  if (!existsSync(path)) throw new Error(`${path} is missing`);
  return createRequire(import.meta.url)(path) as Native;
}
