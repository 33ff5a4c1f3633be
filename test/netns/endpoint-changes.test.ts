// Owns the proof that endpoints change under connecting clients without one of them noticing.

import { afterEach, expect, test } from "vitest";
import { ADDRESS_TYPE, AUTHORIZATION_TYPE } from "../../daemon/xds/resource.js";
import { createLab, type Lab } from "../../lab/lab.js";
import { meshWithPlane } from "../../lab/mesh.js";
import { type Peer, startPeer } from "../../lab/peer.js";
import { slowness, until } from "../../lab/wait.js";
import { startScriptedPlane } from "../helpers/scripted-plane.js";
import { ipv4, response, service, workload } from "../helpers/wire.js";

const CHANGES = 300;
const servers = ["one", "two", "three"] as const;
type Server = (typeof servers)[number];
const vip = "10.96.0.10";
const port = 80;
const targetPort = 8080;
const hostOf = (server: Server) => 21 + servers.indexOf(server);

let lab: Lab | undefined;
afterEach(() => lab?.remove());

const echo = service("echo.shop.svc.cluster.local", "1", {
  name: "echo",
  addresses: [{ network: "", address: ipv4(10, 96, 0, 10) }],
  ports: [{ servicePort: port, targetPort }],
});

/** A server, and whether it is an endpoint of the service. */
function endpoint(server: Server, version: number, serves: boolean): Uint8Array {
  const served = new Map([
    ["default/echo.shop.svc.cluster.local", { ports: [{ servicePort: port, targetPort }] }],
  ]);
  return workload(`Kubernetes//Pod/shop/${server}`, String(version), {
    name: server,
    namespace: "shop",
    addresses: [ipv4(10, 77, 0, hostOf(server))],
    services: serves ? served : new Map(),
  });
}

test(`${CHANGES} changes of endpoints under connecting clients`, {
  timeout: 240_000 * slowness,
}, async () => {
  lab = await createLab();
  const plane = await startScriptedPlane();
  try {
    await lab.pod("shop/client", { ipv4: "10.77.0.11" });
    for (const server of servers) await lab.pod(`shop/${server}`, { ipv4: `10.77.0.${hostOf(server)}` });
    const [client, ...answering] = (await Promise.all(
      [...lab.pods.values()].map((pod) => startPeer(lab as Lab, pod)),
    )) as [Peer, ...Peer[]];
    for (const [index, peer] of answering.entries())
      await peer.call("serveTcp", { host: "::", port: targetPort, name: servers[index] ?? "" });
    const mesh = await meshWithPlane(lab, plane.port);
    mesh.launchDaemon();
    await plane.send(response(ADDRESS_TYPE, [echo, ...servers.map((server) => endpoint(server, 0, true))]));
    await plane.send(response(AUTHORIZATION_TYPE, []));
    const ask = () => client.call("ask", { host: vip, port });
    await until("an answer", async () => (await ask()).ok);
    const held = await client.call("hold", { host: vip, port });
    const heldBy = await client.call("say", { id: held });
    expect(servers).toContain(heldBy);

    let ends = false;
    const tallies: { readonly replies: Record<string, number>; readonly errors: Record<string, number> }[] =
      [];
    const asking = (async () => {
      while (!ends) tallies.push(await client.call("askFor", { host: vip, port, ms: 500 }));
    })();
    for (let change = 1; change <= CHANGES; change++) {
      // One server leaves and another comes back: never the same set twice in a row, and never none.
      const leaves = servers[change % servers.length] as Server;
      const comes = servers[(change + 2) % servers.length] as Server;
      const resources = [endpoint(comes, change, true), endpoint(leaves, change, false)];
      const answer = await plane.send(response(ADDRESS_TYPE, resources));
      expect(answer.errorDetail).toBeUndefined();
    }
    ends = true;
    await asking;

    expect(tallies.map(({ errors }) => errors).filter((errors) => Object.keys(errors).length > 0)).toEqual(
      [],
    );
    const count = tallies.reduce(
      (sum, { replies }) => sum + Object.values(replies).reduce((a, b) => a + b, 0),
      0,
    );
    expect(count).toBeGreaterThan(150);
    expect(await client.call("say", { id: held })).toBe(heldBy);
    expect(await mesh.admin("/debug/config_dump/diff")).toEqual({ differences: [] });

    // An acknowledged change holds for the very next connection.
    const last = servers[CHANGES % servers.length];
    const seen = await client.call("askFor", { host: vip, port, ms: 500 });
    expect(seen.errors).toEqual({});
    expect(Object.keys(seen.replies)).not.toContain(last);
  } finally {
    plane.close();
  }
});
