// Owns the proof that weeks of pods and restarts, in the kernel's own maps, neither rename a series, nor make it fall, nor
// fill a map. WEFT_LIVES: how often weftd is ended and started, default 5; `make test-weeks` does it 50 times, with 5,000
// pods. With maps in memory and a clock of its own: daemon/operator/churn.spec.ts.

import { afterAll, expect, test } from "vitest";
import { stringify } from "yaml";
import { createLab, type Lab, type Pod } from "../../lab/lab.js";
import { type LabMesh, startMesh } from "../../lab/mesh.js";
import { removeNetns } from "../../lab/netns.js";
import { type Peer, startPeer } from "../../lab/peer.js";
import { Hopeless, until } from "../../lab/wait.js";

const LIVES = Number(process.env.WEFT_LIVES ?? 5);
/** Of each life: workloads without sockets beside the two pods that talk. */
const OTHERS = 98;
/** Lives of one revision: within them, pods that come and go are one series. */
const LIVES_A_REVISION = 3;
const RETENTION_MS = 30_000;
/** So many lives until what is held is what it stays at: those whose series have not ended. */
const SETTLED = 20;
/** "what is your name?\n", and the name with a line end, as the peers write them. */
const QUESTION_BYTES = 19;
const REPLY_BYTES = 2;
const PORTS = { open: 8080, denied: 9090 } as const;
const VIP = "10.96.9.1";

let lab: Lab | undefined;
afterAll(() => lab?.remove());

interface StatusPod {
  readonly state: "enrolled" | "pending" | "failed";
  readonly workload: string | null;
}

interface Life {
  readonly number: number;
  readonly pods: readonly Pod[];
  readonly peers: readonly [client: Peer, server: Peer];
}

const nameOf = (app: string, life: number) => `${app}-${life}`;
const revisionOf = (life: number) => `v${Math.floor(life / LIVES_A_REVISION)}`;
/** Addresses come back every other life, and other pods have them. */
const addressOf = (app: "client" | "server", life: number) =>
  `10.77.${1 + (life % 2)}.${app === "client" ? 11 : 21}`;

/** What the control plane holds in a life: the pods of the one before have gone, to the last one. */
function meshOf(life: number): string {
  const workload = (app: string, name: string, address: string) => ({
    ...{ name, namespace: "shop", serviceAccount: app, addresses: [address], workloadName: app },
    ...{ canonicalName: app, canonicalRevision: revisionOf(life) },
  });
  const talking = (["client", "server"] as const).map((app) =>
    workload(app, nameOf(app, life), addressOf(app, life)),
  );
  const others = Array.from({ length: OTHERS }, (_, index) =>
    workload(`app-${index % 7}`, nameOf(`other-${index}`, life), `10.88.${life % 250}.${index + 1}`),
  );
  return stringify({
    workloads: [...talking, ...others],
    services: [
      {
        ...{ name: "server", namespace: "shop", vips: [VIP], ports: { 80: PORTS.open } },
        endpoints: [nameOf("server", life)],
      },
    ],
    policies: [
      {
        ...{ name: `closed-${life}`, namespace: "shop", action: "DENY" },
        rules: [{ destinationPorts: [PORTS.denied] }],
      },
    ],
  });
}

async function makePods(at: Lab, number: number): Promise<Life> {
  const make = (app: "client" | "server") =>
    at.pod(`shop/${nameOf(app, number)}`, { ipv4: addressOf(app, number) });
  const pods = [await make("client"), await make("server")] as const;
  const [client, server] = await Promise.all(pods.map((pod) => startPeer(at, pod)));
  if (client === undefined || server === undefined) throw new Error("no peers");
  for (const port of Object.values(PORTS))
    await server.call("serveTcp", { host: "0.0.0.0", port, name: "s" });
  return { number, pods, peers: [client, server] };
}

/** Their processes first, as a node does: a namespace lives as long as somebody is in it. */
function removePods(at: Lab, { pods, peers }: Life): void {
  for (const { pid } of peers) process.kill(pid, "SIGKILL");
  removeNetns(pods.map(({ netns }) => netns));
  for (const { name } of pods) at.pods.delete(name);
}

/** Connections, by what became of them. */
interface Talk {
  readonly answered: number;
  readonly denied: number;
}

async function talk({ peers: [client], number }: Life): Promise<Talk> {
  const count = 10 + (number % 5);
  const answered = await client.call("askMany", { host: VIP, port: 80, count });
  expect(answered.errors).toEqual({});
  const closed = { host: addressOf("server", number), port: PORTS.denied, count: 3 };
  const denied = await client.call("askMany", closed);
  expect(denied).toMatchObject({ replies: {}, errors: { ECONNREFUSED: 3 } });
  return { answered: count, denied: 3 };
}

/** Every series of counters of connections and denials. */
async function pageOf(mesh: LabMesh): Promise<Map<string, number>> {
  const lines = (await mesh.metricsText()).matchAll(/^((?:kmesh_tcp|weft_policy)_\w+\{.*\}) (\d+)$/gm);
  return new Map([...lines].map(([, series = "", value]) => [series, Number(value)]));
}

async function fillOf(mesh: LabMesh): Promise<Map<string, { entries: number; capacity: number }>> {
  const { maps } = (await mesh.admin("/status")) as {
    maps: { name: string; entries: number; capacity: number }[];
  };
  return new Map(maps.map((map) => [map.name, map]));
}

test(`${LIVES * (OTHERS + 2)} pods come and go through ${LIVES} restarts, and every counter stays true`, {
  timeout: 60_000 + LIVES * 30_000,
}, async () => {
  lab = await createLab();
  const flags = ["--metrics-retention", `${RETENTION_MS}ms`, "--workload-metrics"];
  let life = await makePods(lab, 0);
  const mesh = await startMesh(lab, { yaml: meshOf(0), accessLog: false, flags });
  const ledger = new Ledger(mesh);
  const most = { early: new Map<string, number>(), late: new Map<string, number>() };
  for (let number = 0; number < LIVES; number++) {
    if (number > 0) life = await nextLife(lab, mesh, life);
    ledger.happened(revisionOf(number), await talk(life));
    await ledger.balance();
    await mesh.endDaemon(number % 2 === 0 ? "SIGKILL" : "SIGTERM");
    await mesh.startDaemon();
    ledger.see(await pageOf(mesh), "unchanged");
    const seen = number < SETTLED ? most.early : most.late;
    for (const [name, { entries, capacity }] of await fillOf(mesh)) {
      if (capacity > 1)
        expect([number, name, entries, entries / capacity < 0.5]).toEqual([number, name, entries, true]);
      seen.set(name, Math.max(seen.get(name) ?? 0, entries));
    }
  }
  const grown = [...most.late].filter(([name, entries]) => entries > 1.2 * (most.early.get(name) ?? 0) + 8);
  expect(grown).toEqual([]);
});

/** The pods of the next life, governed and named; those of the last one go. */
async function nextLife(at: Lab, mesh: LabMesh, last: Life): Promise<Life> {
  const next = await makePods(at, last.number + 1);
  mesh.edit(meshOf(next.number));
  for (const { name, path } of next.pods) {
    const { code, stderr } = await mesh.weftctl("enroll", `${name}=${path}`);
    expect([code, stderr]).toEqual([0, ""]);
  }
  removePods(at, last);
  await until("the new pods, named and in the kernel", async () => {
    const { pods } = (await mesh.admin("/status")) as { pods: StatusPod[] };
    // Those that weftd was started with are waited for, should they come back.
    const governed = pods.filter(({ state }) => state === "enrolled");
    const named = next.pods.filter(({ name }) =>
      governed.some((pod) => pod.workload?.endsWith(`/${name}`) === true),
    );
    return named.length === 2 && governed.length === 2 && (await mesh.isReady());
  });
  return next;
}

/** Families, and what each must come to for connections of which both ends are here. */
const EXPECTED: readonly (readonly [family: string, flags: string, of: (talk: Talk) => number])[] = [
  ["kmesh_tcp_connections_opened_total", "", ({ answered }) => 2 * answered],
  ["kmesh_tcp_connections_closed_total", "", ({ answered }) => 2 * answered],
  ["kmesh_tcp_received_bytes_total", "", ({ answered }) => 2 * answered * QUESTION_BYTES],
  ["kmesh_tcp_sent_bytes_total", "", ({ answered }) => 2 * answered * REPLY_BYTES],
  ["kmesh_tcp_connections_failed_total", 'response_flags="DENY"', ({ denied }) => denied],
  ["kmesh_tcp_connections_failed_total", 'response_flags="CONNECT"', ({ denied }) => denied],
];

/** What happened, and what of it was shown: a page may say nothing else. */
class Ledger {
  /** Series: its last value, and when that was new. */
  readonly #seen = new Map<string, { value: number; changed: number }>();
  /** Revision: what its pods did, and when they last did. */
  readonly #happened = new Map<string, Talk & { at: number }>();

  constructor(readonly mesh: LabMesh) {}

  happened(revision: string, { answered, denied }: Talk): void {
    const sum = this.#happened.get(revision) ?? { answered: 0, denied: 0 };
    const now = { answered: sum.answered + answered, denied: sum.denied + denied, at: performance.now() };
    this.#happened.set(revision, now);
  }

  /** Waits until the page says what happened, of every revision that it has to show still. */
  async balance(): Promise<void> {
    await until("a page that says what happened", async () => {
      const page = await pageOf(this.mesh);
      this.see(page, "grown");
      const lately = [...this.#happened].filter(([, { at }]) => isFresh(at));
      const rows = (value: (revision: string, talk: Talk, row: (typeof EXPECTED)[number]) => number) =>
        lately.map(([revision, talk]) => [revision, ...EXPECTED.map((row) => value(revision, talk, row))]);
      expect(rows((revision, _, [family, flags]) => sumOf(page, family, revision, flags))).toEqual(
        rows((_, talk, [, , of]) => of(talk)),
      );
      return lately.length > 0;
    });
  }

  /** Throws where a series has fallen or is missed; where nothing has happened, where one is not what it was. */
  see(page: ReadonlyMap<string, number>, may: "grown" | "unchanged"): void {
    for (const [series, value] of page) {
      const was = this.#seen.get(series)?.value;
      if (value < (was ?? 0) || (may === "unchanged" && value !== was))
        throw new Hopeless(`${series} was ${was} and is ${value}`);
      if (value !== was) this.#seen.set(series, { value, changed: performance.now() });
    }
    for (const [series, { value, changed }] of this.#seen) {
      if (page.has(series)) continue;
      if (isFresh(changed)) throw new Hopeless(`${series} was ${value} and is gone`);
      this.#seen.delete(series);
    }
  }
}

/** Whether what happened then has to be shown still. */
function isFresh(at: number): boolean {
  return performance.now() - at < 0.8 * RETENTION_MS;
}

function sumOf(page: ReadonlyMap<string, number>, family: string, revision: string, flags: string): number {
  let sum = 0;
  for (const [series, value] of page)
    if (series.startsWith(`${family}{`) && series.includes(`source_canonical_revision="${revision}"`))
      sum += series.includes(flags) ? value : 0;
  return sum;
}
