// Owns the proof that endpoints of a host name alone are reached at what a real DNS server says, and goes on saying.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { parse, stringify } from "yaml";
import type { StatusResponse } from "../../daemon/admin/answers.js";
import type { RunningProcess } from "../../lab/process.js";
import { until } from "../../lab/wait.js";
import { createWorld, isShared, targetPort, type World, webPort, worldYaml } from "./world.js";

const NAME = "db.weft.test";
const VIP = { ipv4: "10.96.1.40", ipv6: "fd96::1:40" };
/** Of loopback, and of this process: nobody else serves there. */
const SERVER = `127.77.${(process.pid >> 8) & 255}.${(process.pid & 127) + 1}`;

let world: World;
let directory: string;
let server: RunningProcess;

/** dnsmasq that knows the name, and says of all else that it does not exist. A time to live of 1 s. */
function serve(...addresses: string[]): void {
  const hosts = join(directory, "hosts");
  writeFileSync(hosts, addresses.map((address) => `${address} ${NAME}\n`).join(""));
  server = world.lab.spawnDaemon(
    [
      ...["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--user=root", "--pid-file="],
      ...["--no-resolv", "--no-hosts", `--addn-hosts=${hosts}`, "--local=/weft.test/", "--local-ttl=1"],
      ...["--bind-interfaces", `--listen-address=${SERVER}`],
    ],
    { logFile: join(directory, "dnsmasq.log") },
  );
}

async function ask(host: string, count = 1) {
  return await world.peers.client.call("askMany", { host, port: webPort, count });
}

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "weft-names-"));
  const file = join(directory, "resolv.conf");
  writeFileSync(file, `nameserver ${SERVER}\n`);
  const own = 'mount --bind "$0" /etc/resolv.conf && exec "$@"';
  world = await createWorld({}, { through: ["unshare", "--mount", "sh", "-c", own, file] });
  serve("10.77.0.21", "fd77::21");
  const mesh = parse(worldYaml()) as { workloads: object[]; services: object[] };
  mesh.workloads.push({ name: "db", namespace: "shop", uid: "one/ServiceEntry/db", hostname: NAME });
  mesh.services.push({
    name: "db",
    namespace: "shop",
    vips: [VIP.ipv4, VIP.ipv6],
    ports: { [webPort]: targetPort },
    endpoints: ["db"],
  });
  world.mesh.edit(stringify(mesh));
});
afterAll(() => {
  world?.remove();
  rmSync(directory, { recursive: true, force: true });
});

test("an endpoint of a host name alone is reached at what DNS says, in both families", async () => {
  for (const host of Object.values(VIP)) {
    await until("the name is resolved", async () => "web-a" in (await ask(host)).replies);
    expect((await ask(host, 5)).errors).toEqual({});
  }
});

test("what DNS said before holds while it fails, and status says so; then what it says now", async () => {
  await server.stop();
  await until("a question without an answer", async () => {
    const { warnings } = (await world.mesh.admin("/status")) as StatusResponse;
    return warnings.some((warning) => warning.startsWith(`DNS does not answer for ${NAME} (`));
  });
  expect(await ask(VIP.ipv4, 5)).toMatchObject({ replies: { "web-a": 5 }, errors: {} });
  serve("10.77.0.22", "10.77.0.23");
  await until("another answer", async () => !("web-a" in (await ask(VIP.ipv4)).replies));
  const tally = await ask(VIP.ipv4, 100);
  expect(tally.errors).toEqual({});
  expect(isShared(tally.replies, { "web-b": 1, "web-c": 1 }), JSON.stringify(tally.replies)).toBe(true);
  expect((await world.mesh.admin("/status")) as StatusResponse).toMatchObject({ warnings: [] });
});
