import { expect, it } from "vitest";
import { RecentGains } from "./recent-gains.js";

function counter() {
  let now = 0;
  const gains = new RecentGains(600, () => now);
  return (at: number, total: number) => {
    now = at;
    return gains.gain("lost", total);
  };
}

it("counts nothing that was there before the first look", () => {
  const gain = counter();
  expect([gain(0, 5000), gain(10, 5000), gain(700, 5000)]).toEqual([0, 0, 0]);
});

it("forgets a gain when the window has passed over it", () => {
  const gain = counter();
  expect([gain(0, 1), gain(100, 4), gain(200, 4), gain(699, 4)]).toEqual([0, 3, 3, 3]);
  expect([gain(700, 4), gain(710, 4)]).toEqual([0, 0]);
  expect(gain(720, 6)).toBe(2);
});

it("adds up several gains, and keeps counters apart", () => {
  let now = 0;
  const gains = new RecentGains(600, () => now);
  const seen: number[] = [];
  for (const total of [0, 1, 2, 3, 4, 5, 6, 7, 8]) {
    seen.push(gains.gain("a", total));
    expect(gains.gain("b", 7)).toBe(0);
    now += 100;
  }
  expect(seen).toEqual([0, 1, 2, 3, 4, 5, 6, 6, 6]);
});
