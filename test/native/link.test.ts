// Owns the proof that links hold programs on real hooks, outlive their makers when pinned, and change their
// program under traffic.

import { readlinkSync, statSync, unlinkSync } from "node:fs";
import { dirname } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createLab, type Lab, type Pod } from "../../lab/lab.js";
import { check, run } from "../../lab/process.js";
import { until } from "../../lab/wait.js";
import { AttachType, type BpfLink, RAW_TRACEPOINT_LINK } from "../../native/index.js";
import { descriptors, loadObject, native, pack, thrownBy } from "./support.js";

const hooks = loadObject("hooks");
const connectScript = `
const socket = require("node:net").connect({ host: process.argv[1], port: Number(process.argv[2]) });
socket.on("connect", () => { console.log("connected"); socket.destroy(); });
socket.on("error", (error) => console.log(error.code));`;
const serverScript = `
require("node:net").createServer((s) => s.on("error", () => {}).pipe(s)).listen(8080, "0.0.0.0");`;

let lab: Lab;
let pod: Pod;
beforeAll(async () => {
  lab = await createLab();
  pod = await lab.pod("test/server", { ipv4: "10.77.1.1" });
  await lab.spawn(pod, [process.execPath, "-e", serverScript], { port: 8080 });
});
afterAll(() => {
  lab.remove();
  hooks.close();
});

/** What connecting from inside the pod to its own server comes to: "connected" or an error's code. */
async function connect(): Promise<string> {
  const result = await lab.exec(pod, [process.execPath, "-e", connectScript, "127.0.0.1", "8080"]);
  return result.stdout.trim();
}

function cgroupLink(program: string): BpfLink {
  return native.linkCgroup(hooks.program(program), lab.cgroups.mesh, AttachType.cgroupInet4Connect);
}

describe("a cgroup link", () => {
  it("knows its hook", () => {
    const link = cgroupLink("connect_record");
    expect(link.info).toMatchObject({
      type: 3,
      attachType: AttachType.cgroupInet4Connect,
      programId: hooks.program("connect_record").info.id,
      cgroupId: BigInt(statSync(lab.cgroups.mesh).ino),
    });
    link.close();
  });

  it("replaces its program while pinned, and detaches", async () => {
    const pin = `${lab.bpffs}/connect`;
    const first = cgroupLink("connect_record");
    first.pin(pin);
    first.close();
    expect(await connect()).toBe("connected");

    const link = native.openPinnedLink(pin);
    link.update(hooks.program("connect_refuse"));
    expect(link.info.programId).toBe(hooks.program("connect_refuse").info.id);
    expect(await connect()).toBe("EPERM");
    link.close();
    expect(await connect()).toBe("EPERM");

    const again = native.openPinnedLink(pin);
    again.detach();
    expect(await connect()).toBe("connected");
    // Nothing is left to replace the program of.
    expect(thrownBy(() => again.update(hooks.program("connect_record"))).code).toBe("ENOLINK");
    again.close();
  });

  it("is seen among the programs of its cgroup and of those below it, and not when it has gone", () => {
    const { id, name } = hooks.program("connect_record").info;
    const seen = (cgroup: string) => native.cgroupPrograms(cgroup, AttachType.cgroupInet4Connect);
    const above = dirname(lab.cgroups.mesh);
    const others = seen(lab.cgroups.mesh);
    const link = native.linkCgroup(hooks.program("connect_record"), above, AttachType.cgroupInet4Connect);
    expect(seen(lab.cgroups.mesh)).toEqual([...others, { id, name }]);
    expect(native.cgroupPrograms(above, AttachType.cgroupInet6Connect)).not.toContainEqual({ id, name });
    link.close();
    expect(seen(lab.cgroups.mesh)).toEqual(others);
    expect(thrownBy(() => seen("/nowhere")).code).toBe("ENOENT");
    expect(() => native.cgroupPrograms(above, "4" as never)).toThrow(TypeError);
  });

  it("detaches with its last descriptor when it is not pinned", async () => {
    const link = cgroupLink("connect_refuse");
    expect(await connect()).toBe("EPERM");
    link.close();
    link.close();
    expect(await connect()).toBe("connected");
  });

  it("sees the cookie that netnsCookie reads from outside", async () => {
    const link = cgroupLink("connect_record");
    hooks.map("cookie").update(pack(4, 0), pack(8, 0));
    expect(await connect()).toBe("connected");
    const cookie = native.netnsCookie(pod.path);
    expect(hooks.map("cookie").lookup(pack(4, 0))?.readBigUInt64LE()).toBe(cookie);
    expect(native.netnsCookie("/proc/self/ns/net")).not.toBe(cookie);
    link.close();
  });
});

describe("a network namespace link", () => {
  it("replaces its program while pinned, between two SYNs", async () => {
    const pin = `${lab.bpffs}/lookup`;
    const first = native.linkNetns(hooks.program("lookup_pass"), pod.path, AttachType.skLookup);
    expect(first.info).toMatchObject({
      type: 5,
      attachType: AttachType.skLookup,
      netnsInode: statSync(pod.path).ino,
    });
    first.pin(pin);
    first.close();
    expect(await connect()).toBe("connected");

    const link = native.openPinnedLink(pin);
    link.update(hooks.program("lookup_drop"));
    expect(await connect()).toBe("ECONNREFUSED");
    link.update(hooks.program("lookup_pass"));
    expect(await connect()).toBe("connected");
    link.update(hooks.program("lookup_drop"));
    link.detach();
    expect(await connect()).toBe("connected");
    link.close();
  });
});

describe("a tracepoint link", () => {
  it("sees every TCP socket until its pin and its last descriptor are gone, and has no other end", async () => {
    const pin = `${lab.bpffs}/destroyed`;
    const seen = () => hooks.map("destroyed").lookup(pack(4, 0))?.readUInt32LE() ?? 0;
    const first = native.linkTracepoint(hooks.program("tcp_count"));
    expect(first.info).toMatchObject({
      type: RAW_TRACEPOINT_LINK,
      attachType: AttachType.traceRawTp,
      programId: hooks.program("tcp_count").info.id,
    });
    first.pin(pin);
    first.close();
    expect(await connect()).toBe("connected");
    await until("the socket's end", () => seen() > 0);

    const link = native.openPinnedLink(pin);
    expect(thrownBy(() => link.update(hooks.program("tcp_count"))).code).toBe("EINVAL");
    expect(thrownBy(() => link.detach()).code).toBe("EOPNOTSUPP");
    const { id } = link.info;
    unlinkSync(pin);
    link.close();
    const isGone = async () => (await run(["bpftool", "link", "show", "id", `${id}`])).code !== 0;
    await until("the link's end", isGone);
  });
});

describe("an XDP link", () => {
  it.each(["generic", "native"] as const)("sees packets in %s mode", async (mode) => {
    const packets = hooks.map("packets");
    packets.update(pack(4, 0), pack(8, 0));
    const link = native.linkXdp(hooks.program("xdp_count"), "eth0", { netnsPath: pod.path, mode });
    const shown = JSON.parse(await check(["ip", "-n", pod.netns, "-j", "link", "show", "eth0"])) as {
      ifindex: number;
    }[];
    expect(link.info).toMatchObject({ type: 6, attachType: AttachType.xdp, ifindex: shown[0]?.ifindex });
    await lab.exec(pod, [process.execPath, "-e", connectScript, "10.77.0.1", "9"]);
    expect(packets.lookup(pack(4, 0))?.readUInt32LE()).toBeGreaterThan(0);
    link.close();
    expect(JSON.stringify(await check(["ip", "-n", pod.netns, "link", "show", "eth0"]))).not.toContain("xdp");
  });

  it("looks for the interface where it is told to", () => {
    const program = hooks.program("xdp_count");
    const where = thrownBy(() =>
      native.linkXdp(program, "no-such-if", { netnsPath: pod.path, mode: "generic" }),
    );
    expect(where.code).toBe("ENODEV");
    expect(where.message).toContain(`interface no-such-if of network namespace ${pod.path}`);
    expect(thrownBy(() => native.linkXdp(program, "no-such-if", { mode: "generic" })).code).toBe("ENODEV");
    const gone = thrownBy(() =>
      native.linkXdp(program, "lo", { netnsPath: "/run/netns/gone", mode: "generic" }),
    );
    expect(gone.code).toBe("ENOENT");
  });
});

describe("every link", () => {
  it("leaves this process in its own namespace", () => {
    const own = readlinkSync("/proc/self/ns/net");
    native.linkXdp(hooks.program("xdp_count"), "eth0", { netnsPath: pod.path, mode: "generic" }).close();
    native.netnsCookie(pod.path);
    expect(readlinkSync("/proc/thread-self/ns/net")).toBe(own);
    expect(readlinkSync("/proc/self/ns/net")).toBe(own);
  });

  it("says why it cannot be made, and leaks nothing", () => {
    const program = hooks.program("connect_refuse");
    const lookup = hooks.program("lookup_drop");
    const before = descriptors();
    const { mesh } = lab.cgroups;
    const cases: [() => unknown, string, string][] = [
      [() => native.linkCgroup(program, "/nowhere", 10), "ENOENT", "cgroup /nowhere"],
      [() => native.linkCgroup(program, "/etc/passwd", 10), "ENOTDIR", "program 'connect_refuse'"],
      [() => native.linkCgroup(program, lab.directory, 10), "EBADF", lab.directory],
      [() => native.linkCgroup(program, mesh, AttachType.cgroupInet6Connect), "EINVAL", mesh],
      [() => native.linkNetns(lookup, "/nowhere", AttachType.skLookup), "ENOENT", "/nowhere"],
      [() => native.linkNetns(lookup, "/etc/passwd", AttachType.skLookup), "EINVAL", "/etc/passwd"],
      [() => native.linkNetns(program, pod.path, AttachType.skLookup), "EINVAL", pod.path],
      [() => native.netnsCookie("/nowhere"), "ENOENT", "/nowhere"],
      [() => native.netnsCookie("/etc/passwd"), "EINVAL", "/etc/passwd"],
      [() => native.linkIterator(program), "EINVAL", "connect_refuse"],
    ];
    for (const [action, code, text] of cases) {
      const error = thrownBy(action);
      expect(error.message).toContain(text);
      expect([error.message, error.code]).toEqual([error.message, code]);
    }
    expect(descriptors()).toEqual(before);
  });

  it("believes no stranger", () => {
    const program = hooks.program("connect_refuse");
    const map = hooks.map("cookie");
    const link = cgroupLink("connect_record");
    const strangers: unknown[] = [map, link, {}, null, undefined, 1, Object.create(program), native];
    for (const stranger of strangers) {
      const wrong = stranger as never;
      expect(() => native.linkCgroup(wrong, "/", 10)).toThrow("expected a BpfProgram");
      expect(() => native.linkNetns(wrong, "/", 36)).toThrow(TypeError);
      expect(() => native.linkXdp(wrong, "lo", { mode: "generic" })).toThrow(TypeError);
      expect(() => native.linkIterator(wrong)).toThrow(TypeError);
      expect(() => link.update(wrong)).toThrow(TypeError);
    }
    expect(() => native.linkXdp(program, "lo", { mode: "offload" as never })).toThrow(TypeError);
    expect(() => native.linkXdp(program, "lo", {} as never)).toThrow(TypeError);
    expect(() => native.linkXdp(program, "", { mode: "native" })).toThrow(TypeError);
    expect(() => native.linkCgroup(program, "/", "10" as never)).toThrow(TypeError);
    // Methods and accessors of one class called on another.
    expect(() => map.lookup.call(link as never, pack(4, 0))).toThrow(TypeError);
    for (const [owner, other] of [
      [program, map],
      [link, program],
    ]) {
      const accessor = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(owner), "info");
      expect(() => accessor?.get?.call(other)).toThrow(TypeError);
      expect(() => accessor?.get?.call(undefined)).toThrow(TypeError);
    }
    for (const made of [map, program, link, hooks]) {
      const construct = made.constructor as unknown as new () => unknown;
      expect(() => new construct()).toThrow("cannot be constructed");
    }
    link.close();
    const closed = hooks.program("connect_refuse");
    closed.close();
    expect(thrownBy(() => native.linkCgroup(closed, lab.cgroups.mesh, 10)).code).toBe("EBADF");
    for (const action of [
      () => link.info,
      () => link.update(program),
      () => link.detach(),
      () => link.pin("/x"),
    ]) {
      expect(thrownBy(action).code).toBe("EBADF");
    }
  });
});
