import { expect, it } from "vitest";
import { bpfMapFull, describe, podNetnsMissing, WeftError } from "./errors.js";

it("describes an error in one line, with its causes and its code", () => {
  const cause = new Error("open failed", { cause: new Error("ENOENT") });
  expect(describe(podNetnsMissing("default/web", "/run/netns/web", cause))).toBe(
    "the network namespace /run/netns/web of pod default/web does not exist: " +
      "name one such as /run/netns/NAME or /proc/PID/ns/net (open failed: ENOENT) [POD_NETNS_MISSING]",
  );
});

it("names the map and its capacity when one is full", () => {
  const error = bpfMapFull("slots", 32768);
  expect([error.code, error.message.includes("slots is full at 32768"), error.cause]).toEqual([
    "BPF_MAP_FULL",
    true,
    undefined,
  ]);
  expect(error).toBeInstanceOf(WeftError);
});

it("ends with causes that go in a circle", () => {
  const error = new Error("round");
  error.cause = error;
  expect(describe(bpfMapFull("slots", 1, error)).split("round")).toHaveLength(6);
});

it("names the limit where a cause tells of one", () => {
  const cause = Object.assign(new Error("open: EMFILE (Too many open files)"), { code: "EMFILE" });
  expect(describe(bpfMapFull("slots", 1, new Error("no generation", { cause })))).toContain(
    "; weftd has no file descriptor left: raise RLIMIT_NOFILE (LimitNOFILE= of its unit) [BPF_MAP_FULL]",
  );
});
