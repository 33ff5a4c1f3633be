// Owns every error that an operator can meet: its code and a message that says what to do.
// Must not know who raises it.

import { causesFrom } from "./causes.js";
import { limitIn } from "./exhausted.js";

/** Codes are part of the operator's surface: append, never rename. */
export type ErrorCode =
  | "ADDON_UNUSABLE"
  | "ADDRESS_IN_USE"
  | "ADDRESS_UNAVAILABLE"
  | "ADMIN_ANSWER_INVALID"
  | "ADMIN_UNREACHABLE"
  | "ALREADY_RUNNING"
  | "BPF_ATTACH_FAILED"
  | "BPF_DETACH_FAILED"
  | "BPF_LOAD_FAILED"
  | "BPF_MAP_FULL"
  | "BPF_MAP_WRITE_FAILED"
  | "BPF_OBJECT_MISSING"
  | "BPF_OBJECT_STALE"
  | "BPF_PIN_FAILED"
  | "BPF_TYPE_REFUSED"
  | "CONFIG_INVALID"
  | "CONNECTION_UNCLEAR"
  | "KERNEL_LACKS"
  | "KUBE_REFUSED"
  | "KUBE_UNREACHABLE"
  | "KUBE_UNREADABLE"
  | "LOG_FILE_UNWRITABLE"
  | "NO_BPFFS"
  | "NO_BTF"
  | "NO_CGROUP2"
  | "NO_PRIVILEGES"
  | "NOT_INSTALLED"
  | "NODE_UNKNOWN"
  | "OTHER_MESH"
  | "POD_NETNS_MISSING"
  | "POD_NETNS_OF_HOST"
  | "POD_TEXT_TOO_LONG"
  | "POD_UNKNOWN"
  | "PODS_FULL"
  | "PODS_OF_KUBERNETES"
  | "POLICY_UNCLEAR"
  | "START_FAILED"
  | "UNINSTALL_FAILED"
  | "XDS_REFUSED"
  | "XDS_STREAM_LOST"
  | "XDS_SYNC_TIMEOUT"
  | "XDS_TLS_FAILED"
  | "XDS_TOKEN_REFUSED";

/** An expected failure: returned as a value (see Result), thrown only where nobody can go on. */
export class WeftError extends Error {
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = "WeftError";
    this.code = code;
  }
}

/** What an operation that can fail gives back. */
export type Result<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly error: WeftError };

export function ok<T>(value: T): Result<T> {
  return { ok: true, value };
}

export function failed(error: WeftError): { readonly ok: false; readonly error: WeftError } {
  return { ok: false, error };
}

/** The text of anything thrown, without its stack. */
export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}

/** One line for a person: message, code, the chain of causes, and the limit that one of them names. */
export function describe(error: WeftError): string {
  const causes = causesOf(error);
  const limit = limitIn(causes);
  const hint = !limit || error.message.includes(limit) ? "" : `; ${limit}`;
  return `${error.message}${causes === "" ? "" : ` (${causes})`}${hint} [${error.code}]`;
}

/** The chain of causes, joined by colons; empty when there is none. */
export function causesOf(error: Error): string {
  return Array.from(causesFrom(error.cause), messageOf).join(": ");
}

/** The cause names the file: the addon itself, or a library that it is linked to. */
export function addonUnusable(cause: unknown): WeftError {
  return new WeftError(
    "ADDON_UNUSABLE",
    "the native addon cannot be loaded: install libbpf 1.1 or newer and run 'make build'",
    cause,
  );
}

export function noPrivileges(cause?: unknown): WeftError {
  return new WeftError(
    "NO_PRIVILEGES",
    "loading BPF programs is not permitted: run weftd as root, or with CAP_BPF, CAP_NET_ADMIN, CAP_SYS_ADMIN and CAP_PERFMON",
    cause,
  );
}

export function noBtf(path: string, cause?: unknown): WeftError {
  return new WeftError(
    "NO_BTF",
    `the kernel has no type information at ${path}: boot a kernel built with CONFIG_DEBUG_INFO_BTF=y`,
    cause,
  );
}

export function noBpffs(path: string, cause?: unknown): WeftError {
  return new WeftError(
    "NO_BPFFS",
    `${path} is not a BPF file system: run 'mount -t bpf bpf ${path}' or name another with --bpffs`,
    cause,
  );
}

/** `path` is the directory that was asked for; absent when none was found. */
export function noCgroup2(path?: string, cause?: unknown): WeftError {
  const what =
    path === undefined ? "no cgroup v2 hierarchy is mounted" : `${path} is not a cgroup v2 directory`;
  return new WeftError(
    "NO_CGROUP2",
    `${what}: run 'mount -t cgroup2 none /sys/fs/cgroup/unified' or name one with --cgroup`,
    cause,
  );
}

/** `path` was found, and is not the root. */
export function partOfCgroup2(path: string): WeftError {
  return new WeftError(
    "NO_CGROUP2",
    `${path} is not the root of the cgroup v2 hierarchy, so that processes outside it would not be governed: mount the host's /sys/fs/cgroup where weftd runs, or say with --cgroup that this one is meant`,
  );
}

export function alreadyRunning(pid: number | undefined): WeftError {
  const who = pid === undefined ? "another weftd" : `another weftd (pid ${pid})`;
  return new WeftError(
    "ALREADY_RUNNING",
    `${who} governs this node: stop it, let this one end it with --takeover, or give this one its own --bpffs and --cgroup`,
  );
}

export function bpfObjectMissing(path: string): WeftError {
  return new WeftError("BPF_OBJECT_MISSING", `BPF object ${path} is missing: run 'make build'`);
}

/** It is there, but is no object, or was built for other maps than those that weftd has. */
export function bpfObjectStale(path: string, cause: unknown): WeftError {
  const text = `BPF object ${path} does not fit this weftd: run 'make build'`;
  return new WeftError("BPF_OBJECT_STALE", text, cause);
}

/** The verifier's whole log belongs to the cause (BpfError.verifierLog), where it was the verifier. */
export function bpfLoadFailed(object: string, cause: unknown): WeftError {
  const message =
    verifierLogOf(cause) === undefined
      ? `the kernel did not load ${object}: see what it lacks`
      : `the kernel's verifier refused ${object}: weft needs Linux 6.1 or newer; the whole log follows at log level debug`;
  return new WeftError("BPF_LOAD_FAILED", message, cause);
}

/** What the verifier said of a program, where an error or one of its causes has it. */
export function verifierLogOf(error: unknown): string | undefined {
  let link = error;
  for (let depth = 0; link instanceof Error && depth < 5; depth++) {
    if ("verifierLog" in link && typeof link.verifierLog === "string") return link.verifierLog;
    link = link.cause;
  }
  return undefined;
}

/** `consequence` is a clause: what weft cannot do without it; of the next as well. */
export function programTypeRefused(type: string, consequence: string, cause: unknown): WeftError {
  return new WeftError(
    "BPF_TYPE_REFUSED",
    `the kernel refuses BPF programs of type ${type}, so ${consequence}: weft needs Linux 6.1 or newer, and a lockdown or security module that lets them be loaded`,
    cause,
  );
}

/** Something that weft goes on without. */
export function kernelLacks(what: string, consequence: string, cause?: unknown): WeftError {
  return new WeftError("KERNEL_LACKS", `the kernel has not, or refuses, ${what}: ${consequence}`, cause);
}

export function bpfAttachFailed(hook: string, target: string, cause: unknown): WeftError {
  return new WeftError(
    "BPF_ATTACH_FAILED",
    `cannot attach ${hook} to ${target}: see 'bpftool link show' for what holds the hook`,
    cause,
  );
}

export function bpfDetachFailed(what: string, cause: unknown): WeftError {
  const text = `the new generation governs, and ${what} cannot be taken away: see 'bpftool link show'`;
  return new WeftError("BPF_DETACH_FAILED", text, cause);
}

export function bpfPinFailed(path: string, cause: unknown): WeftError {
  return new WeftError(
    "BPF_PIN_FAILED",
    `cannot pin ${path}: check that its directory is on a writable BPF file system`,
    cause,
  );
}

export function bpfMapFull(map: string, capacity: number, cause?: unknown): WeftError {
  return new WeftError(
    "BPF_MAP_FULL",
    `BPF map ${map} is full at ${capacity} entries: raise --map-limit, or make the mesh smaller`,
    cause,
  );
}

export function bpfMapWriteFailed(map: string, cause: unknown): WeftError {
  const why = [`the kernel refused a write to BPF map ${map}`, limitIn(messageOf(cause))];
  return new WeftError("BPF_MAP_WRITE_FAILED", why.filter(Boolean).join(": "), cause);
}

/** `problems`: one complete sentence for each key, naming key and source. */
export function configInvalid(problems: readonly string[]): WeftError {
  return new WeftError("CONFIG_INVALID", problems.join("\n"));
}

/** `reason` is a clause that names the cause and what to do; of the next two as well. */
export function xdsRefused(address: string, reason: string): WeftError {
  return new WeftError("XDS_REFUSED", `no stream to ${address}: ${reason}`);
}

export function xdsTlsFailed(address: string, reason: string): WeftError {
  return new WeftError("XDS_TLS_FAILED", `no stream to ${address}: ${reason}`);
}

export function xdsTokenRefused(address: string, reason: string): WeftError {
  return new WeftError("XDS_TOKEN_REFUSED", `no stream to ${address}: ${reason}`);
}

export function xdsStreamLost(address: string, reason: string): WeftError {
  return new WeftError(
    "XDS_STREAM_LOST",
    `the stream to ${address} ended (${reason}): the kernel keeps the last configuration while weftd reconnects`,
  );
}

/** `types`: names of the resource types that have not come. */
export function xdsSyncTimeout(address: string, milliseconds: number, types: readonly string[]): WeftError {
  return new WeftError(
    "XDS_SYNC_TIMEOUT",
    `${address} accepts the stream but has sent no ${types.join(" or ")} resources for ${milliseconds / 1000} s: is it istiod with PILOT_ENABLE_AMBIENT=true?`,
  );
}

export function nodeUnknown(netns: string, cgroup: string | undefined, cause?: unknown): WeftError {
  const paths =
    cgroup === undefined ? `--host-netns ${netns}` : `--host-netns ${netns} or --pods-cgroup ${cgroup}`;
  return new WeftError(
    "NODE_UNKNOWN",
    `${paths} cannot be opened, so that probes of the node could not be told from others: name the node's network namespace and the cgroup of its pods`,
    cause,
  );
}

export function podNetnsMissing(pod: string, path: string, cause?: unknown): WeftError {
  return new WeftError(
    "POD_NETNS_MISSING",
    `the network namespace ${path} of pod ${pod} does not exist: name one such as /run/netns/NAME or /proc/PID/ns/net`,
    cause,
  );
}

export function podNetnsOfHost(pod: string, path: string): WeftError {
  return new WeftError(
    "POD_NETNS_OF_HOST",
    `${path} is the network namespace of the machine or of weftd itself: enrolled as pod ${pod} it would be cut off, name a pod's own`,
  );
}

/** `what` is "name" or "network namespace path"; bytes of UTF-8. */
export function podTextTooLong(pod: string, what: string, bytes: number, limit: number): WeftError {
  return new WeftError(
    "POD_TEXT_TOO_LONG",
    `the ${what} of pod ${pod} has ${bytes} bytes: use one of at most ${limit}`,
  );
}

export function podsFull(pod: string, capacity: number, cause?: unknown): WeftError {
  return new WeftError(
    "PODS_FULL",
    `pod ${pod} is one more than the ${capacity} that this node can hold: unenroll those that are not needed`,
    cause,
  );
}

/** `why` is a sentence on what of a connection that somebody asks about cannot be found. */
export function connectionUnclear(why: string): WeftError {
  return new WeftError("CONNECTION_UNCLEAR", why);
}

/** `why` is a sentence on what of a policy that somebody tries cannot be found. */
export function policyUnclear(why: string): WeftError {
  return new WeftError("POLICY_UNCLEAR", why);
}

/** Nothing that this daemon made governs yet, so that there is nothing to ask. */
export function notInstalled(): WeftError {
  const text = "nothing of this weftd governs yet: 'weftctl status' says what it waits for";
  return new WeftError("NOT_INSTALLED", text);
}

/** `node`: another one, that it runs on. */
export function podUnknown(pod: string, node?: string): WeftError {
  const hint = node ? `'weftctl --node ${node}' knows it` : "'weftctl status' lists those that are";
  return new WeftError("POD_UNKNOWN", `pod ${pod} is not enrolled: ${hint}`);
}

/** `what` is the port's name: admin, metrics or ready. `cause` is what listening failed with. */
export function listenFailed(what: string, address: string, cause: unknown): WeftError {
  const flag = `--${what}-address`;
  const start = `cannot listen on ${address} for ${what}`;
  const unavailable = (reason: string) => new WeftError("ADDRESS_UNAVAILABLE", `${start}: ${reason}`, cause);
  switch (cause instanceof Error && "code" in cause ? cause.code : undefined) {
    case "EADDRINUSE":
      return new WeftError(
        "ADDRESS_IN_USE",
        `${start}: another process has it, name another with ${flag}`,
        cause,
      );
    case "EADDRNOTAVAIL":
      return unavailable(`it is no address of this machine, name one that is, or 0.0.0.0, with ${flag}`);
    case "EACCES":
      return unavailable(
        `a port this low needs CAP_NET_BIND_SERVICE, give it or name a port from 1024 on with ${flag}`,
      );
    case "EAFNOSUPPORT":
      return unavailable(`the kernel does not speak this kind of address, name another with ${flag}`);
    case "ENOTFOUND":
    case "EAI_AGAIN":
      return unavailable(`its name cannot be resolved, name an address with ${flag}`);
    default:
      return unavailable(`see the cause, or name another with ${flag}`);
  }
}

/** Two of the daemon's own ports are to have one address. */
export function listenTwice(what: string, address: string, other: string): WeftError {
  return new WeftError(
    "ADDRESS_IN_USE",
    `cannot listen on ${address} for ${what}: the ${other} port has it, give each its own with --${what}-address and --${other}-address`,
  );
}

/** What nobody expected, and so a fault of weft's own. */
export function startFailed(cause: unknown): WeftError {
  return new WeftError(
    "START_FAILED",
    "weftd cannot start; nothing was changed in the kernel: --log-level debug shows where it failed",
    cause,
  );
}

export function uninstallFailed(path: string, cause: unknown): WeftError {
  const what = `not all that is pinned below ${path} could be removed`;
  return new WeftError("UNINSTALL_FAILED", `${what}: run it again, or look with 'bpftool link show'`, cause);
}

export function logFileUnwritable(path: string, cause: unknown): WeftError {
  const text = `cannot append to ${path}: check --access-log-file and its directory`;
  return new WeftError("LOG_FILE_UNWRITABLE", text, cause);
}

export function adminUnreachable(url: string, cause: unknown): WeftError {
  return new WeftError(
    "ADMIN_UNREACHABLE",
    `no weftd answers at ${url}: is it running on this node? name its admin address with --admin or WEFT_ADMIN`,
    cause,
  );
}

/** Something answered, and not with what this weftctl asked for; `reason` is a clause. */
export function adminAnswerInvalid(url: string, reason: string): WeftError {
  return new WeftError(
    "ADMIN_ANSWER_INVALID",
    `the answer of ${url} is none of weftd's: ${reason}; is that the admin address of a weftd of this version?`,
  );
}
