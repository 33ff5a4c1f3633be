// Owns what is done to weftd, its control plane, its disk and its pods in a chaos run. Must not know what it shows.

import { closeSync, openSync, readdirSync, rmSync, statSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { parse, stringify } from "yaml";
import { removeNetns } from "../../lab/netns.js";
import { check } from "../../lab/process.js";
import { sleep, until } from "../../lab/wait.js";
import { endpoints, type Knobs, moreServices, type World, worldYaml } from "../netns/world.js";

/** Denies pod `other`, whatever else is said. */
const always = {
  name: "deny-other",
  action: "DENY",
  rules: [{ principals: ["cluster.local/ns/shop/sa/other"] }],
};

export interface Surroundings {
  readonly world: World;
  /** Of weftd, whenever it starts; a disturbance may change it for one start. */
  readonly flags: string[];
  /** A tmpfs of some megabytes, --state-dir. */
  readonly state: string;
  /** A file that says by how many milliseconds weftd's clock is wrong. */
  readonly clock: string;
  /** A whole number below `limit`, by the seed. */
  readonly random: (limit: number) => number;
  /** The command of a weftd of which another compiler built the objects. */
  readonly other: readonly string[];
}

export type Disturbance = (surroundings: Surroundings) => Promise<void>;

/** The mesh of a moment: other weights, other policies, more services. The stranger is denied in all of them. */
export function meshOf({ random }: Pick<Surroundings, "random">, services = 0): string {
  const unhealthy = random(3) === 0 ? [endpoints[random(endpoints.length)] ?? "web-a"] : [];
  const weights = Object.fromEntries(endpoints.map((name) => [name, 1 + random(4)])) as Knobs["weights"];
  const more = Array.from({ length: random(20) }, (_, index) => ({
    name: `nobody-${index}-${random(1000)}`,
    action: "DENY",
    rules: [{ principals: [`cluster.local/ns/shop/sa/nobody-${index}`] }],
  }));
  return withServices(
    worldYaml({ weights: weights ?? {}, unhealthy, policies: [always, ...more] }),
    services,
  );
}

function withServices(yaml: string, count: number): string {
  const mesh = parse(yaml) as { services: object[] };
  return stringify({ ...mesh, services: [...mesh.services, ...moreServices(count)] });
}

async function restart(world: World, signal: "SIGKILL" | "SIGTERM", pause: number): Promise<void> {
  await world.mesh.endDaemon(signal);
  await sleep(pause);
  await world.mesh.startDaemon();
}

export const disturbances: Readonly<Record<string, Disturbance>> = {
  "kill -9": ({ world, random }) => restart(world, "SIGKILL", random(500)),
  SIGTERM: ({ world, random }) => restart(world, "SIGTERM", random(500)),

  async takeover({ world, flags }) {
    const former = world.mesh.daemon;
    flags.push("--takeover");
    world.mesh.launchDaemon();
    flags.pop();
    await former.exited;
    await ready(world);
  },

  async "other build"({ world, other }) {
    await world.mesh.endDaemon("SIGTERM");
    world.mesh.launchDaemon(other);
    await ready(world);
  },

  async "endpoints and policies"(surroundings) {
    surroundings.world.mesh.edit(meshOf(surroundings));
    await sleep(100 + surroundings.random(400));
  },

  async growth(surroundings) {
    surroundings.world.mesh.edit(meshOf(surroundings, 1_000 + surroundings.random(4_000)));
    await sleep(500 + surroundings.random(1_000));
    surroundings.world.mesh.edit(meshOf(surroundings));
    await sleep(200);
  },

  async "control plane away"({ world, state, random }) {
    await world.mesh.stopXds();
    await sleep(random(2_000));
    // Without a snapshot, after a full disk, a daemon is not ready before it knows more.
    if (random(2) === 0 && isKept(state)) await restart(world, "SIGKILL", 0);
    await world.mesh.startXds();
    await connected(world);
  },

  async "disk full"(surroundings) {
    const { world, state, random } = surroundings;
    const filler = join(state, "filler");
    const fd = openSync(filler, "w");
    try {
      for (;;) writeSync(fd, Buffer.alloc(65_536));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error;
    }
    closeSync(fd);
    world.mesh.edit(meshOf(surroundings));
    await sleep(300);
    if (random(2) === 0) await restart(world, "SIGTERM", 0);
    rmSync(filler);
  },

  async SIGSTOP({ world, random }) {
    world.mesh.daemon.kill("SIGSTOP");
    // Ten seconds once a run; what is shorter leaves time for more.
    await sleep(stopped++ === 0 ? 10_000 : 500 + random(1_500));
    world.mesh.daemon.kill("SIGCONT");
    await ready(world);
  },

  /** Of weftd alone: the machine's clock is everybody's. */
  async "clock jump"({ clock, random }) {
    const days = random(2) === 0 ? random(400) : -random(400);
    writeFileSync(clock, String(days * 86_400_000));
    await sleep(300 + random(700));
  },

  /** Nothing more can be mapped: Node ends itself at the next large thing, or goes on with what it has. */
  async "memory limit"(surroundings) {
    const { world, random } = surroundings;
    const { daemon } = world.mesh;
    await check(["prlimit", "--pid", String(daemon.pid), `--as=${1 << 20}`]);
    const mesh = meshOf(surroundings);
    world.mesh.edit(mesh);
    await sleep(random(300));
    // Of a growth that fails the new services are what is missing: all that there was goes on.
    world.mesh.edit(withServices(mesh, 1_000 + random(4_000)));
    await Promise.race([daemon.exited, sleep(1_000 + random(1_000))]);
    if (daemon.running) await world.mesh.endDaemon("SIGKILL");
    world.mesh.edit(meshOf(surroundings));
    await world.mesh.startDaemon();
  },

  /** Not those of links: with its last reference a link lets go of its hook. */
  async "pins removed by hand"({ world, random }) {
    const weft = join(world.lab.bpffs, "weft");
    const names = readdirSync(weft).filter((name) => name !== "links");
    const mended = () => world.mesh.log("weftd").split("somebody removed").length;
    const before = mended();
    for (const name of names)
      if (random(3) > 0 || name === "state") rmSync(join(weft, name), { recursive: true });
    await until("what was removed put back", () => mended() > before, { timeoutMs: 60_000 });
    await ready(world);
  },

  async "a pod gone during a swap"({ world, random }) {
    const name = `shop/guest-${gone++}`;
    const pod = await world.lab.pod(name, { ipv4: `10.77.1.${gone % 250}`, enrolled: false });
    await world.mesh.weftctl("enroll", `${name}=${pod.path}`);
    await world.mesh.endDaemon("SIGKILL");
    world.mesh.launchDaemon();
    await sleep(random(600));
    removeNetns([pod.netns]);
    await ready(world);
    await world.mesh.weftctl("unenroll", name);
  },
};

let gone = 0;
let stopped = 0;

/** More than its header stands in the snapshot. */
function isKept(state: string): boolean {
  const snapshot = statSync(join(state, "snapshot"), { throwIfNoEntry: false });
  return snapshot !== undefined && snapshot.size > 1_000;
}

async function ready({ mesh }: World): Promise<void> {
  await until("weftd ready", () => mesh.isReady(), { timeoutMs: 60_000 });
}

async function connected({ mesh }: World): Promise<void> {
  const isConnected = async () => (await mesh.metric("weft_xds_connected")) === 1;
  await until("the control plane connected", isConnected, { timeoutMs: 60_000 });
}
