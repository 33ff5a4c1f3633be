import { describe, expect, it } from "vitest";
import type { Logger } from "../base/log.js";
import { WaypointKicks } from "./waypoint-kicks.js";

/** Sockets that wait, and what was done with them. */
function scene() {
  const state = { begun: 0n, waiting: [] as bigint[], walks: 0, kicked: [] as bigint[], isUsed: true };
  const kicks = new WaypointKicks({
    sockets: {
      begun: () => state.begun,
      waiting: () => {
        state.walks++;
        return state.waiting;
      },
      kick: (socket) => void state.kicked.push(socket),
    },
    isUsed: () => state.isUsed,
    log: {} as Logger,
  });
  return { state, kicks };
}

describe("connections that wait for a waypoint", () => {
  it("are kicked when they are silent at two looks, and not when they spoke between them", () => {
    const { state, kicks } = scene();
    state.begun = 2n;
    state.waiting = [1n, 2n];
    expect(kicks.look()).toBeLessThan(50);
    expect(state.kicked).toEqual([]);
    state.waiting = [2n];
    kicks.look();
    expect(state.kicked).toEqual([2n]);
  });

  it("are not walked while nothing has begun and nothing waits", () => {
    const { state, kicks } = scene();
    for (let look = 0; look < 5; look++) kicks.look();
    expect(state.walks).toBe(0);
    state.begun = 1n;
    for (let look = 0; look < 5; look++) kicks.look();
    expect(state.walks).toBe(1);
  });

  it("that nothing wakes are kicked a few times, and then looked at rarely", () => {
    const { state, kicks } = scene();
    state.begun = 1n;
    state.waiting = [1n];
    const pauses = Array.from({ length: 10 }, () => kicks.look());
    expect(state.kicked).toHaveLength(3);
    expect(pauses.at(-1)).toBe(50);
  });

  it("are looked after also when nothing is behind a waypoint any more", () => {
    const { state, kicks } = scene();
    state.begun = 1n;
    state.waiting = [1n];
    kicks.look();
    state.isUsed = false;
    kicks.look();
    expect(state.kicked).toEqual([1n]);
    state.waiting = [];
    kicks.look();
    expect(kicks.look()).toBe(500);
  });
});
