// Owns the proof that bytes are counted while their connection is open, and each of them once, over a restart too.

import { afterAll, beforeAll, test } from "vitest";
import { sleep, until } from "../../lab/wait.js";
import { createWorld, vip, type World, webPort } from "./world.js";

/** "what is your name?\n", and the name with a line end, as the peers write them. */
const QUESTION_BYTES = 19;
const REPLY_BYTES = 6;

/** One is of no service, so that nothing of it is remembered. */
const TO = [
  { host: vip.web.ipv4, port: webPort },
  { host: vip.web.ipv6, port: webPort },
  { host: "10.77.0.21", port: 8080 },
];

let world: World;
beforeAll(async () => {
  world = await createWorld({}, { accessLog: false });
});
afterAll(() => world?.remove());

async function counted(reporter: string): Promise<Readonly<Record<string, number>>> {
  const of = (name: string) =>
    world.mesh.metric(`kmesh_tcp_${name}_total`, { reporter, source_workload: "client" });
  const [opened, closed] = [await of("connections_opened"), await of("connections_closed")];
  return { opened, closed, received: await of("received_bytes"), sent: await of("sent_bytes") };
}

test("what an open connection says is counted soon, and its end adds only the rest", async () => {
  const { mesh, peers } = world;
  const open = await Promise.all(TO.map((to) => peers.client.call("hold", to)));
  let said = 0;
  const sayAll = async () => {
    for (const id of open) await peers.client.call("say", { id });
    said += open.length;
  };
  const expectSeen = async (closed: number) => {
    for (const reporter of ["source", "destination"]) {
      const seen = { opened: open.length, closed, received: said * QUESTION_BYTES, sent: said * REPLY_BYTES };
      await until(`${JSON.stringify(seen)} at the ${reporter}`, async () => {
        const now = await counted(reporter);
        return JSON.stringify(now) === JSON.stringify(seen);
      });
    }
  };
  await sayAll();
  await expectSeen(0);
  await mesh.endDaemon("SIGKILL");
  await sayAll();
  await mesh.startDaemon();
  await expectSeen(0);

  // Counts go on in the middle of it, and the ends come when some of it was counted.
  for (let round = 0; round < 50; round++) {
    await sayAll();
    await sleep(100);
  }
  await sayAll();
  for (const id of open) await peers.client.call("drop", { id });
  await expectSeen(open.length);
  // Nothing is added later.
  await sleep(5_000);
  await expectSeen(open.length);
});
