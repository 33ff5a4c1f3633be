import { describe, expect, it } from "vitest";
import { FRONTEND_SHIFT, maps } from "../bpf/maps.gen.js";
import { entry, frontend, target } from "./test-operator-view.js";
import { ask, base, serveEachTest, view } from "./test-server.js";

serveEachTest();

describe("diff", () => {
  it("is empty when both sides agree", async () => {
    expect((await ask("/debug/config_dump/diff")).body).toEqual({ differences: [] });
  });

  it("tells what is missing, what differs and what should not be there, decoded", async () => {
    const stands = maps.addresses.value.decode(frontend.value);
    const other = entry("addresses", { address: Buffer.alloc(16, 1) }, stands);
    const moved = { ...stands, frontend: { number: 5 << FRONTEND_SHIFT, tag: 0 } };
    const changed = { key: frontend.key, value: maps.addresses.value.encode(moved) };
    view.kernel.set("addresses", [changed, other]);
    const said = maps.targets.value.decode(target.value);
    const elsewhere = { key: target.key, value: maps.targets.value.encode({ ...said, firstSlot: 3 }) };
    view.kernel.set("targets", [elsewhere, entry("targets", 5, said)]);
    view.kernel.set("authz_identity", []);
    const { body } = await ask("/debug/config_dump/diff");
    expect(body).toMatchObject({
      differences: [
        {
          map: "targets",
          key: { index: 4 },
          expected: { serviceName: "default/web", firstSlot: 2 },
          actual: { serviceName: "default/web", firstSlot: 3 },
        },
        {
          map: "addresses",
          key: { address: "10.96.0.1" },
          expected: { target: 4 },
          actual: { target: 5 },
        },
        {
          map: "addresses",
          key: { address: "101:101:101:101:101:101:101:101" },
          expected: null,
          actual: { target: 4 },
        },
        { map: "authz_identity", key: { table: 2 }, expected: { chunks: [0], first: 3 }, actual: null },
      ],
    });
  });

  it("lets what is leaving be there or not", async () => {
    const key = maps.authz_identity.key.encode({ table: 9, identity: 3 });
    view.leaving.set("authz_identity", [key]);
    expect((await ask("/debug/config_dump/diff")).body).toEqual({ differences: [] });
    const left = { key, value: Buffer.alloc(maps.authz_identity.value.size) };
    view.kernel.set("authz_identity", [...(view.believed.get("authz_identity") ?? []), left]);
    expect((await ask("/debug/config_dump/diff")).body).toEqual({ differences: [] });
    view.leaving.clear();
    expect((await ask("/debug/config_dump/diff")).body).toMatchObject({ differences: [{ actual: {} }] });
  });

  it("tells everything when the kernel has lost a whole map", async () => {
    const lost = Array.from({ length: 150_000 }, (_, index) => ({
      key: maps.authz_identity.key.encode({ table: 2, identity: index }),
      value: Buffer.alloc(maps.authz_identity.value.size),
    }));
    view.believed.set("authz_identity", lost);
    view.kernel.set("authz_identity", []);
    const { status, body } = await ask("/debug/config_dump/diff");
    expect([status, (body as { differences: unknown[] }).differences.length]).toEqual([200, lost.length]);
  });

  it("tells of as many entries as a kernel that lost its maps lacks", async () => {
    const count = 150_000;
    const value = maps.slots.value.encode(
      maps.slots.value.decode(view.believed.get("slots")?.[0]?.value ?? new Uint8Array()),
    );
    const slots = Array.from({ length: count }, (_, index) => ({ key: maps.slots.key.encode(index), value }));
    view.believed.set("slots", slots);
    view.kernel.set("slots", []);
    const { status, body } = await ask("/debug/config_dump/diff");
    expect(status).toBe(200);
    expect((body as { differences: unknown[] }).differences).toHaveLength(count);
  });

  it("is not waited for, nor made, once its reader has left", async () => {
    let release: (() => void) | undefined;
    let compared = 0;
    view.expectedMap = () => {
      compared++;
      return undefined;
    };
    const ended = new Promise<void>((resolve) => {
      view.betweenUpdates = async (work) => {
        await new Promise<void>((go) => {
          release = go;
        });
        const value = work();
        resolve();
        return value;
      };
    });
    const stop = new AbortController();
    const asked = fetch(`${base}/debug/config_dump/diff`, { signal: stop.signal });
    await until(() => release !== undefined);
    stop.abort();
    await expect(asked).rejects.toThrow();
    // The server learns of it a moment later.
    await new Promise((resolve) => setTimeout(resolve, 100));
    release?.();
    await ended;
    expect(compared).toBe(0);
  });

  it("ignores slots that nothing refers to", async () => {
    view.believed.set("slots", []);
    expect((await ask("/debug/config_dump/diff")).body).toEqual({ differences: [] });
  });
});

async function until(condition: () => boolean): Promise<void> {
  for (let round = 0; round < 200 && !condition(); round++)
    await new Promise((resolve) => setTimeout(resolve, 5));
  expect(condition()).toBe(true);
}
