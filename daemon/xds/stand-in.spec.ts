// Owns the proof that a rejected policy is never as if it were absent.

import { beforeEach, describe, expect, it } from "vitest";
import { type Action, Authorization, type Scope } from "../../proto/gen/authorization.js";
import type { DeltaDiscoveryResponse } from "../../proto/gen/discovery.js";
import { opened, policy, resource, response } from "../../test/helpers/wire.js";
import { policyKey } from "../model/policy.js";
import { createStore, type Store } from "../model/store.js";
import { DeltaStream } from "./delta-stream.js";
import { ADDRESS_TYPE, AUTHORIZATION_TYPE as AUTHORIZATION } from "./resource.js";

let stream: DeltaStream;
let store: Store;

beforeEach(() => {
  stream = new DeltaStream({
    address: "10.244.1.2",
    name: "weftd-1",
    namespace: "istio-system",
    serviceAccount: "weft",
    nodeName: "node-1",
    clusterId: "Kubernetes",
    network: "",
    meshId: "",
    version: "0.1.0",
  });
  store = createStore();
  stream.opened();
});

/** Applies a response; gives the text of the NACK, `undefined` for an ACK. */
function deliver(message: DeltaDiscoveryResponse): string | undefined {
  const pending = stream.begin(opened(message));
  if (pending === undefined) throw new Error("unknown type");
  while (pending.decode(2));
  store.apply(pending.update());
  return stream.settle(pending)?.errorDetail?.message;
}

const push = (resources: Uint8Array[], removed: string[] = []) =>
  deliver(response(AUTHORIZATION, resources, removed));
const torn = (name: string) => resource(name, "", AUTHORIZATION, Uint8Array.of(0x0a, 0x7f));
const UNKNOWN_SCOPE = 7 as Scope;
const open = { rules: [{ clauses: [] }] };
const badPort = { rules: [{ clauses: [{ matches: [{ destinationPorts: [70_000] }] }] }] };

const denyAll = { action: "DENY", rules: [{ clauses: [] }], dryRun: false };
const allowNothing = { action: "ALLOW", rules: [], dryRun: false };

describe("a rejected policy without a good version", () => {
  it.each([
    ["a port above 65535", policy("p", { scope: 2, ...badPort }), "WORKLOAD_SELECTOR", allowNothing],
    ["an unknown action", policy("p", { scope: 1, action: 5 as Action, ...open }), "NAMESPACE", denyAll],
    ["an unknown scope", policy("p", { scope: UNKNOWN_SCOPE }), "NAMESPACE", allowNothing],
    ["bytes that are no protobuf", torn("default/p"), "NAMESPACE", denyAll],
    [
      "content of another type",
      resource("default/p", "", ADDRESS_TYPE, new Uint8Array()),
      "NAMESPACE",
      denyAll,
    ],
    [
      "another name inside",
      resource("default/p", "", AUTHORIZATION, policyContent("q")),
      "GLOBAL",
      allowNothing,
    ],
  ])("%s: is refused by name, and the nearest narrower one is in force", (_, bytes, scope, rest) => {
    expect(push([bytes, policy("good")])).toMatch(/^default\/p: /);
    expect(store.policies.get("default/p")).toEqual({ name: "p", namespace: "default", scope, ...rest });
    expect(store.policies.get("default/good")).toMatchObject({ action: "ALLOW" });
    expect(stream.standIns()).toEqual(["default/p"]);
  });

  it("covers the whole mesh when it may be a policy of the root namespace", () => {
    push([torn("istio-system/p")]);
    expect(store.policies.get("istio-system/p")).toMatchObject({ scope: "GLOBAL", ...denyAll });
  });

  it("never denies when it was to be dry", () => {
    push([policy("p", { dryRun: true, ...badPort })]);
    expect(store.policies.get("default/p")).toMatchObject({ ...allowNothing, dryRun: true });
  });

  it("is refused without one when its name is none of a policy", () => {
    expect(push([torn("nowhere")])).toMatch(/^nowhere: /);
    expect(store.policies.size).toBe(0);
  });

  it("is refused again when it comes again, and repaired by a good version", () => {
    push([policy("p", badPort)]);
    expect(push([policy("p", badPort)])).toMatch(/^default\/p: /);
    expect(push([policy("p")])).toBeUndefined();
    expect(store.policies.get("default/p")).toMatchObject({ action: "ALLOW", rules: [] });
    expect(stream.standIns()).toEqual([]);
  });

  it("follows a later version that is bad in another way", () => {
    push([policy("p", { scope: 2, ...badPort })]);
    push([policy("p", { scope: 1, ...badPort })]);
    expect(store.policies.get("default/p")).toMatchObject({ scope: "NAMESPACE", ...allowNothing });
  });

  it("goes with its removal, also while the stream was away", () => {
    push([policy("p", badPort), policy("q", badPort)]);
    push([], ["default/p"]);
    expect([...store.policies.keys()]).toEqual(["default/q"]);
    stream.lost();
    const [, request] = stream.opened();
    expect([...(request?.initialResourceVersions ?? [])]).toEqual([["default/q", ""]]);
    push([], ["default/q"]);
    expect(store.policies.size).toBe(0);
    expect(stream.standIns()).toEqual([]);
  });
});

describe("a rejected policy with a good version", () => {
  it("leaves that version in force", () => {
    push([policy("p", { dryRun: true })]);
    const good = store.policies.get("default/p");
    expect(push([policy("p", badPort)])).toMatch(/^default\/p: /);
    expect(push([torn("default/p")])).toMatch(/^default\/p: /);
    expect(store.policies.get("default/p")).toBe(good);
    expect(stream.standIns()).toEqual([]);
  });

  it("leaves it in force also when both come in one response, whichever is first", () => {
    push([policy("p", { dryRun: true }), policy("p", badPort)]);
    push([policy("q", badPort), policy("q", { dryRun: true })]);
    for (const held of store.policies.values())
      expect(held, policyKey(held)).toMatchObject({ action: "ALLOW" });
    expect(stream.standIns()).toEqual([]);
  });
});

/** The encoded content of policy `default/<name>`, GLOBAL. */
function policyContent(name: string): Uint8Array {
  return Authorization.encode(Authorization.fromPartial({ name, namespace: "default" })).finish();
}
