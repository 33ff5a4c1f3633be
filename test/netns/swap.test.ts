// Owns the proof that a swap which a real hook refuses leaves what governed before, whole.

import { readdirSync } from "node:fs";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { parse, stringify } from "yaml";
import { packageRoot } from "../../daemon/base/package-root.js";
import { maps } from "../../daemon/bpf/maps.gen.js";
import { slowness, until } from "../../lab/wait.js";
import { AttachType, loadNative } from "../../native/index.js";
import { createWorld, moreServices, vip, type World, webPort, worldYaml } from "./world.js";

let world: World | undefined;
afterEach(() => world?.remove());

/** The world's mesh with more services than the map of targets has room for. */
function larger(): string {
  const services = moreServices(maps.targets.maxEntries / 2);
  const world = parse(worldYaml()) as { services: object[] };
  return stringify({ ...world, services: [...world.services, ...services] });
}

test(
  "growth that a hook refuses puts the former programs back, leaves nothing, and is tried again",
  async () => {
    world = await createWorld();
    const { lab, mesh, peers } = world;
    const native = loadNative(packageRoot());
    const weft = join(lab.bpffs, "weft");
    const generations = () => readdirSync(weft).filter((name) => name.startsWith("generation-"));
    const behind = () =>
      readdirSync(join(weft, "links")).map((name) => {
        const link = native.openPinnedLink(join(weft, "links", name));
        const { programId } = link.info;
        link.close();
        return `${name} ${programId}`;
      });

    // The last hook that is swapped: the kernel takes 64 programs there, and weft's own has to come back.
    const pin = native.openPinnedLink(join(weft, "links", "getpeername6"));
    pin.detach();
    pin.close();
    const program = native.openPinnedProgram(join(weft, "generation-1", "weft_peername6"));
    const others = Array.from({ length: 64 }, () =>
      native.linkCgroup(program, lab.cgroups.mesh, AttachType.cgroupInet6Getpeername),
    );
    const before = behind();
    try {
      mesh.edit(larger());
      const isRefused = () => mesh.log("weftd").includes("cannot attach getpeername6");
      await until("the refusal", isRefused, { timeoutMs: 60_000 }).catch((cause: unknown) => {
        throw new Error(`weftd says:\n${mesh.log("weftd")}`, { cause });
      });
      // The first refusal may be of the generation that was to bring the detached hook back, of which status says nothing.
      const isTold = async () =>
        (await mesh.weftctl("status")).stdout.includes("no larger maps could be made");
      await until("status telling of it", isTold, { timeoutMs: 60_000 });
      await until("the generation gone", () => generations().length === 1);
      expect([generations(), behind()]).toEqual([["generation-1"], before]);
      // What governs goes on.
      const answer = await peers.client.call("ask", { host: "10.77.0.21", port: 8080 });
      expect(answer).toMatchObject({ ok: true });
    } finally {
      for (const link of others) link.close();
      program.close();
    }
    const isMended = () => !generations().includes("generation-1");
    // Tried after 10 seconds, and after 20 more.
    await until("a new generation", isMended, { timeoutMs: 60_000 });
    // Stubs stay where they are.
    expect(
      behind().filter((link) => before.includes(link) && !/^(guard-|tcp_|kfree_skb)/.test(link)),
    ).toEqual([]);
    const tally = await peers.client.call("askMany", { host: vip.web.ipv4, port: webPort, count: 30 });
    expect(tally.errors).toEqual({});
  },
  120_000 * slowness,
);
