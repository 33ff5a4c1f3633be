// Owns the proof that connections through real sockets meet the verdict of the reference, whatever policies and peers
// come from the control plane. WEFT_SEED repeats a run; the seed stands in the name of the test.

import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import {
  allPods,
  enrol,
  podNamespace,
  policies as somePolicies,
} from "../../daemon/compile/authz/test-arbitraries.js";
import { ROOT, TestMesh } from "../../daemon/compile/authz/test-mesh.js";
import { HOLD_MS } from "../../daemon/enforce/reconciler.js";
import { toAddressBytes } from "../../daemon/model/address.js";
import type { Match, Policy } from "../../daemon/model/policy.js";
import { policyKey } from "../../daemon/model/policy.js";
import type { Workload } from "../../daemon/model/workload.js";
import { ADDRESS_TYPE, AUTHORIZATION_TYPE } from "../../daemon/xds/resource.js";
import { createLab, type Lab } from "../../lab/lab.js";
import { type LabMesh, meshWithPlane } from "../../lab/mesh.js";
import { type Peer, startPeer } from "../../lab/peer.js";
import { sleep, slowness } from "../../lab/wait.js";
import { Action, Authorization, Scope } from "../../proto/gen/authorization.js";
import type { DeltaDiscoveryResponse } from "../../proto/gen/discovery.js";
import { type ScriptedPlane, startScriptedPlane } from "../helpers/scripted-plane.js";
import { resource, response, workload } from "../helpers/wire.js";

const seed = Number(process.env.WEFT_SEED ?? Date.now() & 0x7fffffff);
const MESHES = 25;
const PORTS = [80, 81];
/** Whom policies guard. Each also asks the other. */
const guarded = ["pod-2", "pod-3"];
/** Addresses as random meshes have them, but for the first, which is the node here; stranger is nobody's. */
const hosts = {
  "pod-2": ["10.0.0.2", "fd00::2"],
  "pod-3": ["10.0.0.3", "fd00::3"],
  "pod-4": ["10.0.0.4", "fd00::4"],
  stranger: ["10.0.0.200", "fd00::9"],
} as const;
type Host = keyof typeof hosts;
const all = Object.keys(hosts) as Host[];

/** The lab's address for one of a random mesh: what is one block there is one here. */
const inLab = (address: string) => address.replace(/^10\.0\./, "10.77.").replace(/^fd00:/, "fd77:");

let lab: Lab;
let plane: ScriptedPlane;
let mesh: LabMesh;
const peers = new Map<Host, Peer>();
let known: string[] = [];
let version = 0;

beforeAll(async () => {
  lab = await createLab();
  plane = await startScriptedPlane();
  for (const host of all) {
    const [ipv4, ipv6] = hosts[host];
    const pod = await lab.pod(`${podNamespace(host)}/${host}`, {
      ...{ ipv4: inLab(ipv4), ipv6: inLab(ipv6), enrolled: guarded.includes(host) },
    });
    const peer = await startPeer(lab, pod);
    peers.set(host, peer);
    if (!guarded.includes(host)) continue;
    for (const port of PORTS) await peer.call("serveTcp", { host: "::", port, name: host });
  }
  mesh = await meshWithPlane(lab, plane.port, { flags: ["--root-namespace", ROOT] });
  mesh.launchDaemon();
  await plane.subscribed();
}, 60_000 * slowness);
afterAll(() => {
  plane?.close();
  lab?.remove();
});

async function send(message: DeltaDiscoveryResponse): Promise<void> {
  const { errorDetail } = await plane.send({ ...message, nonce: `n${++version}` });
  expect(errorDetail).toBeUndefined();
}

/** Puts a mesh in force in place of the one before. */
async function push(workloads: readonly Workload[], policies: readonly Policy[]): Promise<void> {
  const names = policies.map(policyKey);
  const removed = known.filter((name) => !names.includes(name));
  known = names;
  await send(response(ADDRESS_TYPE, workloads.map(workloadOnWire)));
  await send(response(AUTHORIZATION_TYPE, policies.map(policyOnWire), removed));
  // What ceases to apply may be held so long for the other half of a change.
  await sleep(HOLD_MS + 100 * slowness);
}

function workloadOnWire(pod: Workload): Uint8Array {
  const { uid, addresses, name, namespace, serviceAccount, trustDomain, authorizationPolicies } = pod;
  return workload(`Kubernetes//Pod/${podNamespace(uid)}/${uid}`, String(++version), {
    ...{ name, namespace, serviceAccount, trustDomain },
    authorizationPolicies: [...authorizationPolicies],
    addresses: addresses.map((address) => toAddressBytes(inLab(address))),
  });
}

function policyOnWire(policy: Policy): Uint8Array {
  const rules = policy.rules.map(({ clauses }) => ({
    clauses: clauses.map((matches) => ({ matches: matches.map(matchOnWire) })),
  }));
  const { name, namespace, dryRun } = policy;
  const message = Authorization.fromPartial({
    ...{ name, namespace, dryRun, rules },
    scope: Scope[policy.scope],
    action: Action[policy.action],
  });
  return resource(
    policyKey(policy),
    String(++version),
    AUTHORIZATION_TYPE,
    Authorization.encode(message).finish(),
  );
}

/** Each field has the name that it has on the wire. */
function matchOnWire(match: Match): object {
  const fields = Object.entries(match).map(([field, values]) => [
    field,
    values.map((value) => {
      if (typeof value === "number") return value;
      if ("prefixLength" in value)
        return { address: toAddressBytes(inLab(value.address)), length: value.prefixLength };
      if (!("kind" in value)) return value;
      return { matchType: { $case: value.kind, value: value.kind === "presence" ? {} : value.value } };
    }),
  ]);
  return Object.fromEntries(fields);
}

/** Everybody's questions to one host, as `source destination port` with what the answer was. */
async function answers(to: string, ports: readonly number[]): Promise<Record<string, boolean>> {
  const asked = [...peers].flatMap(([from, peer]) =>
    from === to
      ? []
      : [0, 1].map(async (family) => {
          const found: [string, boolean][] = [];
          for (const port of ports) {
            const host = inLab(hosts[to as Host][family] ?? "");
            const answer = await peer.call("ask", { host, port });
            if (!answer.ok) expect(answer.code).toBe("ECONNREFUSED");
            found.push([`${hosts[from][family]} ${hosts[to as Host][family]} ${port}`, answer.ok]);
          }
          return found;
        }),
  );
  return Object.fromEntries((await Promise.all(asked)).flat());
}

function expected(model: TestMesh, to: string, asked: readonly string[]): Record<string, boolean> {
  return Object.fromEntries(
    asked.map((question) => {
      const [source = "", destination = "", port] = question.split(" ");
      return [question, model.reference(to, { source, destination, port: Number(port) }).allowed];
    }),
  );
}

test(`connections to ${MESHES} random meshes meet the reference's verdict (seed ${seed})`, {
  timeout: 240_000 * slowness,
}, async () => {
  let [admitted, refused] = [0, 0];
  const property = fc.asyncProperty(somePolicies, allPods, async (policies, pods) => {
    // A pod is enrolled under one name, whatever its workload is like else.
    const workloads = pods.map((pod) =>
      guarded.includes(pod.uid) ? pod.with({ namespace: podNamespace(pod.uid) }) : pod,
    );
    const model = new TestMesh();
    enrol(model, ...guarded);
    model.update({ workloads, policies, policiesSynced: true });
    await push(workloads, policies);
    for (const to of guarded) {
      const actual = await answers(to, PORTS);
      expect(actual).toEqual(expected(model, to, Object.keys(actual)));
      for (const isAllowed of Object.values(actual)) isAllowed ? admitted++ : refused++;
    }
  });
  await fc.assert(property, {
    seed,
    numRuns: MESHES,
    interruptAfterTimeLimit: 120_000 * slowness,
    markInterruptAsFailure: true,
  });
  expect(admitted).toBeGreaterThan(0);
  expect(refused).toBeGreaterThan(0);
});
