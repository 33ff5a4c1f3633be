// Owns the bench of routing: whether connect(2) knows how many endpoints there are, and what a connection costs.
// Must not know how weft does it.
//
// One mesh holds services of 10, 1,000 and 100,000 endpoints; all endpoints are addresses of one pod, so that every
// pick is a connection. In turns, as in the datapath bench:
//   connect-N           connect(2), handshake included, to a service of N endpoints against one of 10
//   connect-peers       the same without weft, to 100,000 addresses against 10: what the kernel itself makes of them
//   connect-ns-N        of that the connect hook's part, net of an empty program
//   connect-weft        a service of 10 against dialling its endpoints without weft
//   cpu-per-connection  both ends of connect, request, close, with weft (and an ALLOW policy) against without; once
//                       with few sockets in TIME_WAIT, and once with more than 100,000 of them, in both clients alike

import { join } from "node:path";
import { createLab, type Lab, type Pod } from "../../lab/lab.js";
import { type LabMesh, meshWithPlane } from "../../lab/mesh.js";
import { netnsPath, sysctl } from "../../lab/netns.js";
import { check } from "../../lab/process.js";
import { until } from "../../lab/wait.js";
import { startScriptedPlane } from "../helpers/scripted-plane.js";
import { bpfTime } from "./bpf-time.js";
import { type Measurement, report } from "./report.js";
import { ENDPOINT_BLOCK, FIRST_ENDPOINT, firstResponses, SIZES } from "./route-mesh.js";
import { alternate, LOAD_PORT, load, type Row, runLoad, type Side, type Sides } from "./turns.js";

export interface RouteOptions {
  /** Pairs of turns a row. */
  readonly alternations: number;
  /** Length of one turn. */
  readonly seconds: number;
}

/** Sockets in TIME_WAIT of the whole machine, which keeps them in one table; half of them at least in each client. */
const PILED = 100_000;
/** Rounds of making connections before the pile counts as out of reach: it melts after a minute. */
const PILE_ROUNDS = 40;
const [FEW, SOME, MANY] = SIZES;

/** Measures, prints, and writes out/bench/route.json. Returns true when every budget is kept. */
export async function route(options: RouteOptions): Promise<boolean> {
  const lab = await createLab();
  const plane = await startScriptedPlane();
  try {
    const sides = await build(lab);
    const mesh = await meshWithPlane(lab, plane.port, { accessLog: false });
    mesh.launchDaemon();
    for (const each of firstResponses(podsOf(sides.on), LOAD_PORT)) {
      const { errorDetail } = await plane.send(each);
      if (errorDetail !== undefined) throw new Error(`weftd refused the mesh: ${errorDetail.message}`);
    }
    await ready(mesh);
    const rows = [...(await connectRows(sides, options)), ...(await cpuRows(sides, options))];
    console.log();
    const kept = report("route", rows);
    await mesh.uninstall();
    return kept;
  } finally {
    plane.close();
    lab.remove();
  }
}

function podsOf({ client, server }: Side): { name: string; ipv4: string }[] {
  return [client, server].map(({ name, ipv4 = "" }) => ({ name: name.split("/")[1] ?? "", ipv4 }));
}

async function ready(mesh: LabMesh): Promise<void> {
  const url = `http://127.0.0.1:${mesh.ports.ready}/healthz/ready`;
  await until("weftd being ready", async () => (await fetch(url)).ok);
}

/** Two pairs of pods of one shape. A server has all addresses of the endpoints, its client the way there. */
async function build(lab: Lab): Promise<Sides> {
  const pair = async (arm: Side["arm"], octet: number): Promise<Side> => {
    const [own, peer] = [`10.77.0.${octet}`, `10.77.0.${octet + 1}`];
    const enrolled = arm === "mesh";
    const client = await lab.pod(`default/${arm}-client`, { ipv4: own, enrolled });
    const server = await lab.pod(`default/${arm}-server`, { ipv4: peer, enrolled });
    await ip(server, ["route", "add", "local", ENDPOINT_BLOCK, "dev", "lo"]);
    await ip(client, ["route", "add", ENDPOINT_BLOCK, "via", peer]);
    for (const pod of [client, server])
      await sysctl(pod.netns, {
        "net.ipv4.ip_local_port_range": "1024 65535",
        // What the kernel remembers of each peer is its own matter.
        "net.ipv4.tcp_no_metrics_save": 1,
        "net.ipv4.tcp_tw_reuse": 0,
        "net.ipv4.tcp_max_tw_buckets": 4096,
      });
    await lab.spawn(server, [load, "server", "--port", `${LOAD_PORT}`, "--seconds", "3600"], {
      arm,
      port: LOAD_PORT,
    });
    return { arm, client, server, address: enrolled ? FEW.vip : FIRST_ENDPOINT };
  };
  return { lab, on: await pair("mesh", 11), off: await pair("plain", 21) };
}

async function ip({ netns }: Pod, words: readonly string[]): Promise<void> {
  await check(["nsenter", `--net=${netnsPath(netns)}`, "--", "ip", ...words]);
}

// ---- connect(2) ----

/** One way to connect: from where, to which address, or to how many from that one on. */
interface Way {
  readonly side: Side;
  readonly spread?: number;
}

async function connectRows(sides: Sides, options: RouteOptions): Promise<Measurement[]> {
  const { on, off } = sides;
  const to = (vip: string): Way => ({ side: { ...on, address: vip } });
  const few = to(FEW.vip);
  const budget = { of: "ratio", atMost: 1.1 } as const;
  const plain: Way = { side: off, spread: FEW.endpoints };
  return [
    { ...(await compare("connect-1000", sides, options, to(SOME.vip), few)), budget },
    { ...(await compare("connect-100000", sides, options, to(MANY.vip), few)), budget },
    await compare("connect-peers", sides, options, { side: off, spread: MANY.endpoints }, plain),
    await compare("connect-weft", sides, options, few, plain),
    ...(await hookRows(sides, options)),
  ];
}

async function hookRows({ lab, on }: Sides, { alternations, seconds }: RouteOptions): Promise<Measurement[]> {
  const rows: Measurement[] = [];
  for (const { endpoints, vip } of SIZES) {
    const flags = ["--seconds", `${seconds}`, "--warmup", "0"];
    const turns = await bpfTime(join(lab.bpffs, "weft"), lab.cgroups.mesh, alternations, async () => {
      return (await runLoad(lab, { ...on, address: vip }, "connect", flags)).count;
    });
    const values = turns.map(({ connectNs }) => connectNs);
    rows.push({ name: `connect-ns-${endpoints}`, unit: "ns", values, references: null, budget: null });
  }
  return rows;
}

/** Medians of connect(2), of a way and of what it is held against, in turns. */
async function compare(
  name: string,
  { lab }: Sides,
  { alternations, seconds }: RouteOptions,
  way: Way,
  reference: Way,
): Promise<Measurement> {
  const taken = new Map<Way, number[]>([
    [way, []],
    [reference, []],
  ]);
  for (let i = 0; i < alternations; i++) {
    for (const each of i % 2 === 0 ? [way, reference] : [reference, way]) {
      const flags = ["--seconds", `${seconds}`, "--spread", `${each.spread ?? 1}`];
      const { latencyUs } = await runLoad(lab, each.side, "connect", flags);
      taken.get(each)?.push(latencyUs.p50);
    }
    process.stderr.write(`${name}: ${i + 1} of ${alternations}\r`);
  }
  const [values = [], references = []] = [taken.get(way), taken.get(reference)];
  return { name, unit: "us", values, references, budget: null };
}

// ---- CPU ----

async function cpuRows(sides: Sides, { alternations, seconds }: RouteOptions): Promise<Measurement[]> {
  const { lab, on, off } = sides;
  const piles: number[] = [];
  const make = async (side: Side) => {
    const flags = ["--workers", "16", "--seconds", `${seconds}`, "--warmup", "0"];
    // Through the virtual address they spread by themselves.
    const spread = ["--spread", side.arm === "plain" ? `${FEW.endpoints}` : "1"];
    const { rate, count } = await runLoad(lab, side, "crr", [...flags, ...spread]);
    return { rate, work: count };
  };
  const row = (suffix: string, once: Row["once"]): Row => ({
    name: `crr-16${suffix}`,
    unit: "1/s",
    atLeast: 0.97,
    once,
    cpu: { name: `cpu-per-connection${suffix}`, unit: "s", atMost: 1.06 },
  });
  const fresh = await alternate(row("", make), sides, alternations);
  for (const { client } of [on, off])
    await sysctl(client.netns, { "net.ipv4.tcp_max_tw_buckets": 4 * PILED });
  await pile(sides, make);
  const piled = await alternate(
    row("-timewait", async (side) => {
      piles.push((await timeWaiting(lab, on)) + (await timeWaiting(lab, off)));
      return make(side);
    }),
    sides,
    alternations,
  );
  const budget = { of: "value", atLeast: PILED } as const;
  return [...fresh, ...piled, { name: "timewait", unit: "1", values: piles, references: null, budget }];
}

/** Makes connections in either arm until enough of them wait. */
async function pile({ lab, on, off }: Sides, make: Row["once"]): Promise<void> {
  let least = 0;
  for (let round = 0; round < PILE_ROUNDS && least < PILED / 2; round++) {
    for (const side of [on, off]) await make(side);
    least = Math.min(await timeWaiting(lab, on), await timeWaiting(lab, off));
    process.stderr.write(`sockets in TIME_WAIT of each client: ${least} of ${PILED / 2}\r`);
  }
  if (least < PILED / 2)
    throw new Error(`${2 * least} sockets in TIME_WAIT: this machine makes too few connections in a minute`);
}

/** Sockets in TIME_WAIT of the client. */
async function timeWaiting(lab: Lab, { client, arm }: Side): Promise<number> {
  const { stdout } = await lab.exec(client, ["cat", "/proc/net/sockstat"], { arm });
  return Number(/^TCP:.* tw (\d+)/m.exec(stdout)?.[1] ?? Number.NaN);
}
