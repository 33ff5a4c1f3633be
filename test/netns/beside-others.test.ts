// Owns the proof of what weft does beside others: kube-proxy, a CNI with programs at the sockets' hooks, another mesh.

import { mkdirSync, rmdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import type { StatusResponse } from "../../daemon/admin/answers.js";
import { packageRoot } from "../../daemon/base/package-root.js";
import { createLab, type Lab } from "../../lab/lab.js";
import { program } from "../../lab/mesh.js";
import { netnsPath, sysctl } from "../../lab/netns.js";
import { check, run } from "../../lab/process.js";
import { until } from "../../lab/wait.js";
import { AttachType, loadNative } from "../../native/index.js";
import { createWorld, dnsPort, dnsTargetPort, targetPort, vip, type World, webPort } from "./world.js";

const native = loadNative(packageRoot());

/** Attaches a program that passes everything, as a CNI or a mesh does; gives what takes it away. */
function attach(name: string, cgroup: string, attachType: number): () => void {
  // enum bpf_prog_type; struct bpf_insn: r0 = 1; exit.
  const instructions = Uint8Array.from([0xb7, 0, 0, 0, 1, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0]);
  const loaded = native.loadProgram({ type: 18, attachType, name, instructions });
  const link = native.linkCgroup(loaded, cgroup, attachType);
  loaded.close();
  return () => link.close();
}

describe("beside kube-proxy", () => {
  /** Of a Service that the control plane has not named. */
  const UNKNOWN = "10.96.9.9";
  let world: World;
  beforeAll(async () => {
    world = await createWorld();
    await world.peers.other.call("serveTcp", { host: "::", port: targetPort, name: "other" });
    await world.peers.other.call("serveUdp", { host: "::", port: dnsTargetPort, name: "other" });
    await sysctl(world.lab.nodeNetns, { "net.ipv4.conf.all.send_redirects": 0 });
  });
  afterAll(() => world?.remove());

  const inNode = (...argv: string[]) => ["nsenter", `--net=${netnsPath(world.lab.nodeNetns)}`, "--", ...argv];

  /** What kube-proxy has of each of two Services, one of which weft serves too: web-a for UNKNOWN, pod `other` for the rest. */
  const served = [
    { address: UNKNOWN, endpoint: "10.77.0.21" },
    { address: vip.web.ipv4, endpoint: "10.77.0.12" },
    { address: vip.dns.ipv4, endpoint: "10.77.0.12" },
  ];

  const nftables = () => `table ip kube-proxy {
    map service-ips {
      type ipv4_addr . inet_proto . inet_service : verdict
    }
    chain services { ip daddr . meta l4proto . th dport vmap @service-ips; }
    chain nat-prerouting { type nat hook prerouting priority dstnat; jump services; }
    chain nat-postrouting { type nat hook postrouting priority srcnat;
      meta mark & 0x4000 != 0 meta mark set mark ^ 0x4000 masquerade fully-random
    }
    ${served
      .map(
        ({ endpoint }, n) => `
        chain endpoint-${n}-tcp { meta mark set mark or 0x4000; meta l4proto tcp dnat to ${endpoint}:${targetPort}; }
        chain endpoint-${n}-udp { meta mark set mark or 0x4000; meta l4proto udp dnat to ${endpoint}:${dnsTargetPort}; }`,
      )
      .join("")}
  }
  ${served
    .map(
      ({ address }, n) =>
        `add element ip kube-proxy service-ips { ${address} . tcp . ${webPort} : goto endpoint-${n}-tcp, ${address} . udp . ${dnsPort} : goto endpoint-${n}-udp }`,
    )
    .join("\n")}`;

  const iptables = () =>
    [
      "*nat",
      ...[":KUBE-SERVICES - [0:0]", ":KUBE-POSTROUTING - [0:0]", ":KUBE-MARK-MASQ - [0:0]"],
      ...served.flatMap((_, n) => [`:KUBE-SEP-${n}TCP - [0:0]`, `:KUBE-SEP-${n}UDP - [0:0]`]),
      "-A PREROUTING -j KUBE-SERVICES",
      "-A POSTROUTING -j KUBE-POSTROUTING",
      "-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000",
      "-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN",
      "-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000",
      "-A KUBE-POSTROUTING -j MASQUERADE --random-fully",
      ...served.flatMap(({ address, endpoint }, n) => [
        `-A KUBE-SERVICES -d ${address}/32 -p tcp --dport ${webPort} -j KUBE-SEP-${n}TCP`,
        `-A KUBE-SERVICES -d ${address}/32 -p udp --dport ${dnsPort} -j KUBE-SEP-${n}UDP`,
        `-A KUBE-SEP-${n}TCP -j KUBE-MARK-MASQ`,
        `-A KUBE-SEP-${n}TCP -p tcp -j DNAT --to-destination ${endpoint}:${targetPort}`,
        `-A KUBE-SEP-${n}UDP -j KUBE-MARK-MASQ`,
        `-A KUBE-SEP-${n}UDP -p udp -j DNAT --to-destination ${endpoint}:${dnsTargetPort}`,
      ]),
      "COMMIT\n",
    ].join("\n");

  const modes = [
    {
      mode: "nftables",
      load: ["nft", "-f", "-"],
      rules: nftables,
      flush: ["nft", "delete table ip kube-proxy"],
    },
    { mode: "iptables", load: ["iptables-restore"], rules: iptables, flush: ["iptables", "-t", "nat", "-F"] },
  ];

  test.each(
    modes,
  )("in mode $mode a Service that weft does not know is kube-proxy's, any other is weft's", async ({
    load,
    rules,
    flush,
  }) => {
    await check(inNode(...load), { input: rules() });
    try {
      const tcp = async (peer: "client" | "outside", host: string) => {
        const answer = await world.peers[peer].call("ask", { host, port: webPort });
        return answer.ok ? answer.reply : answer.code;
      };
      const udp = async (peer: "client" | "outside", host: string) => {
        const [answer] = await world.peers[peer].call("askUdp", { host, port: dnsPort, connected: false });
        return answer?.reply;
      };
      expect([await tcp("client", UNKNOWN), await udp("client", UNKNOWN)]).toEqual(["web-a", "web-a"]);
      // The rules are there, and serve whoever is not governed.
      expect([await tcp("outside", vip.web.ipv4), await udp("outside", vip.dns.ipv4)]).toEqual([
        ...["other", "other"],
      ]);
      expect([await tcp("client", vip.web.ipv4), await udp("client", vip.dns.ipv4)]).toEqual([
        ...[expect.stringMatching(/^web-[abc]$/), expect.stringMatching(/^web-[abc]$/)],
      ]);
    } finally {
      await check(inNode(...flush));
    }
  });
});

describe("beside programs at the sockets' hooks", () => {
  let world: World;
  const detach: (() => void)[] = [];
  beforeAll(async () => {
    world = await createWorld();
  });
  afterAll(() => {
    for (const each of detach) each();
    world?.remove();
  });

  const warnings = async () => ((await world.mesh.admin("/status")) as StatusResponse).warnings;

  test("of Cilium, status and events say so, the log at the next start, and traffic goes on", async () => {
    expect(await warnings()).toEqual([]);
    // As the kernel keeps cil_sock4_connect and cil_sock6_sendmsg.
    detach.push(attach("cil_sock4_conne", world.lab.cgroups.mesh, AttachType.cgroupInet4Connect));
    detach.push(attach("cil_sock6_sendm", world.lab.cgroups.mesh, AttachType.cgroupUdp6Sendmsg));
    const said = "cil_sock4_conne, cil_sock6_sendm: Cilium chooses endpoints of Services";
    expect(await warnings()).toEqual([expect.stringContaining(said)]);
    await until("the event", async () => {
      const { stdout } = await world.mesh.weftctl("events", "--type", "warning");
      return stdout.includes(said);
    });
    await world.mesh.endDaemon("SIGTERM");
    await world.mesh.startDaemon();
    expect(world.mesh.log("weftd")).toContain(said);
    const answer = await world.peers.client.call("ask", { host: vip.web.ipv4, port: webPort });
    expect(answer).toMatchObject({ ok: true, reply: expect.stringMatching(/^web-/) });
  });

  test("of anybody, in a cgroup above too, status names them, and not when they have gone", async () => {
    for (const each of detach.splice(0)) each();
    expect(await warnings()).toEqual([]);
    const above = join(world.lab.cgroups.mesh, "..");
    const gone = attach("stranger", above, AttachType.cgroupInet6Connect);
    expect(await warnings()).toEqual([expect.stringMatching(/^stranger: programs of others .*bpftool/)]);
    gone();
    expect(await warnings()).toEqual([]);
  });

  test.each(["kubepods", "kubepods.slice"])("in the cgroup %s of a kubelet below, too", async (name) => {
    const pods = join(world.lab.cgroups.mesh, name);
    mkdirSync(pods);
    const gone = attach("cil_sock4_conne", pods, AttachType.cgroupInet4Connect);
    expect(await warnings()).toEqual([expect.stringMatching(/^cil_sock4_conne: Cilium chooses/)]);
    gone();
    rmdirSync(pods);
    expect(await warnings()).toEqual([]);
  });
});

describe("beside another mesh weftd refuses to start, in one line,", () => {
  let lab: Lab;
  let cni: string;
  const undo: (() => void)[] = [];
  beforeAll(async () => {
    lab = await createLab();
    cni = join(lab.directory, "net.d");
    mkdirSync(cni);
  });
  afterEach(() => {
    for (const each of undo.splice(0)) each();
  });
  afterAll(() => lab?.remove());

  const start = (...flags: string[]) =>
    run([
      ...[...program("weftd"), "--bpffs", lab.bpffs, "--cgroup", lab.cgroups.mesh, "--cni-conf-dir", cni],
      ...flags,
    ]);

  function configure(plugin: object): void {
    const path = join(cni, "10-net.conflist");
    const plugins = [{ type: "bridge" }, plugin];
    writeFileSync(path, JSON.stringify({ cniVersion: "1.0.0", name: "net", plugins }));
    undo.push(() => rmSync(path, { force: true }));
  }

  async function expectRefusal(...parts: readonly string[]): Promise<void> {
    const { code, stderr } = await start();
    expect(stderr.trimEnd().split("\n"), stderr).toHaveLength(1);
    for (const part of [...parts, "insist with --beside-other-mesh", "[OTHER_MESH]"])
      expect(stderr).toContain(part);
    expect(code).toBe(1);
  }

  test.each(["bpf_kmesh", "bpf_kmesh_workload"])("where Kmesh has pins at %s", async (name) => {
    const pins = join(lab.bpffs, name);
    mkdirSync(pins);
    undo.push(() => rmSync(pins, { recursive: true }));
    await expectRefusal(`Kmesh is on this node: its maps are pinned at ${pins}`);
  });

  test("where Kmesh's programs are on the cgroup", async () => {
    // As the kernel keeps cgroup_connect4_prog.
    undo.push(attach("cgroup_connect4", lab.cgroups.mesh, AttachType.cgroupInet4Connect));
    await expectRefusal("Kmesh is on this node: its program cgroup_connect4", lab.cgroups.mesh);
  });

  test.each([
    ["Kmesh", { type: "kmesh-cni" }],
    ["ztunnel", { type: "istio-cni", ambient_enabled: true }],
  ])("where the CNI plugin of %s stands in a list", async (mesh, plugin) => {
    configure(plugin);
    await expectRefusal(`${mesh} is on this node: ${join(cni, "10-net.conflist")} has its CNI plugin`);
  });

  test("but not where istio-cni serves sidecars, nor where the operator insists", async () => {
    // A namespace that is none: the start ends at a step behind the check.
    const unusable = ["--host-netns", "/dev/null"];
    configure({ type: "istio-cni" });
    expect((await start(...unusable)).stderr).toContain("[NODE_UNKNOWN]");
    configure({ type: "istio-cni", ambient_enabled: true });
    const insisted = await start(...unusable, "--beside-other-mesh");
    expect(insisted.stderr).toContain("ztunnel is on this node");
    expect(insisted.stderr).toContain("[NODE_UNKNOWN]");
  });
});
