// Owns the proof that what is exported by OTLP is what /metrics and the access log say, that a daemon which exports
// nothing loads none of it, and that nothing is lost in silence. The receiver is OpenTelemetry's own protobuf code
// (PyPI's opentelemetry-proto) behind Python's HTTP server and grpcio: otlp-receiver.py.

import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { packageRoot } from "../../daemon/base/package-root.js";
import { RunningProcess } from "../../lab/process.js";
import { Hopeless, until } from "../../lab/wait.js";
import { createWorld, vip, type World, webPort } from "./world.js";

const COUNT = 40;
/** A line at each end. */
const LINES = 2 * COUNT;

interface Attribute {
  readonly key: string;
  readonly value: { readonly stringValue?: string; readonly intValue?: string };
}

interface DataPoint {
  readonly attributes?: readonly Attribute[];
  readonly asInt?: string;
  readonly asDouble?: number;
}

interface Metric {
  readonly name: string;
  readonly sum?: { readonly isMonotonic: boolean; readonly dataPoints: readonly DataPoint[] };
  readonly gauge?: { readonly dataPoints: readonly DataPoint[] };
}

interface LogRecord {
  readonly body: { readonly stringValue: string };
  readonly severityText: string;
  readonly attributes: readonly Attribute[];
}

interface About {
  readonly resource: { readonly attributes: readonly Attribute[] };
}

/** What the receiver prints of a request; the message as protobuf's JSON form has it. */
interface Heard {
  readonly signal: "metrics" | "logs";
  readonly protocol: "http" | "grpc";
  readonly headers: Readonly<Record<string, string>>;
  readonly message: {
    readonly resourceMetrics?: readonly (About & {
      scopeMetrics: readonly { metrics: readonly Metric[] }[];
    })[];
    readonly resourceLogs?: readonly (About & {
      scopeLogs: readonly { logRecords: readonly LogRecord[] }[];
    })[];
  };
}

class Receiver {
  readonly heard: Heard[] = [];
  readonly #process: RunningProcess;
  #ports: { readonly http: number; readonly grpc: number } | undefined;

  private constructor(process: RunningProcess) {
    this.#process = process;
    process.onLine((line) => {
      if (this.#ports === undefined) this.#ports = JSON.parse(line);
      else this.heard.push(JSON.parse(line) as Heard);
    });
  }

  static async start(): Promise<Receiver> {
    const packages = join(packageRoot(), "build", "otlp");
    if (!existsSync(packages)) throw new Error(`${packages} is missing: run make build/stamps/otlp`);
    const argv = ["/usr/bin/python3", join(import.meta.dirname, "otlp-receiver.py")];
    const child = new RunningProcess(argv, { env: { ...process.env, PYTHONPATH: packages } });
    const receiver = new Receiver(child);
    await until("the receiver's ports", () => {
      if (!child.running) throw new Hopeless(`the receiver ended: ${child.stderr}`);
      return receiver.#ports;
    });
    return receiver;
  }

  url(protocol: Heard["protocol"]): string {
    return `http://127.0.0.1:${this.#ports?.[protocol]}`;
  }

  command(word: "refuse" | "take"): void {
    this.#process.stdin.write(`${word}\n`);
  }

  get records(): LogRecord[] {
    return this.heard
      .flatMap(({ message }) => message.resourceLogs ?? [])
      .flatMap(({ scopeLogs }) => scopeLogs.flatMap(({ logRecords }) => logRecords));
  }

  stop(): Promise<number> {
    return this.#process.stop();
  }
}

let world: World | undefined;
let receiver: Receiver | undefined;
afterEach(async () => {
  world?.remove();
  world = undefined;
  await receiver?.stop();
  receiver = undefined;
});

async function exporting(env: readonly string[], flags: readonly string[] = []): Promise<World> {
  world = await createWorld({}, { flags, through: ["env", ...env] });
  return world;
}

async function ask({ peers }: World): Promise<void> {
  const tally = await peers.client.call("askMany", { host: vip.web.ipv4, port: webPort, count: COUNT });
  expect(tally.errors).toEqual({});
}

const textOf = ({ value }: Attribute) => value.stringValue ?? value.intValue ?? "";
const asObject = (attributes: readonly Attribute[] = []) =>
  Object.fromEntries(attributes.map((attribute) => [attribute.key, textOf(attribute)]));

/** Series of the traffic metrics by name and labels, as an export has them. */
function exported({ message }: Heard): ReadonlyMap<string, number> {
  const metrics = (message.resourceMetrics ?? []).flatMap(({ scopeMetrics }) =>
    scopeMetrics.flatMap(({ metrics }) => metrics),
  );
  return new Map(
    metrics
      .filter(({ name }) => name.includes("_tcp_"))
      .flatMap(({ name, sum }) =>
        (sum?.dataPoints ?? []).map(({ attributes, asInt }): [string, number] => [
          seriesName(name, Object.entries(asObject(attributes))),
          Number(asInt),
        ]),
      ),
  );
}

/** The same of the page. */
function onPage(page: string): ReadonlyMap<string, number> {
  return new Map(
    [...page.matchAll(/^(\w+_tcp_\w+)\{(.*)\} (\d+)$/gm)].map(([, name = "", labels = "", value]) => [
      seriesName(
        name,
        [...labels.matchAll(/(\w+)="([^"]*)"/g)].map(([, key = "", text = ""]) => [key, text]),
      ),
      Number(value),
    ]),
  );
}

const seriesName = (name: string, labels: readonly (readonly [string, string])[]) =>
  JSON.stringify([name, [...labels].sort()]);

const sorted = (series: ReadonlyMap<string, number>) => JSON.stringify([...series].sort());

test("metrics and access log go to a collector by HTTP, with the numbers and lines that they have here", async () => {
  const there = await Receiver.start();
  receiver = there;
  const variables = ["OTEL_METRIC_EXPORT_INTERVAL=500", "OTEL_EXPORTER_OTLP_HEADERS=x-tenant=shop"];
  const made = await exporting(
    [
      ...[...variables, "OTEL_EXPORTER_OTLP_COMPRESSION=gzip"],
      "OTEL_RESOURCE_ATTRIBUTES=deployment.environment=test",
    ],
    ["--otlp-endpoint", there.url("http")],
  );
  const { mesh } = made;
  await ask(made);
  await until("the lines", () => mesh.accessLog().length === LINES);
  await until("records of them", () => there.records.length === LINES);
  expect(there.records.map(({ body }) => body.stringValue).sort()).toEqual(mesh.accessLog().sort());
  const record = there.records[0];
  const attributes = asObject(record?.attributes);
  expect(record?.body.stringValue).toContain(`src.addr=${attributes["src.addr"]}, src.workload=client`);
  expect(record?.attributes).toContainEqual({
    key: "sent_bytes",
    value: { intValue: attributes.sent_bytes },
  });
  expect(record?.severityText).toBe("INFO");
  await until("a count of them", async () => {
    return (await mesh.metric("weft_otlp_exported_total", { signal: "logs", result: "sent" })) === LINES;
  });

  const page = onPage(await mesh.metricsText());
  expect(page.size).toBeGreaterThan(0);
  await until("an export of the same numbers", () =>
    there.heard.some((each) => each.signal === "metrics" && sorted(exported(each)) === sorted(page)),
  );
  const last = there.heard.findLast(({ signal }) => signal === "metrics");
  expect(last).toMatchObject({
    protocol: "http",
    headers: { "x-tenant": "shop", "content-encoding": "gzip" },
  });
  expect(asObject(last?.message.resourceMetrics?.[0]?.resource.attributes)).toMatchObject({
    ...{ "service.name": "weftd", "k8s.node.name": "node", "deployment.environment": "test" },
  });
});

test("OpenTelemetry's variables alone turn it on, of one signal and by gRPC", async () => {
  const there = await Receiver.start();
  receiver = there;
  const made = await exporting([
    `OTEL_EXPORTER_OTLP_LOGS_ENDPOINT=${there.url("grpc")}`,
    ...["OTEL_EXPORTER_OTLP_PROTOCOL=grpc", "OTEL_METRIC_EXPORT_INTERVAL=200"],
  ]);
  await ask(made);
  await until("records", () => there.records.length === LINES);
  await made.mesh.endDaemon("SIGTERM");
  expect(new Set(there.heard.map(({ signal, protocol }) => `${signal} ${protocol}`))).toEqual(
    new Set(["logs grpc"]),
  );
});

test("what a collector does not take is counted and said, until it takes it again", async () => {
  const there = await Receiver.start();
  receiver = there;
  there.command("refuse");
  const made = await exporting(
    ["OTEL_EXPORTER_OTLP_TIMEOUT=300", "OTEL_METRICS_EXPORTER=none"],
    ["--otlp-endpoint", there.url("http")],
  );
  const { mesh } = made;
  const records = (result: string) => mesh.metric("weft_otlp_exported_total", { signal: "logs", result });
  await ask(made);
  await until("failures", async () => (await records("failed")) === LINES);
  expect(await records("sent")).toBe(0);
  await until("a word of it", () =>
    mesh.log("weftd").includes("the OTLP collector did not take what was exported"),
  );
  const warning = /^warning: the OTLP collector has taken no logs since \d{4}-.*Z \(.+\)/m;
  expect((await mesh.weftctl("status")).stdout).toMatch(warning);
  there.command("take");
  await ask(made);
  await until("records", async () => (await records("sent")) + (await records("failed")) === 2 * LINES);
  await until("a record that is taken", async () => {
    await ask(made);
    return (await records("sent")) > 0;
  });
  await until("a word of its end", () => mesh.log("weftd").includes("takes what is exported again"));
  await until("the end of the warning", async () => {
    await ask(made);
    return !warning.test((await mesh.weftctl("status")).stdout);
  });
  await until("every line in the log", () => mesh.accessLog().length >= 3 * LINES);
});

test("a daemon that exports nothing loads nothing of OpenTelemetry", () => {
  const loaded = new Set<string>();
  const load = (file: string) => {
    if (loaded.has(file)) return;
    loaded.add(file);
    const text = readFileSync(file, "utf8");
    // prom-client itself asks the API, which does nothing, whether somebody traces.
    expect(/node_modules\/@opentelemetry\/(?!api\/)[\w-]+/.exec(text)?.[0], file).toBeUndefined();
    for (const [, path = ""] of text.matchAll(/(?:\bfrom|^import|\bimport\() ?"(\.[^"]+\.js)"/gm))
      load(join(dirname(file), path));
  };
  load(join(packageRoot(), "dist", "cmd", "weftd.js"));
  // What serves metrics is among it.
  const texts = [...loaded].map((file) => readFileSync(file, "utf8"));
  expect(texts.some((text) => text.includes("weft_otlp_exported_total"))).toBe(true);
  const thread = join(packageRoot(), "dist", "daemon", "telemetry", "otlp", "thread.js");
  expect(readFileSync(thread, "utf8")).toContain("node_modules/@opentelemetry/sdk-metrics");
});
