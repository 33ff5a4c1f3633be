// Owns the proof of what is compiled of endpoints that have a host name and no address.

import { describe, expect, it } from "vitest";
import type { MapName } from "../bpf/maps.gen.js";
import { pod, service } from "../model/test-samples.js";
import { singly } from "./operation.js";
import { createMesh, type TestMesh } from "./test-mesh.js";

describe("endpoints of a host name", () => {
  const named = pod("db", { hostname: "db.example.org", capacity: 3, serves: { "default/db": "80:5432" } });
  const fixed = pod("other", { addresses: ["10.0.0.9"], serves: { "default/db": "80:5432" } });
  const db = service("db", { vips: ["10.96.0.1"] });
  const answers = (...addresses: string[]) => ({ answers: new Map([["db.example.org", addresses]]) });
  const said = (mesh: TestMesh) => mesh.frontends()["10.96.0.1/128:80"];

  it("share its weight among all addresses that it stands for, and rewrite this service alone", () => {
    const mesh = createMesh();
    const others = { services: [db, service("web", { vips: ["10.96.0.2"] })], workloads: [named, fixed] };
    mesh.push(others);
    expect(said(mesh)).toBe("db 10.0.0.9:5432 1.00");
    const { operations, backendLost } = mesh.push(answers("10.0.0.1", "10.0.0.2", "10.0.0.3", "fd00::1"));
    expect(said(mesh)).toBe("db 10.0.0.1:5432 0.25,10.0.0.2:5432 0.25,10.0.0.3:5432 0.25,10.0.0.9:5432 0.25");
    expect(backendLost).toBe(false);
    const written = [...singly(operations)].map(({ map }) => map).filter((map) => map !== "rewrites");
    expect(written).toEqual([...new Array<MapName>(4).fill("slots"), "targets", "targets", "addresses"]);
    expect(mesh.push(answers("10.0.0.1")).backendLost).toBe(true);
    expect(said(mesh)).toBe("db 10.0.0.1:5432 0.75,10.0.0.9:5432 0.25");
    expect(mesh.view().addresses).not.toHaveProperty("10.0.0.1");
  });

  it("come to the same whether the answer, the service or the endpoint comes first", () => {
    const parts = [{ services: [db] }, { workloads: [named] }, answers("10.0.0.1")];
    const views = [
      [0, 1, 2],
      [1, 0, 2],
      [1, 2, 0],
    ].map((order) => {
      const mesh = createMesh();
      for (const part of order) mesh.push(parts[part] ?? {});
      return said(mesh);
    });
    expect(new Set(views)).toEqual(new Set(["db 10.0.0.1:5432 1.00"]));
  });

  it("lead on where the name stands for another service's address, as soon as that is one", () => {
    const mesh = createMesh();
    mesh.push({ services: [db], workloads: [named] });
    mesh.push(answers("10.96.0.9"));
    const back = pod("back", { addresses: ["10.0.0.5"], serves: { "default/back": "5432" } });
    mesh.push({ services: [service("back", { vips: ["10.96.0.9"], listens: "5432" })], workloads: [back] });
    // A pod is where it is: only what is none leads on.
    expect(said(mesh)).toBe("db 10.96.0.9:5432 1.00");
    mesh.push({
      workloads: [named.with({ uid: "Kubernetes/ServiceEntry/db" })],
      removedAddresses: [named.uid],
    });
    mesh.push(answers("10.96.0.9"));
    expect(said(mesh)).toBe("db 10.0.0.5:5432 1.00");
  });
});
