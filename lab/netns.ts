// Owns network namespaces and the wires between them. Must not know cgroups, processes or weft.

import { check, runQuietly } from "./process.js";

/** Addresses of one end of a wire, without prefix length: /16 and /64 are assumed. */
export interface WireAddresses {
  readonly ipv4?: string;
  readonly ipv6?: string;
  /** Further addresses, with prefix length. */
  readonly more?: readonly string[];
}

/** Where `ip netns` keeps the namespace of that name. */
export function netnsPath(netns: string): string {
  return `/run/netns/${netns}`;
}

/** Runs lines of `ip` inside a namespace, all in one process. */
async function ip(netns: string, lines: readonly string[]): Promise<void> {
  await check(["ip", "-n", netns, "-batch", "-"], { input: `${lines.join("\n")}\n` });
}

/**
 * Makes the namespace that plays the node: a bridge, and a route to nowhere, so that what is not translated
 * fails at once with "unreachable" instead of hanging. Addresses become the bridge's.
 */
export async function createNode(
  netns: string,
  addresses: Required<Omit<WireAddresses, "more">>,
): Promise<void> {
  await check(["ip", "netns", "add", netns]);
  await ip(netns, [
    "link set lo up",
    "link add br0 type bridge forward_delay 0 mcast_snooping 0",
    "link set br0 addrgenmode none",
    `addr add ${addresses.ipv4}/16 dev br0`,
    `addr add ${addresses.ipv6}/64 dev br0 nodad`,
    "link set br0 up",
    "route add unreachable default",
    "route add unreachable ::/0",
  ]);
  await sysctl(netns, { "net.ipv4.ip_forward": 1, "net.ipv6.conf.all.forwarding": 1 });
}

/** Makes a namespace wired to the node's bridge through `port`, with default routes through the node. */
export async function createPodNetns(
  netns: string,
  node: { readonly netns: string; readonly ipv4: string; readonly ipv6: string },
  port: string,
  addresses: WireAddresses,
): Promise<void> {
  await check(["ip", "netns", "add", netns]);
  await ip(node.netns, [
    `link add ${port} type veth peer name eth0 netns ${netns}`,
    `link set ${port} addrgenmode none master br0 up`,
  ]);
  await ip(netns, [
    "link set lo up",
    "link set eth0 addrgenmode none",
    ...(addresses.ipv4 === undefined ? [] : [`addr add ${addresses.ipv4}/16 dev eth0`]),
    ...(addresses.ipv6 === undefined ? [] : [`addr add ${addresses.ipv6}/64 dev eth0 nodad`]),
    ...(addresses.more ?? []).map((a) => `addr add ${a} dev eth0 ${a.includes(":") ? "nodad" : ""}`),
    "link set eth0 up",
    ...(addresses.ipv4 === undefined ? [] : [`route add default via ${node.ipv4}`]),
    ...(addresses.ipv6 === undefined ? [] : [`route add ::/0 via ${node.ipv6}`]),
  ]);
}

/** Sets kernel parameters inside a namespace. */
export async function sysctl(
  netns: string,
  values: Readonly<Record<string, number | string>>,
): Promise<void> {
  const assignments = Object.entries(values).map(([key, value]) => `${key}=${value}`);
  await check(["nsenter", `--net=${netnsPath(netns)}`, "--", "sysctl", "-qw", ...assignments]);
}

/** Names of all namespaces that `ip netns` knows. */
export function listNetns(): string[] {
  return runQuietly(["ip", "netns", "list"])
    .split("\n")
    .map((line) => line.split(" ")[0] ?? "")
    .filter((name) => name !== "");
}

/** Removes namespaces; those that are gone already are no error. Blocks. */
export function removeNetns(names: readonly string[]): void {
  if (names.length > 0)
    runQuietly(["ip", "-force", "-batch", "-"], names.map((n) => `netns del ${n}\n`).join(""));
}
