// Owns the proof of what weftctl does with a cluster, against an API server in memory. A real one is met in test/kube.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { parseAllDocuments } from "yaml";
import { KubeObjects } from "../../../test/helpers/kube-objects.js";
import { runWeftctl } from "../test-terminal.js";

const DAEMON_SETS = "/apis/apps/v1/namespaces/weft-system/daemonsets";
const PODS = "/api/v1/namespaces/weft-system/pods";

let api: KubeObjects;
let folder: string;
let url: string;

beforeEach(async () => {
  api = new KubeObjects();
  url = await api.listen();
  folder = mkdtempSync(join(tmpdir(), "weft-cluster-"));
  kubeconfig({ user: { token: "mine" } });
  api.token = "mine";
  api.lists.set("/apis/apps/v1/daemonsets", () => ({ items: [] }));
  api.lists.set(PODS, () => ({ items: [] }));
  api.seen = (path, object) => (path.startsWith(DAEMON_SETS) ? ready(object, 2) : object);
});

afterEach(() => {
  api.close();
  rmSync(folder, { recursive: true, force: true });
});

function kubeconfig(user: unknown): void {
  const content = {
    "current-context": "test",
    contexts: [{ name: "test", context: { cluster: "here", user: "me" } }],
    clusters: [{ name: "here", cluster: { server: url } }],
    users: [{ name: "me", ...(user as object) }],
  };
  writeFileSync(join(folder, "config"), JSON.stringify(content));
}

/** A DaemonSet whose pods are ready on so many of two nodes. */
function ready(object: object, nodes: number) {
  const counts = { desiredNumberScheduled: 2, updatedNumberScheduled: 2, numberReady: nodes };
  return { ...object, metadata: { generation: 1 }, status: { observedGeneration: 1, ...counts } };
}

const weftctl = (...args: string[]) => runWeftctl([...args, "--kubeconfig", join(folder, "config")]);

/** The parts of an object that these tests look at. */
interface Applied {
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly labels: Record<string, string>;
  };
  readonly data: Readonly<Record<string, string>>;
  readonly spec: {
    readonly template: {
      readonly spec: {
        readonly initContainers: readonly { readonly command: readonly string[] }[];
        readonly containers: readonly { readonly image: string; readonly volumeMounts: readonly unknown[] }[];
        readonly volumes: readonly unknown[];
      };
    };
  };
}

describe("weftctl install", () => {
  it("applies every object, and waits until the nodes are ready", async () => {
    const { code, out, err } = await weftctl("install");
    expect(err).toContain("daemonset/weft applied");
    expect({ code, out }).toEqual({ code: 0, out: "weft is ready on 2 of 2 nodes\n" });
    expect([...api.objects.keys()]).toEqual([
      "/api/v1/namespaces/weft-system",
      "/api/v1/namespaces/weft-system/serviceaccounts/weft",
      "/api/v1/namespaces/weft-system/configmaps/weft",
      "/apis/rbac.authorization.k8s.io/v1/clusterroles/weft-weft-system",
      "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/weft-weft-system",
      `${DAEMON_SETS}/weft`,
    ]);
  });

  it("prints the same, with the values that were named, and asks no cluster", async () => {
    const named = [
      "--image",
      "registry.example/weft:2",
      "--set",
      "cni-bin-dir=/usr/libexec/cni",
      "--cluster-id",
      "east",
    ];
    const { code, out } = await weftctl("install", "--print", "-n", "mesh", ...named);
    expect(code).toBe(0);
    expect(api.requests).toEqual([]);
    expect(out).not.toContain("weft-system");
    const objects = parseAllDocuments(out).map((document) => document.toJS() as Applied);
    const of = (kind: string) => objects.find((object) => object.kind === kind) as Applied;
    expect(of("ConfigMap").data["weft.yaml"]).toContain("cluster-id: east\n");
    const { containers, volumes } = of("DaemonSet").spec.template.spec;
    expect(containers[0]).toMatchObject({ image: "registry.example/weft:2" });
    expect(containers[0]?.volumeMounts).toContainEqual({ name: "cni-bin", mountPath: "/usr/libexec/cni" });
    const bin = { name: "cni-bin", hostPath: { path: "/usr/libexec/cni", type: "DirectoryOrCreate" } };
    expect(volumes).toContainEqual(bin);
    for (const { kind, metadata } of objects)
      expect(metadata.labels, kind).toMatchObject({ "app.kubernetes.io/managed-by": "weftctl" });
  });

  it("refuses what weftd would refuse, before anything is applied", async () => {
    expect(await weftctl("install", "--set", "acess-log=true")).toMatchObject({
      code: 2,
      err: expect.stringContaining("did you mean access-log?"),
    });
    expect(api.requests).toEqual([]);
  });

  it("refuses a cluster in which ztunnel takes the pods' connections", async () => {
    const ztunnel = { metadata: { name: "ztunnel", namespace: "istio-system" } };
    api.lists.set("/apis/apps/v1/daemonsets", () => ({ items: [ztunnel] }));
    expect(await weftctl("install")).toMatchObject({
      code: 1,
      err: expect.stringContaining("ztunnel runs in istio-system"),
    });
    expect(api.objects.size).toBe(0);
  });

  it("names the nodes that are not ready in time, and why", async () => {
    api.seen = (path, object) => (path.startsWith(DAEMON_SETS) ? ready(object, 1) : object);
    const waiting = { reason: "ErrImagePull", message: "no such image" };
    const pod = {
      metadata: { name: "weft-x" },
      spec: { nodeName: "n2" },
      status: { containerStatuses: [{ state: { waiting } }] },
    };
    api.lists.set(PODS, () => ({ items: [pod] }));
    expect(await weftctl("install", "--timeout", "1ms")).toMatchObject({
      code: 1,
      err: expect.stringContaining(
        "weft is ready on 1 of 2 nodes after 1ms; n2: ErrImagePull: no such image",
      ),
    });
  });
});

describe("weftctl uninstall", () => {
  it("takes weft off each node with what it was installed with, then removes what was applied", async () => {
    await weftctl("install");
    let cleaner: Applied | undefined;
    const before = api.seen;
    api.seen = (path, object) => {
      if (path.endsWith("/weft-uninstall")) cleaner = object as unknown as Applied;
      return path.endsWith("/daemonsets/weft") ? object : before(path, object);
    };
    const { code, out } = await weftctl("uninstall");
    expect({ code, out }).toEqual({ code: 0, out: "weft is taken off 2 nodes\n" });
    expect([...api.objects.keys()]).toEqual([]);
    const { spec } = cleaner?.spec.template ?? {};
    expect(spec?.initContainers[0]?.command.join(" ")).toContain(
      "weftd uninstall '--config' '/etc/weft/weft.yaml'",
    );
    expect(spec?.volumes).toContainEqual({
      name: "bpf",
      hostPath: { path: "/sys/fs/bpf", type: "Directory" },
    });
  });

  it("leaves the rest where only nodes are meant, and says when there is nothing", async () => {
    await weftctl("install");
    expect(await weftctl("uninstall", "--nodes-only")).toMatchObject({ code: 0 });
    expect(api.objects.size).toBe(5);
    expect(await weftctl("uninstall", "--nodes-only")).toMatchObject({
      code: 0,
      out: expect.stringContaining("no weft runs from namespace weft-system"),
    });
  });

  it("says that nodes may have weft still where the DaemonSet was deleted by hand", async () => {
    await weftctl("install");
    for (const path of api.objects.keys()) if (path.endsWith("/daemonsets/weft")) api.objects.delete(path);
    const words = "where it was deleted by hand, they have weft still; install weft again, then uninstall it";
    expect(await weftctl("uninstall")).toMatchObject({ code: 0, out: expect.stringContaining(words) });
    expect([...api.objects.keys()]).toEqual([]);
  });

  it("goes on with the nodes that are left, when it is called again", async () => {
    await weftctl("install");
    api.seen = (path, object) => (path.endsWith("/weft-uninstall") ? ready(object, 1) : object);
    const pod = {
      metadata: { name: "weft-uninstall-x" },
      spec: { nodeName: "n2" },
      status: { phase: "Pending" },
    };
    api.lists.set(PODS, () => ({ items: [pod] }));
    expect(await weftctl("uninstall", "--timeout", "1ms")).toMatchObject({
      code: 1,
      err: expect.stringContaining("off 1 of 2 nodes, and not yet off n2 (Pending)"),
    });
    api.seen = (path, object) => {
      api.lists.set(PODS, () => ({ items: [] }));
      return path.endsWith("/weft-uninstall") ? ready(object, 2) : object;
    };
    expect(await weftctl("uninstall")).toMatchObject({ code: 0, out: "weft is taken off 2 nodes\n" });
  });
});

describe("the cluster", () => {
  it("is the kubeconfig's, whose plugin logs in", async () => {
    const printed = JSON.stringify({ kind: "ExecCredential", status: { token: "mine" } });
    kubeconfig({
      user: { exec: { apiVersion: "client.authentication.k8s.io/v1", command: "echo", args: [printed] } },
    });
    expect(await weftctl("uninstall", "--nodes-only")).toMatchObject({ code: 0 });
  });

  it.each([
    [{ user: { token: "another" } }, 1, "401: Unauthorized"],
    [
      { user: { exec: { apiVersion: "v1", command: "false" } } },
      1,
      "false, which the kubeconfig names to log in",
    ],
    [{ name: "somebody", user: {} }, 2, 'names no user "me"'],
  ])("is not asked, or refuses, with words: %j", async (user, code, words) => {
    kubeconfig(user);
    expect(await weftctl("uninstall")).toMatchObject({ code, err: expect.stringContaining(words) });
  });

  it("that is not named, or does not answer, is said", async () => {
    const env = { HOME: folder };
    expect(await runWeftctl(["uninstall"], { env })).toMatchObject({
      code: 2,
      err: expect.stringContaining("no cluster is known: name a kubeconfig"),
    });
    api.close();
    expect(await weftctl("uninstall")).toMatchObject({
      code: 3,
      err: expect.stringContaining("does not answer"),
    });
  });
});
