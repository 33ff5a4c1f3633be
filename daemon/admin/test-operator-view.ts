// Owns a small daemon's worth of answers for specs of the admin port and of weftctl.
// Must not be imported by anything else.

import { failed, ok, podNetnsMissing, podUnknown, policyUnclear } from "../base/errors.js";
import { createLogs } from "../base/log.js";
import {
  type Codec,
  FRONTEND_SHIFT,
  type MapDescription,
  type MapName,
  maps,
  Reason,
  TableFlag,
  TargetFlag,
} from "../bpf/maps.gen.js";
import type { NodeEvent } from "../events/event.js";
import { toKeyBytes } from "../model/address.js";
import type { Policy } from "../model/policy.js";
import { pod, service } from "../model/test-samples.js";
import type { TailOptions } from "../telemetry/access-log.js";
import type { ExplainedPolicy, PodResponse, StatusFacts, VersionResponse } from "./answers.js";
import type { TrialRequest } from "./api.js";
import type { ExpectedEntry, OperatorView, RawMap } from "./operator-view.js";
import { explanation, trial } from "./test-authz.js";
import { route } from "./test-route.js";

export const version: VersionResponse = {
  version: "0.1.0",
  commit: "abc123",
  node: "v20",
  kernel: "6.18",
  libbpf: "1.1",
  layout: "feed",
};

export const webPod: PodResponse = {
  namespace: "default",
  name: "web",
  netns: "/run/netns/web",
  cookie: "4097",
  state: "enrolled",
  reason: null,
  workload: "Kubernetes//Pod/default/web",
};

export const facts: StatusFacts = {
  version,
  node: "node-a",
  pid: 4711,
  started: "2024-09-14T08:00:00.000Z",
  components: [
    { name: "xds", ready: true, detail: "connected" },
    { name: "programs", ready: true, detail: "generation 1 governs" },
  ],
  xds: {
    address: "127.0.0.1:15010",
    transport: "plaintext",
    serverName: null,
    rootExpires: null,
    state: "connected",
    since: "2024-09-14T08:00:01.000Z",
    lastMessage: "2024-09-14T08:00:02.000Z",
    lastContact: "2024-09-14T08:00:03.000Z",
    snapshot: { path: "/var/lib/weft/snapshot", bytes: 4096, error: null, governs: false },
    lastError: null,
    messages: 3,
    bytes: 4096,
    streams: 1,
    faults: {},
    types: [{ type: "Address", resources: 3, synced: true, responses: 2, nacks: 0 }],
  },
  hooks: [
    { hook: "connect4", program: "weft_connect4", programId: 12, target: "/sys/fs/cgroup/x", attached: true },
  ],
  resources: { workloads: 1, services: 1, policies: 1 },
  maps: [{ name: "slots", entries: 3, capacity: 32768 }],
  pods: [webPod],
  outliers: {
    enabled: true,
    aside: [
      {
        workload: "Kubernetes//Pod/default/web",
        endpoint: "10.0.0.1:8080",
        cause: "unanswered",
        failures: 5,
        pods: 2,
        times: 1,
        until: "2024-09-14T08:10:00.000Z",
      },
    ],
  },
  accessLog: { enabled: false, file: null, written: 0, dropped: 0, dropReason: null },
  workloadMetrics: false,
  connectionMetrics: false,
  exportFailures: [],
  eventsDropped: 0,
  recent: { minutes: 10, eventsDropped: 0, linesDropped: 0, nacks: { Address: 0 } },
  disabled: false,
  authzEnforced: true,
  closesBy: "bpf_sock_destroy",
  warnings: [],
};

const policy: Policy = {
  name: "no-web",
  namespace: "default",
  scope: "NAMESPACE",
  action: "DENY",
  rules: [{ clauses: [] }],
  dryRun: true,
};

/** One entry by the codecs, as the daemon would believe it. */
export function entry<M extends MapName>(
  map: M,
  key: Parameters<(typeof maps)[M]["key"]["encode"]>[0],
  value: Parameters<(typeof maps)[M]["value"]["encode"]>[0],
): ExpectedEntry {
  const description: MapDescription = maps[map];
  return { key: (description.key as Codec<unknown>).encode(key), value: description.value.encode(value) };
}

/** Entries as the kernel hands them over. */
function raw(entries: readonly ExpectedEntry[], capacity = 16384): RawMap {
  return {
    capacity,
    entries: {
      count: entries.length,
      keys: Buffer.concat(entries.map(({ key }) => key)),
      values: Buffer.concat(entries.map(({ value }) => value)),
    },
  };
}

const NO_TERMS = { chunks: 0n, first: 0 };
/** Terms 0 and 65, one chunk. */
const TERMS = { chunks: 1n, first: 3 };

const NOTHING = { number: 0, tag: 0 };

/** Target 4 at a virtual address. */
export const frontend = entry(
  "addresses",
  { address: toKeyBytes("10.96.0.1") },
  {
    workload: NOTHING,
    identity: NOTHING,
    frontend: { number: 4 << FRONTEND_SHIFT, tag: 0 },
    waypoint: NOTHING,
  },
);

export const target = entry("targets", 4, {
  service: 9,
  firstSlot: 2,
  slots: 1,
  run: 0,
  flags: TargetFlag.PASSTHROUGH,
  reason: Reason.NO_PORT,
  port: 0,
  ports: 1,
  waypoint: 0,
});

/** What lies in the fake kernel; specs change it. */
export interface TestView extends OperatorView {
  readonly kernel: Map<MapName, readonly ExpectedEntry[]>;
  readonly believed: Map<MapName, readonly ExpectedEntry[]>;
  /** Keys that wait for their grace period. */
  readonly leaving: Map<MapName, readonly Uint8Array[]>;
  facts: StatusFacts;
  /** Hands a line to every reader of the live access log. */
  emit(line: string): void;
  /** Hands an event to everybody who follows. */
  happen(event: NodeEvent): void;
  readonly followers: ReadonlySet<(event: NodeEvent) => void>;
  readonly tails: readonly TailOptions[];
  /** What was asked of tryAuthz(). */
  readonly tried: readonly TrialRequest[];
}

/** What changed on the small node. */
export const happened: readonly NodeEvent[] = [
  {
    at: "2024-09-14T08:00:01.000Z",
    type: "control-plane",
    subject: "127.0.0.1:15010",
    what: "connected",
    text: "the control plane 127.0.0.1:15010 is there",
  },
  {
    at: "2024-09-14T09:00:00.000Z",
    type: "policy",
    subject: "default/no-web",
    what: "added",
    text: "policy default/no-web was added: DENY for namespace default, 1 rule",
  },
];

const word = (number: number) => ({ number, tag: 0 });

export function testView(): TestView {
  const parsed = { default: "info", subsystems: new Map() } as const;
  const logs = createLogs({
    levels: parsed,
    format: "json",
    output: { write: () => undefined, written: 0, dropped: 0, close: async () => undefined },
  });
  const podEntry = {
    guard: word(2),
    workload: word(1),
    service: word(9),
    namespace: word(5),
    flags: word(0),
  };
  const backend = { workload: 1, address: toKeyBytes("10.0.0.1"), port: 8080 };
  const kernel = new Map<MapName, readonly ExpectedEntry[]>([
    ["addresses", [frontend]],
    ["targets", [target]],
    ["slots", [entry("slots", 2, { primary: backend, alias: backend, threshold: 0xffffffff })]],
    [
      "authz_tables",
      [
        entry("authz_tables", 2, {
          denyChunks: 1n,
          dryRunChunks: 0n,
          allowChunks: 0n,
          identity: NO_TERMS,
          address: TERMS,
          port: NO_TERMS,
          destination: NO_TERMS,
          flags: TableFlag.BY_IDENTITY,
        }),
      ],
    ],
    ["authz_identity", [entry("authz_identity", { table: 2, identity: 3 }, TERMS)]],
    ["authz_chunks", [entry("authz_chunks", 3, { words: [1n, 2n, 0n, 0n] })]],
    ["pods", [entry("pods", 2n ** 60n, podEntry)]],
    [
      "pod_info",
      [entry("pod_info", 4097n, { name: padded("default/web", 320), netns: padded("/run/netns/web", 256) })],
    ],
  ]);
  const believed = new Map<MapName, readonly ExpectedEntry[]>(
    [...kernel].filter(([name]) => name !== "pods" && name !== "pod_info"),
  );
  const leaving = new Map<MapName, readonly Uint8Array[]>();
  const tails = new Map<(line: string) => void, TailOptions>();
  const followers = new Set<(event: NodeEvent) => void>();
  let enabled = false;
  const details = { workloadMetrics: false, connectionMetrics: false };
  let enforced = true;
  const tried: TrialRequest[] = [];
  let pods = [webPod];
  return {
    kernel,
    believed,
    leaving,
    facts,
    emit: (line) => {
      for (const onLine of tails.keys()) onLine(line);
    },
    happen: (event) => {
      for (const onEvent of followers) onEvent(event);
    },
    followers,
    get tails() {
      return [...tails.values()];
    },
    names: {
      workload: (id) => (id === 1 ? pod("web") : undefined),
      service: (id) => (id === 9 ? service("web") : undefined),
      policy: (id) => (id === 5 ? policy : undefined),
      identity: (number) => (number === 3 ? "cluster.local/ns/default/sa/default" : undefined),
      party: (number) => (number === 1 ? "default/web v1" : undefined),
      table: (number) => (number === 2 ? "default/no-web" : undefined),
    },
    version: () => version,
    components() {
      return this.facts.components;
    },
    status() {
      return { ...this.facts, pods };
    },
    workloads: () => [
      pod("web", {
        addresses: ["10.0.0.1"],
        serves: { "default/web": "80:8080" },
        waypoint: {
          destination: { kind: "hostname", namespace: "default", hostname: "wp" },
          hbonePort: 15008,
        },
      }),
    ],
    services: () => [service("web", { vips: ["10.96.0.1", "10.97.0.0/16"], listens: "80:8080" })],
    policies: () => [policy],
    endpoints: (key) => (key === "default/web" ? [pod("web", { serves: { "default/web": "80:8080" } })] : []),
    readMap: (name) => (name === "sibling_flows" ? undefined : raw(kernel.get(name) ?? [])),
    leavingKeys: (name) => leaving.get(name) ?? [],
    betweenUpdates: (work) => Promise.resolve(work()),
    expectedMap: (name) =>
      name === "traffic" || name.startsWith("pod") ? undefined : (believed.get(name) ?? []),
    loggers: () => logs.levels(),
    setLogLevel: (name, level) => logs.setLevel(name, level),
    accessLog: () => ({ ...facts.accessLog, enabled }),
    setAccessLog(now) {
      enabled = now;
      return ok(undefined);
    },
    tailAccessLog(options, onLine) {
      tails.set(onLine, options);
      return () => tails.delete(onLine);
    },
    monitoring: () => ({ accessLog: enabled, ...details }),
    connectionMetrics: () => ({ enabled: details.connectionMetrics, shown: 2, omitted: 1 }),
    setDetail(detail, now) {
      details[detail] = now;
    },
    events: ({ since, types }) =>
      happened.filter(({ at, type }) => Date.parse(at) >= since && (types === undefined || types.has(type))),
    followEvents(choice, onEvent) {
      for (const each of this.events(choice)) onEvent(each);
      followers.add(onEvent);
      return () => followers.delete(onEvent);
    },
    authz: () => ({ enforced }),
    setAuthz(now) {
      enforced = now;
    },
    authzOf(namespace, name) {
      if (`${namespace}/${name}` !== "default/web") return failed(podUnknown(`${namespace}/${name}`));
      return ok({ pod: "default/web", known: true, policies: [explanation.policies[0] as ExplainedPolicy] });
    },
    explainAuthz: ({ to }) =>
      to.startsWith("default/web:") ? ok(explanation) : failed(podUnknown(to.slice(0, to.lastIndexOf(":")))),
    async explainRoute({ from }) {
      return from === "shop/cart" ? ok(route) : failed(podUnknown(from));
    },
    async tryAuthz(asked) {
      tried.push(asked);
      const [missing] = asked.removed;
      return missing === undefined ? ok(trial) : failed(policyUnclear(`there is no policy ${missing}`));
    },
    tried,
    pods: () => pods,
    ungoverned: () => ({
      governed: 1,
      pods: [{ pod: "default/lost", workload: null, why: "pending: no namespace at /run/netns/lost" }],
    }),
    async enroll(request) {
      if (!request.netns.startsWith("/run/netns/")) {
        return failed(podNetnsMissing(`${request.namespace}/${request.name}`, request.netns));
      }
      const enrolled: PodResponse = {
        ...request,
        cookie: "4098",
        state: "enrolled",
        reason: null,
        workload: null,
      };
      pods = [...pods, enrolled];
      return ok(enrolled);
    },
    async unenroll(namespace, name) {
      const rest = pods.filter((each) => each.namespace !== namespace || each.name !== name);
      if (rest.length === pods.length) return failed(podUnknown(`${namespace}/${name}`));
      pods = rest;
      return ok(undefined);
    },
  };
}

function padded(text: string, length: number): Uint8Array {
  const bytes = Buffer.alloc(length);
  bytes.write(text);
  return bytes;
}
