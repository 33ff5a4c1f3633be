// Owns the names that operators of Kmesh and of Istio's ambient mode know: that each of them is there, in a weftd that
// runs and in weftctl. What weft has decided otherwise stands in docs/decisions.md.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { runWeftctl } from "../../cmd/weftctl/test-terminal.js";
import { packageRoot } from "../../daemon/base/package-root.js";
import { defaultText } from "../../daemon/config/schema.js";
import { type Family, parseExposition } from "../../daemon/telemetry/test-exposition.js";
import { program } from "../../lab/mesh.js";
import { run } from "../../lab/process.js";
import { until } from "../../lab/wait.js";
import { createWorld, targetPort, vip, type World, webPort } from "./world.js";

const deny = {
  name: "deny-other",
  action: "DENY",
  rules: [{ principals: ["cluster.local/ns/shop/sa/other"] }],
};
const flags = ["--legacy-metric-names"];

let world: World;
beforeAll(async () => {
  world = await createWorld({ policies: [deny] }, { accessLog: false, flags });
});
afterAll(() => world?.remove());

interface Answered {
  readonly status: number;
  readonly allow: string | null;
  readonly body: Record<string, unknown>;
}

async function ask(path: string, init: RequestInit = {}): Promise<Answered> {
  const response = await fetch(world.mesh.adminUrl + path, init);
  const body = (await response.json()) as Record<string, unknown>;
  return { status: response.status, allow: response.headers.get("allow"), body };
}
const turn = (path: string, enable: string) => ask(`${path}?enable=${enable}`, { method: "POST" });
const keysOf = (items: unknown) => [...new Set((items as object[]).flatMap((item) => Object.keys(item)))];

const SWITCHES = ["/accesslog", "/workload_metrics", "/connection_metrics", "/monitoring", "/authz"];

describe("the admin port", () => {
  test("is on loopback, beside the ports of metrics and readiness", () => {
    expect(defaultText("adminAddress")).toBe("127.0.0.1:15200");
    expect(defaultText("metricsAddress")).toBe("[::]:15020");
    expect(defaultText("readyAddress")).toBe("[::]:15021");
  });

  test("says which build runs", async () => {
    const { body } = await ask("/version");
    expect(Object.keys(body)).toEqual(
      expect.arrayContaining(["version", "commit", "node", "kernel", "libbpf", "layout"]),
    );
  });

  test.each(["workload", "dual-engine"])("dumps the configuration under %s", async (name) => {
    const { body } = await ask(`/debug/config_dump/${name}`);
    expect(keysOf(body.workloads)).toEqual(
      expect.arrayContaining([
        ...[
          "uid",
          "addresses",
          "waypoint",
          "protocol",
          "name",
          "namespace",
          "serviceAccount",
          "workloadName",
        ],
        ...[
          "workloadType",
          "canonicalName",
          "canonicalRevision",
          "clusterId",
          "trustDomain",
          "locality",
          "node",
        ],
        ...["network", "status", "services", "authorizationPolicies"],
      ]),
    );
    expect(keysOf(body.services)).toEqual(
      expect.arrayContaining(["name", "namespace", "hostname", "vips", "ports", "loadBalancer", "waypoint"]),
    );
    expect(keysOf(body.policies)).toEqual(
      expect.arrayContaining(["name", "namespace", "scope", "action", "rules"]),
    );
    const [service] = body.services as Record<string, Record<string, unknown>>[];
    expect(Object.keys(service?.loadBalancer ?? {})).toEqual(
      expect.arrayContaining(["mode", "routingPreferences"]),
    );
    expect(Object.keys(service?.waypoint ?? {})).toEqual(["destination"]);
    expect((service?.vips as unknown as string[])[0]).toMatch(/^[^/]*\/[0-9a-f.:]+$/);
  });

  test.each(["workload", "dual-engine"])("dumps the kernel's maps under %s", async (name) => {
    const { body } = await ask(`/debug/config_dump/bpf/${name}?map=addresses`);
    expect(JSON.stringify(body)).toContain('"workloadName":"shop/web-a"');
  });

  test("compares what it believes with the kernel, and finds nothing", async () => {
    await until("no difference", async () => {
      const { differences } = (await ask("/debug/config_dump/diff")).body;
      return (differences as unknown[]).length === 0;
    });
  });

  test("dumps in ztunnel's layout", async () => {
    expect(Object.keys((await ask("/config_dump")).body)).toEqual(
      expect.arrayContaining(["workloads", "services", "policies"]),
    );
  });

  test("shows and changes levels of logs", async () => {
    const loggers = (body: Record<string, unknown>) => body.loggers as { name: string; level: string }[];
    expect(loggers((await ask("/debug/loggers")).body).length).toBeGreaterThan(3);
    const body = JSON.stringify({ name: "xds", level: "debug" });
    const headers = { "content-type": "application/json" };
    expect((await ask("/debug/loggers", { method: "POST", headers, body })).status).toBe(200);
    expect(loggers((await ask("/debug/loggers?name=xds")).body)).toEqual([{ name: "xds", level: "debug" }]);
  });

  test.each(["/debug/ready", "/healthz/ready"])("says at %s what is ready", async (path) => {
    const { body } = await ask(path);
    expect((body.components as { name: string }[]).map(({ name }) => name)).toEqual(
      expect.arrayContaining(["xds", "policies", "programs", "pods"]),
    );
    const { ready } = world.mesh.ports;
    expect((await fetch(`http://127.0.0.1:${ready}/healthz/ready`)).status).toBe(200);
  });

  test.each(SWITCHES)("turns %s, and says what is wrong with another value", async (path) => {
    const before = (await ask(path)).body;
    expect((await turn(path, "perhaps")).status).toBe(400);
    expect((await turn(path, "false")).status).toBe(200);
    const off = (await ask(path)).body;
    expect((await turn(path, "true")).status).toBe(200);
    const on = (await ask(path)).body;
    expect(JSON.stringify(off)).not.toContain("true");
    expect(JSON.stringify(on)).toContain("true");
    expect(Object.keys(off)).toEqual(Object.keys(before));
  });

  test("keeps switches over a restart", async () => {
    const states = () => Promise.all(SWITCHES.map(async (path) => switchesOf((await ask(path)).body)));
    for (const path of SWITCHES) await turn(path, "true");
    await turn("/authz", "false");
    const left = await states();
    await world.mesh.endDaemon("SIGTERM");
    await world.mesh.startDaemon();
    expect(await states()).toEqual(left);
    await turn("/authz", "true");
  });

  test("answers whatever is wrong in JSON", async () => {
    const wrong = [
      await ask("/nothing"),
      await ask("/version", { method: "POST" }),
      await ask("/debug/loggers", { method: "POST", body: "{" }),
    ];
    expect(wrong.map(({ status }) => status)).toEqual([404, 405, 400]);
    expect(wrong[1]?.allow).toContain("GET");
    for (const { body } of wrong) expect(Object.keys(body).sort()).toEqual(["error", "reason"]);
  });
});

/** What of an answer says yes or no. */
function switchesOf(body: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(body).filter(([, value]) => typeof value === "boolean"));
}

const end = (side: "source" | "destination") =>
  [
    ...["workload", "canonical_service", "canonical_revision", "workload_namespace", "principal"],
    ...["app", "version", "cluster"],
  ].map((name) => `${side}_${name}`);
const SRC = ["reporter", ...end("source")];
const DST = [...end("destination"), "request_protocol", "response_flags", "connection_security_policy"];
const POD = ["address", "namespace", "name"].map((name) => `destination_pod_${name}`);
const SVC = ["destination_service", "destination_service_namespace", "destination_service_name"];
const COUNTS = [
  "connections_opened",
  "connections_closed",
  "received_bytes",
  "sent_bytes",
  "connections_failed",
];
const PER_CONNECTION = ["sent_bytes", "received_bytes", "packet_lost", "retrans"];

const FAMILIES: readonly (readonly [names: readonly string[], labels: readonly string[]])[] = [
  [COUNTS.map((name) => `kmesh_tcp_${name}_total`), [...SRC, ...SVC, ...DST]],
  [["kmesh_tcp_conntections_failed_total"], [...SRC, ...SVC, ...DST]],
  [COUNTS.map((name) => `kmesh_tcp_workload_${name}_total`), [...SRC, ...POD, ...DST]],
  [["kmesh_tcp_workload_conntections_failed_total"], [...SRC, ...POD, ...DST]],
  [
    ["kmesh_tcp_retrans_total", "kmesh_tcp_packet_loss_total"],
    [...SRC, ...POD, ...DST],
  ],
  [
    PER_CONNECTION.map((name) => `kmesh_tcp_connection_${name}_total`),
    [...SRC, ...POD, ...SVC, ...DST, "start_time", "source_address", "destination_address"],
  ],
  [COUNTS.map((name) => `istio_tcp_${name}_total`), [...SRC, ...SVC, ...DST]],
];

/** The daemon's own. */
const OWN = [
  ...["weft_bpf_map_entries", "weft_bpf_map_capacity", "weft_bpf_program_runs_total"],
  "weft_bpf_program_skipped_runs_total",
  ...["weft_bpf_program_run_seconds_total", "weft_ring_buffer_drops_total", "weft_xds_messages_total"],
  ...[
    "weft_xds_bytes_total",
    "weft_xds_responses_total",
    "weft_xds_connected",
    "weft_resources",
    "weft_pods",
  ],
  ...["weft_policy_denials_total", "weft_xds_response_to_kernel_seconds", "nodejs_version_info"],
  "process_cpu_seconds_total",
];

describe("the metrics", () => {
  let page: Map<string, Family>;
  const samples = (name: string) => page.get(name)?.samples.get(name) ?? [];

  beforeAll(async () => {
    const { client, other } = world.peers;
    await turn("/monitoring", "true");
    const id = await client.call("hold", { host: vip.web.ipv4, port: webPort });
    await client.call("say", { id });
    await client.call("askMany", { host: vip.web.ipv4, port: webPort, count: 4 });
    await client.call("askMany", { host: "10.77.0.21", port: 1, count: 1 });
    await client.call("askMany", { host: vip.empty, port: webPort, count: 1 });
    await other.call("askMany", { host: "10.77.0.21", port: targetPort, count: 1 });
    page = await until(
      "the connection that stays, and the denial",
      async () => {
        page = parseExposition(await world.mesh.metricsText());
        const isDenied = samples("kmesh_tcp_connections_failed_total").some(
          ({ labels }) => labels.response_flags === "DENY",
        );
        return isDenied && samples("kmesh_tcp_connection_sent_bytes_total").length > 0 && page;
      },
      { everyMs: 200 },
    );
  });

  const each = FAMILIES.flatMap(([names, labels]) => names.map((name) => ({ name, labels })));
  test.each(each)("$name", ({ name, labels }) => {
    expect(page.get(name)?.type).toBe("counter");
    expect(samples(name).length).toBeGreaterThan(0);
    for (const sample of samples(name)) {
      expect(Object.keys(sample.labels).sort()).toEqual([...labels].sort());
      // Nothing is encrypted.
      expect(sample.labels.connection_security_policy).toBe("none");
    }
  });

  test("say in what a connection ended", () => {
    const flagsOf = samples("kmesh_tcp_connections_failed_total").map(({ labels }) => labels.response_flags);
    expect([...new Set(flagsOf)].sort()).toEqual(["CONNECT", "DENY", "NO_ENDPOINT"]);
    for (const { labels } of samples("kmesh_tcp_connections_opened_total"))
      expect(labels.response_flags).toBe("-");
    const [failed] = samples("kmesh_tcp_connections_failed_total").filter(
      ({ labels }) => labels.response_flags === "NO_ENDPOINT",
    );
    expect(failed?.labels.destination_workload).toBe("-");
  });

  test.each(OWN)("%s", (name) => {
    expect(page.has(name)).toBe(true);
  });

  test("are the same at all three paths", async () => {
    const { metrics } = world.mesh.ports;
    for (const path of ["/metrics", "/status/metric", "/stats/prometheus"]) {
      const response = await fetch(`http://127.0.0.1:${metrics}${path}`);
      expect([response.status, (await response.text()).includes("kmesh_tcp_sent_bytes_total")]).toEqual([
        200,
        true,
      ]);
    }
  });
});

test("weftd --help names the switches of metrics and access log", async () => {
  const { stdout } = await run([...program("weftd"), "--help"]);
  const known = ["--workload-metrics", "--connection-metrics", "--legacy-metric-names", "--access-log"];
  for (const flag of [...known, "--access-log-format"]) expect(stdout).toMatch(new RegExp(`${flag}[ ,]`));
});

describe("weftctl", () => {
  const weftctl = (...args: string[]) => runWeftctl(["--admin", world.mesh.adminUrl, ...args]);
  const route = ["--from", "shop/client", "--to", `web:${webPort}`];
  const verdict = ["--from", "shop/client", "--to", `shop/web-a:${targetPort}`];

  const verbs: readonly (readonly string[])[] = [
    ["version"],
    ["status"],
    ["dump", "workload"],
    ["dump", "service"],
    ["dump", "policy"],
    ["dump", "bpf"],
    ["dump", "bpf", "addresses"],
    ["diff"],
    ["log"],
    ["log", "xds"],
    ["log", "--set", "default:debug"],
    ["accesslog"],
    ["accesslog", "enable"],
    ["accesslog", "disable"],
    ["monitoring", "--workload-metrics", "enable", "--connection-metrics", "disable"],
    ["authz", "status"],
    ["authz", "enable"],
    ["explain", "route", ...route],
    ["explain", "authz", ...verdict],
    ["top", "--once"],
  ];
  test.each(verbs.map((words) => ({ words, verb: words.join(" ") })))("$verb", async ({ words }) => {
    for (const format of ["table", "wide", "json", "yaml"]) {
      const { code, out, err } = await weftctl("-o", format, ...words);
      // What is not data, such as that nothing differs, is on standard error.
      expect([code, out + err !== ""], format).toEqual([0, true]);
      if (format === "json") JSON.parse(out);
    }
  });

  test("follows the access log by a filter", async () => {
    const interrupt = new AbortController();
    const args = ["--admin", world.mesh.adminUrl, "accesslog", "tail", "--filter", "direction=OUTBOUND"];
    const running = runWeftctl(args, { interrupt: interrupt.signal, onOutput: () => interrupt.abort() });
    const asking = setInterval(
      () => void world.peers.client.call("ask", { host: vip.web.ipv4, port: webPort }),
      200,
    );
    const { code, out } = await running.finally(() => clearInterval(asking));
    expect(code).toBe(0);
    expect(out).toMatch(LINE);
  });

  test("needs no daemon for help and completion, and says when there is none", async () => {
    const { out } = await runWeftctl(["--help"]);
    for (const flag of ["--admin", "--pod", "--node", "-o, --output"]) expect(out).toContain(flag);
    expect((await runWeftctl(["status", "--help"])).out).toContain("--all");
    for (const verb of ["apply", "generate", "list", "status", "delete"])
      expect((await runWeftctl(["waypoint", verb, "--help"])).code).toBe(0);
    for (const shell of ["bash", "zsh", "fish"])
      expect((await runWeftctl(["completion", shell])).out).toContain("weftctl");
    const { code, out: nothing, err } = await runWeftctl(["--admin", "http://127.0.0.1:1", "status"]);
    expect([code, nothing, err !== ""]).toEqual([3, "", true]);
  });
});

/** The fields that scripts know, in their order; more may follow. */
const LINE = new RegExp(
  [
    String.raw`^accesslog: \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{9} \+0000 UTC src\.addr=[0-9.]+:\d+`,
    ...["src.workload=client", "src.namespace=shop", String.raw`dst.addr=[0-9.]+:\d+`],
    ...[String.raw`dst.service=\S+`, String.raw`dst.workload=web-\w`, "dst.namespace=shop"],
    ...["direction=OUTBOUND", String.raw`sent_bytes=\d+`, String.raw`received_bytes=\d+`],
    ...[String.raw`duration=[\d.]+ms`, ".*state=.*srtt=.*min_rtt=.*retransmissions=.*packet_loss="],
  ].join(", "),
  "m",
);

test("the access log has a line of JSON for each connection, where that is asked for", async () => {
  flags.push("--access-log", "--access-log-format", "json", "--access-log-file", world.mesh.accessLogFile);
  await world.mesh.endDaemon("SIGTERM");
  await world.mesh.startDaemon();
  await world.peers.client.call("ask", { host: vip.web.ipv4, port: webPort });
  const [line = ""] = await until("a line", () => {
    const lines = world.mesh.accessLog();
    return lines.length > 0 && lines;
  });
  expect((JSON.parse(line) as { time: string }).time).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$/);
});

/** What the two systems have under another name, or have and weft has not, by what docs/decisions.md says of it. */
const DECIDED: readonly (readonly [what: string, decision: string])[] = [
  ["TIMEOUT and GIVEN_UP beside CONNECT", "A connect that fails has three outcomes"],
  ["`unknown` in istio_*, ports on every address", "Names are those that operators know"],
];

test.each(DECIDED)("%s is decided otherwise, and the reason is written", (_, decision) => {
  const decisions = readFileSync(join(packageRoot(), "docs/decisions.md"), "utf8");
  expect(decisions).toContain(`- **${decision}`);
});
