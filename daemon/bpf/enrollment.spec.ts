import { describe, expect, it } from "vitest";
import { readEnrollments, writeEnrollment } from "./enrollment.js";
import { NETNS_PATH_BYTES, POD_NAME_BYTES } from "./maps.gen.js";
import { TestMap } from "./test-map.js";

const pod = { cookie: 4097n, namespace: "shop", name: "web", netns: "/run/netns/web" };

describe("an enrolled pod", () => {
  it("is read back as it was written, also at its longest", () => {
    const map = new TestMap("pod_info", 2);
    const longest = {
      cookie: 4098n,
      namespace: "shop",
      name: "w".repeat(POD_NAME_BYTES - "shop/".length),
      netns: `/${"n".repeat(NETNS_PATH_BYTES - 1)}`,
    };
    for (const each of [pod, longest]) expect(writeEnrollment(map, each).ok).toBe(true);
    expect(readEnrollments(map)).toEqual([pod, longest]);
  });

  it.each([
    [
      { ...pod, netns: `/${"n".repeat(NETNS_PATH_BYTES)}` },
      "the network namespace path of pod shop/web has 257 bytes: use one of at most 256",
    ],
    [
      { ...pod, name: "ä".repeat(POD_NAME_BYTES / 2) },
      `the name of pod shop/${"ä".repeat(POD_NAME_BYTES / 2)} has 325 bytes: use one of at most 320`,
    ],
  ])("whose texts are too long is refused, and nothing is written", (long, message) => {
    const map = new TestMap("pod_info", 2);
    expect(writeEnrollment(map, long)).toMatchObject({
      ok: false,
      error: { code: "POD_TEXT_TOO_LONG", message },
    });
    expect(map.held.size).toBe(0);
  });

  it("that is one too many is refused", () => {
    const map = new TestMap("pod_info", 1);
    writeEnrollment(map, pod);
    expect(writeEnrollment(map, { ...pod, cookie: 4098n, name: "db" })).toMatchObject({
      ok: false,
      error: { code: "PODS_FULL" },
    });
  });
});
