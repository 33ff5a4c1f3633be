// Owns the proof that the chart renders as it should, and refuses what cannot be. Needs build/helm.
// Must not know a cluster: test/kube has one.

import { type SpawnSyncReturns, spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { parse, parseAllDocuments } from "yaml";
import { packageRoot } from "../../daemon/base/package-root.js";
import { loadConfig } from "../../daemon/config/config.js";
import { KEYS, kebab } from "../../daemon/config/schema.js";

interface KubeObject {
  readonly kind: string;
  readonly metadata: { readonly name: string };
  readonly [field: string]: unknown;
}

const root = packageRoot();
const chart = join(root, "deploy", "helm", "weft");

function helm(...args: string[]): SpawnSyncReturns<string> {
  return spawnSync(join(root, "build", "helm"), args, { encoding: "utf8", cwd: root });
}

/** What is installed with some values set: NAME=VALUE. Throws with Helm's words. */
function rendered(...values: string[]): string {
  const set = values.flatMap((value) => ["--set", value]);
  const { status, stdout, stderr } = helm(
    "template",
    "weft",
    chart,
    "-n",
    "weft-system",
    "--no-hooks",
    ...set,
  );
  if (status !== 0) throw new Error(stderr);
  return stdout;
}

function objects(text: string): KubeObject[] {
  return parseAllDocuments(text).map((document) => document.toJS() as KubeObject);
}

function configOf(text: string) {
  const map = objects(text).find(({ kind }) => kind === "ConfigMap");
  const { "weft.yaml": yaml = "" } = (map?.data ?? {}) as Record<string, string>;
  return loadConfig({ config: "/etc/weft/weft.yaml" }, {}, () => yaml);
}

const EVERYTHING = [
  "image.repository=registry.example/weft",
  `image.digest=sha256:${"0".repeat(64)}`,
  "imagePullSecrets={registry}",
  "istiod.network=east",
  "config.access-log=true",
  "config.log-level=info\\,xds:debug",
  "extraEnv[0].name=OTEL_EXPORTER_OTLP_ENDPOINT",
  "extraEnv[0].value=http://collector:4318",
  "netnsDir=/run/docker/netns",
  "podLabels.team=mesh",
  "podAnnotations.note=hello",
  "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].key=pool",
  "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].operator=Exists",
  "monitoring.serviceMonitor.enabled=true",
  "monitoring.serviceMonitor.labels.release=prometheus",
  "monitoring.rules.enabled=true",
  "monitoring.dashboards.enabled=true",
];

it("passes Helm's lint, as it is and with everything on", () => {
  for (const values of [[], EVERYTHING]) {
    const { status, stdout } = helm(
      "lint",
      "--strict",
      chart,
      ...values.flatMap((value) => ["--set", value]),
    );
    expect(stdout).toContain("1 chart(s) linted, 0 chart(s) failed");
    expect(status).toBe(0);
  }
});

it("renders what `weftctl install` installs (make manifests writes it anew)", async () => {
  await expect(rendered()).toMatchFileSnapshot(join(root, "deploy", "manifests", "weft.yaml"));
});

it("renders every choice", async () => {
  const text = rendered(...EVERYTHING);
  await expect(text.replaceAll(/^ +(?:"|\{|\}|\[|\]).*\n/gm, "")).toMatchFileSnapshot("everything.yaml");
  const of = (name: string) => objects(text).find(({ metadata }) => metadata.name === name) ?? {};
  expect((of("weft-node-dashboard") as { data: Record<string, string> }).data["weft-node.json"]?.trim()).toBe(
    readFileSync(join(root, "deploy/grafana/weft-node.json"), "utf8").trim(),
  );
  const rule = objects(text).find(({ kind }) => kind === "PrometheusRule");
  expect(rule?.spec).toEqual(parse(readFileSync(join(root, "deploy/prometheus/rules.yaml"), "utf8")));
});

it("renders what takes weft off the nodes before the rest is removed", async () => {
  const template = [
    "template",
    "weft",
    chart,
    "-n",
    "weft-system",
    "--show-only",
    "templates/uninstall.yaml",
  ];
  await expect(helm(...template).stdout).toMatchFileSnapshot("uninstall.yaml");
  expect(helm(...template, "--set", "uninstall.enabled=false").stderr).toContain("could not find template");
});

it("gives weftd a configuration that weftd takes", () => {
  expect(configOf(rendered())).toMatchObject({
    ok: true,
    warnings: [],
    config: { kubernetes: true, cniConfDir: "/etc/cni/net.d", cniFailOpen: false, stateDir: "/var/lib/weft" },
  });
  const changed = configOf(
    rendered("cni.enabled=false", "config.cluster-id=east", "config.map-limit=1000000"),
  );
  expect(changed).toMatchObject({ ok: true, config: { clusterId: "east", mapLimit: 1_000_000 } });
  expect(changed.ok && changed.config.cniBinDir).toBeUndefined();
});

it("rolls the pods when the configuration changes, and only then", () => {
  const hash = (text: string) => /weft\/config-hash: (\S+)/.exec(text)?.[1];
  expect(hash(rendered("config.access-log=true"))).not.toBe(hash(rendered()));
  expect(hash(rendered("terminationGracePeriodSeconds=60"))).toBe(hash(rendered()));
});

it.each([
  ["config.acess-log=true", "acess-log"],
  ["image.pullPolicy=Sometimes", "pullPolicy"],
  ["image.digest=latest", "digest"],
  ["istiod.address=istiod", "address"],
  ["cni.confDir=etc/cni", "confDir"],
  ["tolerations=all", "tolerations"],
  ["imagge.tag=1", "imagge"],
])("refuses %s and names it", (value, named) => {
  expect(() => rendered(value)).toThrow(named);
});

it("knows each of weftd's keys, and has weft's version", () => {
  const schema = JSON.parse(readFileSync(join(chart, "values.schema.json"), "utf8"));
  expect(schema.properties.config.propertyNames.enum).toEqual(KEYS.map(kebab).sort());
  const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  expect(parse(readFileSync(join(chart, "Chart.yaml"), "utf8"))).toMatchObject({
    version,
    appVersion: version,
  });
});
