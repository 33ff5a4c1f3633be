// Owns the proof of what is read of a network namespace, and of the hook at the entrance of its interfaces.

import { closeSync, readFileSync, readlinkSync } from "node:fs";
import { afterAll, beforeAll, expect, it } from "vitest";
import { createLab, type Lab, type Pod } from "../../lab/lab.js";
import { sysctl } from "../../lab/netns.js";
import { check } from "../../lab/process.js";
import { AttachType, ETHERNET, type Native } from "../../native/index.js";
import { native, thrownBy } from "./support.js";

/** enum bpf_prog_type */
const SCHED_CLS = 3;
const SK_LOOKUP = 30;
const TCX_LINK = 11;
/** struct bpf_insn: r0 = 1 (SK_PASS); exit. And r0 = -1 (TCX_NEXT); exit. */
const PASS = Uint8Array.from([0xb7, 0, 0, 0, 1, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0]);
const NEXT = Uint8Array.from([0xb7, 0, 0, 0, 255, 255, 255, 255, 0x95, 0, 0, 0, 0, 0, 0, 0]);

let lab: Lab;
let pod: Pod;
beforeAll(async () => {
  lab = await createLab();
  pod = await lab.pod("test/pod", { ipv4: "10.77.1.1", ipv6: "fd77::1:1" });
  await sysctl(pod.netns, { "net.ipv4.ip_forward": 0, "net.ipv6.conf.all.forwarding": 0 });
});
afterAll(() => lab?.remove());

it("reads interfaces with their addresses", async () => {
  const { interfaces } = await native.readNetns(pod.path);
  const [eth0] = JSON.parse(await check(["ip", "-n", pod.netns, "-j", "link", "show", "eth0"])) as {
    ifindex: number;
  }[];
  expect(interfaces.map(({ name }) => name).sort()).toEqual(["eth0", "lo"]);
  expect(interfaces.find(({ name }) => name === "eth0")).toMatchObject({
    index: eth0?.ifindex,
    type: ETHERNET,
  });
  const addresses = interfaces.flatMap(({ addresses }) => addresses);
  expect(addresses).toEqual(expect.arrayContaining(["10.77.1.1", "fd77::1:1"]));
});

it("reads whether it forwards", async () => {
  expect(await native.readNetns(pod.path)).toMatchObject({ forwardsIpv4: false, forwardsIpv6: false });
  await sysctl(pod.netns, { "net.ipv4.ip_forward": 1 });
  expect(await native.readNetns(pod.path)).toMatchObject({ forwardsIpv4: true, forwardsIpv6: false });
  await sysctl(pod.netns, { "net.ipv6.conf.all.forwarding": 1 });
  expect(await native.readNetns(pod.path)).toMatchObject({ forwardsIpv6: true });
});

it("reads the programs of sk_lookup", async () => {
  const lookup = { type: SK_LOOKUP, attachType: AttachType.skLookup, name: "pass", instructions: PASS };
  const program = native.loadProgram(lookup);
  const link = native.linkNetns(program, pod.path, AttachType.skLookup);
  expect((await native.readNetns(pod.path)).lookupPrograms).toEqual([program.info.id]);
  link.close();
  program.close();
  expect((await native.readNetns(pod.path)).lookupPrograms).toEqual([]);
});

it.each([
  ["IPv4", "127.9.9.9", "127.9.9.9:1234"],
  ["IPv6", "::1", "[::1]:1234"],
])("binds sockets of %s there, and again for whoever asks too", async (_, address, shown) => {
  const seen = async (protocol: "-u" | "-t") => {
    const argv = ["nsenter", `--net=${pod.path}`, "--", "ss", "-Han", protocol];
    return (await check(argv)).split("\n").filter((line) => line.includes(shown)).length;
  };
  const first = await native.openNetnsSockets(pod.path, address, 1234);
  const second = await native.openNetnsSockets(pod.path, address, 1234);
  expect(await seen("-u")).toBe(2);
  for (const fd of Object.values(first)) expect(readlinkSync(`/proc/self/fd/${fd}`)).toMatch(/^socket:/);
  for (const fd of [...Object.values(first), ...Object.values(second)]) closeSync(fd);
  expect([await seen("-u"), await seen("-t")]).toEqual([0, 0]);
});

it("says why sockets cannot be bound there", async () => {
  const open = native.openNetnsSockets;
  await expect(open("/nowhere", "127.9.9.9", 1)).rejects.toMatchObject({ code: "ENOENT" });
  // Nobody has that address.
  await expect(open(pod.path, "192.0.2.1", 1)).rejects.toMatchObject({ code: "EADDRNOTAVAIL" });
  expect(() => open(pod.path, "elsewhere", 1)).toThrow(RangeError);
  expect(() => open(pod.path, "127.9.9.9", 65_536)).toThrow(RangeError);
});

it("reads the current namespace when none is named, and says why it cannot", async () => {
  expect((await native.readNetns()).interfaces.some(({ name }) => name === "lo")).toBe(true);
  await expect(native.readNetns("/nowhere")).rejects.toMatchObject({ code: "ENOENT" });
  await expect(native.readNetns("/etc/passwd")).rejects.toMatchObject({ code: "EINVAL" });
  expect(() => native.readNetns(7 as never)).toThrow(TypeError);
});

/** Linux 6.6 has it. */
const hasTcx = readFileSync("/sys/kernel/btf/vmlinux").includes("\0BPF_TCX_INGRESS\0");

it("links a program to tcx, or says that the kernel has none", () => {
  const program = native.loadProgram({ type: SCHED_CLS, name: "next", instructions: NEXT });
  const link = (name: string, options?: Parameters<Native["linkTcx"]>[2]) =>
    native.linkTcx(program, name, options);
  expect(thrownBy(() => link("no-such-if", { netnsPath: pod.path })).code).toBe("ENODEV");
  if (hasTcx) {
    const made = link("eth0", { netnsPath: pod.path });
    expect(made.info).toMatchObject({ type: TCX_LINK, attachType: AttachType.tcxIngress });
    expect(made.info.ifindex).toBeGreaterThan(0);
    made.detach();
    expect(made.info.ifindex).toBe(0);
    made.close();
  } else {
    expect(thrownBy(() => link("eth0", { netnsPath: pod.path })).code).toBe("EINVAL");
  }
  program.close();
});
