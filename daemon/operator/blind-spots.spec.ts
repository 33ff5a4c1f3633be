import { describe, expect, it } from "vitest";
import type { Surveyed } from "../bpf/namespace-survey.js";
import { pod } from "../model/test-samples.js";
import { blindSpots, blindSpotWarnings } from "./blind-spots.js";

const plain: Surveyed = { otherLookups: 0, forwards: false, addresses: ["10.0.0.1", "fe80::1"] };

/** A pod `default/a`, whose workload has these addresses, in a namespace of which this was seen. */
function parts(seen: Partial<Surveyed>, addresses: readonly string[] = ["10.0.0.1"], onPods = false) {
  const enrolled = { namespace: "default", name: "a", netns: "/a", state: "enrolled", cookie: 7n } as const;
  return {
    store: { podWorkloads: () => [pod("a", { addresses })] },
    pods: { all: [{ ...enrolled, error: undefined }] },
    dataplane: { early: { onPods }, survey: { seen: new Map([[7n, { ...plain, ...seen }]]) } },
  } as unknown as Parameters<typeof blindSpots>[0];
}

describe("a pod", () => {
  it("of which a hook sees everything is not mentioned", () => {
    expect(blindSpotWarnings(parts({}))).toEqual([]);
  });

  it("with somebody else's program on sk_lookup is", () => {
    expect(blindSpotWarnings(parts({ otherLookups: 1 }))).toEqual([
      expect.stringMatching(/^default\/a: another sk_lookup program/),
    ]);
  });

  it("that forwards is, unless an early hook is on its interfaces", () => {
    expect(blindSpots(parts({ forwards: true })).forwarding).toEqual(["default/a"]);
    expect(blindSpots(parts({ forwards: true }, ["10.0.0.1"], true)).forwarding).toEqual([]);
  });

  it("none of whose interfaces has an address of its workload is", () => {
    expect(blindSpots(parts({}, ["10.0.0.9"])).elsewhere).toEqual(["default/a"]);
    expect(blindSpots(parts({}, [])).elsewhere).toEqual([]);
  });
});
