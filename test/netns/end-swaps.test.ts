// Owns the proof that a change of daemons, or of what tells of the ends of connections, loses and doubles none.
// Must not know how it is told.

import { afterEach, beforeEach, expect, test } from "vitest";
import type { SocketAddress } from "../../lab/peer-operations.js";
import { slowness, until } from "../../lab/wait.js";
import { refusing, withAddon } from "./addon.js";
import { countsOf, gainedSince } from "./counts.js";
import { createWorld, targetPort, vip, type World, webPort } from "./world.js";

let world: World;
beforeEach(async () => {
  world = await createWorld({}, { accessLog: false });
}, 120_000 * slowness);
afterEach(() => world?.remove());

const address: SocketAddress = { host: vip.web.ipv4, port: webPort };
const direct: SocketAddress = { host: "10.77.0.22", port: targetPort };
/** "what is your name?\n" and "web-a\n", as the peers write them. */
const [questionBytes, replyBytes] = [19, 6];

test(
  "thousands of connections that close while daemons come and go are counted once each",
  async () => {
    const { lab, mesh, peers } = world;
    const before = countsOf(lab);
    const lost = async () =>
      (await world.reason("connection_evicted")) + (await world.reason("traffic_full"));
    const lostBefore = await lost();
    // What the kernel has shown to nobody, of the whole machine: to be told where an end is missing.
    const skipped = () => mesh.metric("weft_bpf_program_skipped_runs_total", { program: "weft_on_destroy" });
    const skippedBefore = await skipped();
    let asking = true;
    const ask = async (from: "client" | "other", to: SocketAddress) => {
      let asked = 0;
      while (asking) {
        const { errors, replies } = await peers[from].call("askMany", { ...to, count: 200, concurrency: 32 });
        expect(errors).toEqual({});
        for (const count of Object.values(replies)) asked += count;
      }
      return asked;
    };
    const all = Promise.all([ask("client", address), ask("other", direct)]);
    for (const signal of ["SIGTERM", "SIGKILL", "SIGTERM"] as const) {
      await mesh.endDaemon(signal);
      await mesh.startDaemon();
    }
    asking = false;
    const asked = (await all).reduce((sum, count) => sum + count, 0);
    expect(asked).toBeGreaterThan(slowness > 1 ? 400 : 2_000);
    const both = { opened: asked, closed: asked, failed: 0 };
    const [questions, replies] = [asked * questionBytes, asked * replyBytes];
    const isOver = () =>
      gainedSince(lab, before).out.closed >= asked && gainedSince(lab, before).in.closed >= asked;
    await until("all of them closed", isOver).catch(() => undefined);
    const unseen = (await skipped()) - skippedBefore;
    const found = { ...gainedSince(lab, before), lost: (await lost()) - lostBefore };
    expect(found, `${unseen} ends were shown to nobody`).toEqual({
      out: { ...both, sent: questions, received: replies },
      in: { ...both, sent: replies, received: questions },
      lost: 0,
    });
  },
  120_000 * slowness,
);

test(
  "connections that were opened under one way of telling are counted once under the other",
  async () => {
    const { lab, mesh, peers } = world;
    const before = countsOf(lab);
    const held: number[] = [];
    const hold = async () => {
      for (const to of [address, direct]) held.push(await peers.client.call("hold", to));
    };
    const restart = async () => {
      await mesh.endDaemon("SIGTERM");
      await mesh.startDaemon();
    };
    await hold();
    await withAddon(refusing("ends"), restart);
    expect(await mesh.admin("/status")).toMatchObject({ warnings: [expect.stringContaining("tp_btf")] });
    await hold();
    for (const id of held.splice(0)) await peers.client.call("drop", { id });
    await until("four ends at both sides", () => gainedSince(lab, before).in.closed === 4);
    await hold();
    await restart();
    for (const id of held.splice(0)) await peers.client.call("drop", { id });
    const isOver = () => gainedSince(lab, before).in.closed >= 6 && gainedSince(lab, before).out.closed >= 6;
    await until("all ends at both sides", isOver);
    const each = { opened: 6, closed: 6, failed: 0, sent: 0, received: 0 };
    expect(gainedSince(lab, before)).toEqual({ out: each, in: each });
  },
  120_000 * slowness,
);

test("what the access log tells of an end, it tells of connections opened before it was switched on too", async () => {
  const { mesh, peers } = world;
  const early = await peers.client.call("hold", address);
  await mesh.weftctl("accesslog", "enable");
  const late = await peers.client.call("hold", address);
  for (const id of [early, late]) await peers.client.call("drop", { id });
  const lines = await until("four lines", async () => {
    const found = mesh
      .log("weftd")
      .split("\n")
      .filter((line) => line.startsWith("accesslog: "));
    return found.length >= 4 && found;
  });
  const outbound = lines.filter((line) => line.includes("direction=OUTBOUND"));
  expect(outbound.filter((line) => /duration=0ms, event=closed, state=-,/.test(line))).toHaveLength(1);
  expect(
    outbound.filter((line) => /event=closed, state=(FIN_WAIT2|LAST_ACK|CLOSING),/.test(line)),
  ).toHaveLength(1);
});
