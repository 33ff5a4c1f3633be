// Owns the proof of where the cgroup v2 hierarchy is found. What a host lacks, test/netns/start.test.ts takes away.

import { describe, expect, it } from "vitest";
import { findCgroup2 } from "./environment.js";

const pure = `22 27 0:21 / /proc rw,nosuid shared:12 - proc proc rw
28 21 0:25 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot
29 21 0:26 / /sys/fs/bpf rw,nosuid shared:5 - bpf bpf rw,mode=700
`;
const hybrid = `31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:7 master:2 - cgroup2 cgroup2 rw
`;
const legacy = `31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
`;

describe("the root of cgroup v2", () => {
  it.each([
    ["a pure host", pure, "/sys/fs/cgroup"],
    ["a hybrid host", hybrid, "/sys/fs/cgroup/unified"],
    ["a host with cgroup v1 only", legacy, undefined],
    ["no mounts at all", "", undefined],
  ])("on %s", (_, mountinfo, path) => {
    expect(findCgroup2(mountinfo, () => false)).toBe(path);
  });

  it("is the whole hierarchy rather than the part that a container was given", () => {
    const part = "50 49 0:25 /kubepods/pod1 /sys/fs/cgroup ro - cgroup2 cgroup2 rw\n";
    const whole = "51 49 0:25 / /host/sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
    expect(findCgroup2(part + whole, () => false)).toBe("/host/sys/fs/cgroup");
    expect(findCgroup2(part, () => false)).toBe("/sys/fs/cgroup");
  });

  it("is known by what it is where a cgroup namespace calls a part of it so", () => {
    const own = "50 49 0:25 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
    const host = "51 49 0:25 /../../.. /host/sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
    expect(findCgroup2(own + host, (path) => path.startsWith("/host"))).toBe("/host/sys/fs/cgroup");
  });

  it("is read as the kernel writes paths: blanks and backslashes as octal", () => {
    expect(findCgroup2("41 31 0:38 / /mnt/a\\040b\\134c rw - cgroup2 cgroup2 rw\n")).toBe("/mnt/a b\\c");
  });

  it("is not taken from a device that is called like it", () => {
    expect(findCgroup2("41 31 0:38 / /mnt rw - tmpfs cgroup2 rw\n")).toBe(undefined);
  });
});
