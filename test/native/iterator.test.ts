// Owns the proof that iterators are read whole, off the event loop and inside the namespace asked for.

import { readdirSync, readlinkSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createLab, type Lab, type Pod } from "../../lab/lab.js";
import { AttachType } from "../../native/index.js";
import {
  bpfDescriptors,
  collectGarbage,
  descriptors,
  loadObject,
  native,
  pack,
  threadBlocks,
  thrownBy,
} from "./support.js";

const object = loadObject("iterators");
const sockets = native.linkIterator(object.program("sockets"));
const tcpListen = 10;

let lab: Lab;
let pods: Pod[];
beforeAll(async () => {
  lab = await createLab();
  pods = await Promise.all(
    [1, 2].map(async (n) => {
      const pod = await lab.pod(`test/pod${n}`, { ipv4: `10.77.2.${n}` });
      const script = `require("node:net").createServer().listen(${8000 + n})`;
      await lab.spawn(pod, [process.execPath, "-e", script], { port: 8000 + n });
      return pod;
    }),
  );
});
afterAll(() => {
  sockets.close();
  object.close();
  lab.remove();
});

/** Ports listened on, as the iterator prints them inside a namespace. */
async function listening(netnsPath?: string): Promise<number[]> {
  const text = (await native.readIterator(sockets, netnsPath)).toString();
  return text
    .trim()
    .split("\n")
    .map((line) => line.split(" ").map(Number))
    .filter(([state]) => state === tcpListen)
    .map(([, port = 0]) => port);
}

describe("an iterator", () => {
  it("walks the sockets of the namespace asked for, all at the same time", async () => {
    const paths = [...pods, ...pods, ...pods].map((pod) => pod.path);
    const found = await Promise.all(paths.map((path) => listening(path)));
    expect(found).toEqual([[8001], [8002], [8001], [8002], [8001], [8002]]);
  });

  it("walks the process's own namespace unless asked, also afterwards", async () => {
    const server = await new Promise<Server>((resolve) => {
      const s = createServer().listen(0, "127.0.0.1", () => resolve(s));
    });
    const { port } = server.address() as { port: number };
    await listening(pods[0]?.path);
    const own = await Promise.all(Array.from({ length: 8 }, () => listening()));
    for (const ports of own) {
      expect(ports).toContain(port);
      expect(ports).not.toContain(8001);
    }
    const namespaces = readdirSync("/proc/self/task").map((t) => readlinkSync(`/proc/self/task/${t}/ns/net`));
    expect(new Set(namespaces).size).toBe(1);
    server.close();
  });

  it("is read whole, many pages of it", async () => {
    const link = native.linkIterator(object.program("tasks"));
    expect(link.info).toMatchObject({ type: 4, attachType: 28 });
    const threads = readdirSync("/proc/self/task").map(Number);
    const blocks = threadBlocks(await native.readIterator(link));
    expect([...blocks.keys()]).toEqual(expect.arrayContaining(threads));
    const pattern = pack(4, ...Array.from({ length: 1023 }, (_, i) => i + 1));
    for (const block of blocks.values()) expect(block.equals(pattern)).toBe(true);
    link.close();
  });

  it("may lose its link while it is being read", async () => {
    const link = native.linkIterator(object.program("tasks"));
    const reading = native.readIterator(link);
    link.close();
    expect(threadBlocks(await reading).has(process.pid)).toBe(true);
  });

  it("rejects what the kernel refuses, throws at what is wrong, leaks nothing", async () => {
    const closed = object.program("sockets");
    closed.close();
    await collectGarbage();
    const before = bpfDescriptors();
    await expect(native.readIterator(sockets, "/nowhere")).rejects.toMatchObject({
      code: "ENOENT",
      message: "read iterator in network namespace /nowhere: ENOENT (No such file or directory)",
    });
    await expect(native.readIterator(sockets, "/etc/passwd")).rejects.toMatchObject({ code: "EINVAL" });
    const hooks = loadObject("hooks");
    const pass = hooks.program("lookup_pass");
    const other = native.linkNetns(pass, pods[0]?.path ?? "", AttachType.skLookup);
    await expect(native.readIterator(other)).rejects.toMatchObject({ code: "EINVAL" });
    other.close();
    expect(thrownBy(() => native.linkIterator(pass)).errno).toBeGreaterThan(0);
    pass.close();
    hooks.close();
    expect(() => native.readIterator(sockets, 1 as never)).toThrow(TypeError);
    expect(() => native.readIterator({} as never)).toThrow(TypeError);
    expect(thrownBy(() => native.readIterator(other)).code).toBe("EBADF");
    expect(thrownBy(() => native.linkIterator(closed)).code).toBe("EBADF");
    expect(thrownBy(() => native.linkIterator(null as never))).toBeInstanceOf(TypeError);
    expect(bpfDescriptors()).toEqual(before);
    expect(descriptors().filter((target) => target.startsWith("net:"))).toEqual([]);
  });
});
