import { expect, it } from "vitest";
import { type MapDescription, maps } from "../bpf/maps.gen.js";
import { LISTED_MAPS } from "./api.js";
import { decodeEntries } from "./dump-maps.js";
import { testView } from "./test-operator-view.js";

it.each(LISTED_MAPS)("decodes any entry of %s", (name) => {
  const { key, value }: MapDescription = maps[name];
  const raw = {
    count: 1,
    keys: Buffer.alloc(key.size, 1),
    values: Buffer.alloc(Math.ceil(value.size / 8) * 8, 1),
  };
  const [entry, ...more] = [...decodeEntries(name, raw, testView().names)];
  expect(more).toEqual([]);
  expect(Object.keys(entry?.key ?? {}).length).toBeGreaterThan(0);
  expect(Object.keys(entry?.value ?? {}).length).toBeGreaterThan(0);
  expect(() => JSON.stringify(entry)).not.toThrow();
});

it("tells programs from other numbers, and cookies from indexes", () => {
  const raw = (keySize: number) => ({
    count: 1,
    keys: Buffer.alloc(keySize),
    values: Buffer.from([7, 0, 0, 0]),
  });
  const { names } = testView();
  expect([...decodeEntries("guards", raw(4), names)]).toEqual([{ key: { index: 0 }, value: { program: 7 } }]);
  expect([...decodeEntries("connected_pods", raw(8), names)]).toEqual([
    { key: { cookie: 0 }, value: { value: 7 } },
  ]);
});
