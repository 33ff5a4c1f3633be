// Owns the proof of what endpoints of a host name alone are, through the store that keeps them.

import { expect, it } from "vitest";
import { createStore } from "./store.js";
import { pod, type SampleFields } from "./test-samples.js";

const db = (name: string, fields: SampleFields = {}) =>
  pod(name, { hostname: "db.example.org", serves: { "default/db": "80" }, ...fields });
const answer = (...addresses: string[]) => ({ answers: new Map([["db.example.org", addresses]]) });

it("are endpoints with what the name stands for, also those that come later", () => {
  const store = createStore();
  store.apply({ workloads: [db("a")] });
  expect([...store.wantedNames()]).toEqual(["db.example.org"]);
  const delta = store.apply(answer("10.0.0.1", "fd00::1"));
  expect([...delta.answered]).toEqual(["default/db"]);
  expect(delta.workloads).toEqual([]);
  store.apply({ workloads: [db("b"), db("a", { capacity: 7 })] });
  expect(
    store.endpoints("default/db").map(({ name, addresses, capacity }) => [name, addresses, capacity]),
  ).toEqual([
    ["a", ["10.0.0.1", "fd00::1"], 7],
    ["b", ["10.0.0.1", "fd00::1"], 1],
  ]);
  expect([...store.apply(answer("10.0.0.1", "fd00::1")).answered]).toEqual([]);
});

it("claim no address, whatever DNS says, and are found at it all the same", () => {
  const store = createStore();
  store.apply({ workloads: [db("a"), pod("victim", { addresses: ["10.0.0.1"] })] });
  store.apply(answer("10.0.0.1", "10.0.0.2"));
  expect(store.claimants("10.0.0.1").map(({ name }) => name)).toEqual(["victim"]);
  expect(store.claimants("10.0.0.2")).toEqual([]);
  expect(store.workloadsAt("10.0.0.2").map(({ name }) => name)).toEqual(["a"]);
  expect(store.workloads.get(db("a").uid)?.addresses).toEqual([]);
  store.apply(answer("10.0.0.3"));
  expect(store.workloadsAt("10.0.0.2")).toEqual([]);
});

it("want their name while one is an endpoint, and forget what it stood for after", () => {
  const store = createStore();
  store.apply({ workloads: [db("a"), db("b")] });
  store.apply(answer("10.0.0.1"));
  store.apply({ removedAddresses: [db("a").uid] });
  expect([...store.wantedNames()]).toEqual(["db.example.org"]);
  store.apply({ workloads: [db("b", { serves: {} })] });
  expect([...store.wantedNames()]).toEqual([]);
  expect(store.workloadsAt("10.0.0.1")).toEqual([]);
  store.apply(answer("10.0.0.1"));
  store.apply({ workloads: [db("b")] });
  expect(store.endpoints("default/db").map(({ addresses }) => addresses)).toEqual([[]]);
  store.apply({ workloads: [db("b", { addresses: ["10.0.0.9"] })] });
  expect([...store.wantedNames()]).toEqual([]);
  expect(store.claimants("10.0.0.9").map(({ name }) => name)).toEqual(["b"]);
});

it("go by another name when they are told to", () => {
  const store = createStore();
  store.apply({ workloads: [db("a")] });
  store.apply(answer("10.0.0.1"));
  store.apply({ workloads: [db("a", { hostname: "other.example.org" })] });
  expect([...store.wantedNames()]).toEqual(["other.example.org"]);
  expect(store.endpoints("default/db").map(({ addresses }) => addresses)).toEqual([[]]);
});
