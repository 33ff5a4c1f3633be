// Owns the table of which pods are governed, and of cgroups that name pods.

import { describe, expect, it } from "vitest";
import { podIdIn } from "./netns-finder.js";
import { podObject, standingOf } from "./objects.js";

const MODE = "istio.io/dataplane-mode";

function standing(pod: object, namespaceLabels: Record<string, string>) {
  const { labels = {}, annotations = {}, ...rest } = pod as Record<string, object>;
  const metadata = { name: "a", namespace: "b", uid: "u", resourceVersion: "1" };
  const parsed = podObject.parse({ spec: {}, ...rest, metadata: { ...metadata, labels, annotations } });
  const result = standingOf(parsed, {
    metadata: { ...metadata, namespace: "", labels: namespaceLabels, annotations: {} },
  });
  return result.isGoverned ? "governed" : result.why;
}

describe("who is governed", () => {
  it.each([
    [{}, { [MODE]: "ambient" }, "governed"],
    [{}, { [MODE]: "Kmesh" }, "governed"],
    [{ labels: { [MODE]: "ambient" } }, {}, "governed"],
    [{}, {}, `neither it nor its namespace is labelled ${MODE}=ambient`],
    [{ labels: { [MODE]: "none" } }, { [MODE]: "ambient" }, `it is labelled ${MODE}=none`],
    [{}, { [MODE]: "sidecar" }, `its namespace is labelled ${MODE}=sidecar`],
    [{ spec: { hostNetwork: true } }, { [MODE]: "ambient" }, "it is on the node's network"],
    [{ status: { phase: "Failed" } }, { [MODE]: "ambient" }, "it has ended"],
    [{ annotations: { "sidecar.istio.io/status": "{}" } }, { [MODE]: "ambient" }, "it has a sidecar"],
  ])("%j in %j", (pod, namespace, expected) => {
    expect(standing(pod, namespace)).toBe(expected);
  });
});

const UID = "0b1c2d3e-1111-2222-3333-444455556666";

describe("a process's pod, by its cgroup", () => {
  it.each([
    [`0::/kubepods/burstable/pod${UID}/0123456789abcdef\n`, UID],
    [`12:cpu:/\n3:memory:/kubepods/besteffort/pod${UID}/abc\n0::/\n`, UID],
    [`0::/kubepods.slice/kubepods-pod${UID.replaceAll("-", "_")}.slice/cri-containerd-1.scope\n`, UID],
    ["0::/kubepods/burstable/pod0123456789abcdef0123456789abcdef/c\n", "0123456789abcdef0123456789abcdef"],
    ["0::/system.slice/kubelet.service\n", undefined],
    ["0::/user.slice/podman-123.scope\n", undefined],
    [`0::/x/notpod${UID}/c\n`, undefined],
    ["", undefined],
  ])("%j", (text, expected) => {
    expect(podIdIn(text)).toBe(expected);
  });
});
