// Owns the proof that a change which comes in two responses lets nobody through between them.

import { afterEach, expect, test } from "vitest";
import { ADDRESS_TYPE, AUTHORIZATION_TYPE } from "../../daemon/xds/resource.js";
import { createLab, type Lab } from "../../lab/lab.js";
import { meshWithPlane } from "../../lab/mesh.js";
import { type Peer, startPeer } from "../../lab/peer.js";
import { sleep, until } from "../../lab/wait.js";
import { Action, Scope } from "../../proto/gen/authorization.js";
import { startScriptedPlane } from "../helpers/scripted-plane.js";
import { ipv4, policy, response, workload } from "../helpers/wire.js";

/** Of each kind. */
const CHANGES = 1000;
const address = "10.77.0.21";
const port = 8080;

let lab: Lab | undefined;
afterEach(() => lab?.remove());

let version = 0;

function pod(name: string, host: number, authorizationPolicies: string[] = []): Uint8Array {
  return workload(`Kubernetes//Pod/default/${name}`, String(++version), {
    addresses: [ipv4(10, 77, 0, host)],
    serviceAccount: name,
    authorizationPolicies,
  });
}
const server = (...names: string[]) => response(ADDRESS_TYPE, [pod("server", 21, names)]);
const denial = (name: string, scope: Scope) =>
  policy(name, { action: Action.DENY, scope, rules: [{ clauses: [] }] }, String(++version));
const policies = (resources: Uint8Array[], removed: string[] = []) =>
  response(AUTHORIZATION_TYPE, resources, removed);

test(`${CHANGES} changes of each kind, each in two responses, admit no stranger`, {
  timeout: 300_000,
}, async () => {
  lab = await createLab();
  const plane = await startScriptedPlane();
  try {
    await lab.pod("default/client", { ipv4: "10.77.0.11" });
    await lab.pod("default/server", { ipv4: address });
    const [client, serving] = (await Promise.all(
      [...lab.pods.values()].map((one) => startPeer(lab as Lab, one)),
    )) as [Peer, Peer];
    await serving.call("serveTcp", { host: "::", port, name: "server" });
    const mesh = await meshWithPlane(lab, plane.port);
    mesh.launchDaemon();
    const ask = async () => (await client.call("ask", { host: address, port })).ok;
    await plane.send(response(ADDRESS_TYPE, [pod("client", 11), pod("server", 21)]));
    await plane.send(policies([]));
    await until("an answer", ask);
    await plane.send(policies([denial("stop", Scope.WORKLOAD_SELECTOR)]));
    await plane.send(server("default/stop"));
    expect(await ask()).toBe(false);

    let ends = false;
    const replies: Record<string, number>[] = [];
    let refused = 0;
    const asking = (async () => {
      while (!ends) {
        const tally = await client.call("askFor", { host: address, port, ms: 500 });
        if (Object.keys(tally.replies).length > 0) replies.push(tally.replies);
        refused += Object.values(tally.errors).reduce((sum, count) => sum + count, 0);
      }
    })();
    const kinds = [
      // From a selector to the whole namespace, and back.
      [server(), () => policies([denial("stop", Scope.NAMESPACE)])],
      [policies([denial("stop", Scope.WORKLOAD_SELECTOR)]), () => server("default/stop")],
      // From one policy to another, and back.
      [policies([denial("halt", Scope.WORKLOAD_SELECTOR)], ["default/stop"]), () => server("default/halt")],
      [server("default/stop"), () => policies([denial("stop", Scope.WORKLOAD_SELECTOR)], ["default/halt"])],
    ] as const;
    for (let change = 0; change < CHANGES; change++) {
      for (const [first, second] of kinds) {
        // The next response may be there before the answer, just after it, or some milliseconds later.
        const sent = plane.send({ ...first, nonce: `a${++version}` });
        if (change % 3 > 0) await sent;
        if (change % 3 > 1) await sleep(change % 20);
        // A node that is short of processor stretches half a millisecond a lot.
        if (change % 250 === 248) await sleep(400);
        await plane.send({ ...second(), nonce: `b${++version}` });
        expect((await sent).errorDetail).toBeUndefined();
      }
    }
    ends = true;
    await asking;
    expect(replies).toEqual([]);
    expect(refused).toBeGreaterThan(CHANGES);
    expect(await mesh.admin("/debug/config_dump/diff")).toEqual({ differences: [] });

    await plane.send(server());
    await plane.send(policies([], ["default/stop"]));
    await until("the end of the denial", ask);
  } finally {
    plane.close();
  }
});
