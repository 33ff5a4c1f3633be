import { describe, expect, it } from "vitest";
import { formatHostPort, parseDuration, parseHostPort, parsePod, parsePodName } from "./parse.js";

describe("parsers", () => {
  it("reads durations with units only", () => {
    const read = (text: string) => {
      const result = parseDuration(text);
      return result.ok ? result.value : undefined;
    };
    expect(["500ms", "30s", "1m30s", "1.5h", "0s"].map(read)).toEqual([500, 30_000, 90_000, 5_400_000, 0]);
    expect(["", "5", "s", "-1s", "1 s", "1d", "1s2"].map(read)).toEqual(Array(7).fill(undefined));
  });

  it("reads and writes addresses", () => {
    for (const text of ["istiod.istio-system:15010", "[::1]:1", "10.0.0.1:65535"]) {
      const result = parseHostPort(text);
      expect(result.ok && formatHostPort(result.value)).toBe(text);
    }
    for (const text of ["", "host", "host:", ":1", "host:65536", "::1:80", "a b:1", "[::1]"]) {
      expect(parseHostPort(text).ok, text).toBe(false);
    }
  });

  it("reads names of pods", () => {
    expect(parsePodName("a/b")).toEqual({ ok: true, value: { namespace: "a", name: "b" } });
    for (const text of ["", "a", "a/", "/b", "a/b/c", "a/b=c", "a b/c", "a/b\x1b"]) {
      expect(parsePodName(text).ok, text).toBe(false);
    }
  });

  it("reads pods", () => {
    expect(parsePod("a/b=/run/netns/x=y")).toEqual({
      ok: true,
      value: { namespace: "a", name: "b", netns: "/run/netns/x=y" },
    });
    for (const text of [
      "",
      "a/b",
      "a=/x",
      "/b=/x",
      "a/=/x",
      "a/b=x",
      "a/b/c=/x",
      "a/b\u009b=/x",
      "a/b=/x\n",
    ]) {
      expect(parsePod(text).ok, text).toBe(false);
    }
  });
});
