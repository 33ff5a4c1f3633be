import { Command } from "commander";
import { describe, expect, it } from "vitest";
import { formatHostPort } from "../base/parse.js";
import { loadConfig } from "./config.js";
import { addConfigOptions } from "./flags.js";
import type { Config } from "./schema.js";

function flags(...args: string[]): Record<string, unknown> {
  return addConfigOptions(new Command("weftd").exitOverride()).parse(args, { from: "user" }).opts();
}

function noFile(path: string): string {
  throw new Error(`ENOENT: ${path}`);
}

function load(given: { args?: string[]; env?: Record<string, string>; yaml?: string }): Config {
  const args = given.yaml === undefined ? [] : ["--config", "/etc/weft.yaml"];
  const result = loadConfig(
    flags(...args, ...(given.args ?? [])),
    given.env ?? {},
    () => given.yaml ?? noFile("?"),
  );
  if (!result.ok) throw new Error(result.errors.join("\n"));
  return result.config;
}

function errorsOf(given: {
  args?: string[];
  env?: Record<string, string>;
  yaml?: string;
}): readonly string[] {
  const args = given.yaml === undefined ? [] : ["--config", "/etc/weft.yaml"];
  const result = loadConfig(
    flags(...args, ...(given.args ?? [])),
    given.env ?? {},
    () => given.yaml ?? noFile("?"),
  );
  return result.ok ? [] : result.errors;
}

describe("loadConfig", () => {
  it("has a default for every key that must have a value", () => {
    const config = load({});
    expect(config.xdsAddress).toEqual({ host: "127.0.0.1", port: 15010 });
    expect(config.adminAddress).toEqual({ host: "127.0.0.1", port: 15200 });
    expect(config.syncTimeout).toBe(30_000);
    expect(config.cgroup).toBeUndefined();
    expect(config.authzNodeExempt).toBe(true);
    expect(config.nodeName).not.toBe("");
  });

  it("takes OpenTelemetry's variables where its own and flags say nothing", () => {
    const env = {
      OTEL_EXPORTER_OTLP_ENDPOINT: "http://standard:4318",
      OTEL_EXPORTER_OTLP_PROTOCOL: "grpc",
    };
    expect(load({})).toMatchObject({ otlpProtocol: "http/protobuf" });
    expect(load({}).otlpEndpoint).toBeUndefined();
    expect(load({ env })).toMatchObject({ otlpEndpoint: "http://standard:4318", otlpProtocol: "grpc" });
    const own = { ...env, WEFT_OTLP_ENDPOINT: "http://own:4318" };
    expect(load({ env: own }).otlpEndpoint).toBe("http://own:4318");
    const args = ["--otlp-endpoint", "http://flag:4318"];
    expect(load({ env: own, args }).otlpEndpoint).toBe("http://flag:4318");
    expect(errorsOf({ env: { OTEL_EXPORTER_OTLP_LOGS_ENDPOINT: "collector:4317" } })).toEqual([
      "otlp-logs-endpoint in environment OTEL_EXPORTER_OTLP_LOGS_ENDPOINT: expected a URL, http:// or https://",
    ]);
    expect(errorsOf({ env: { OTEL_EXPORTER_OTLP_PROTOCOL: "http/json" } })).toEqual([
      "otlp-protocol in environment OTEL_EXPORTER_OTLP_PROTOCOL: expected http/protobuf or grpc",
    ]);
  });

  it("leaves TLS and names that follow from others to whoever uses them", () => {
    const config = load({});
    expect([config.xdsTls, config.xdsServerName, config.podName, config.podAddress]).toEqual(
      Array(4).fill(undefined),
    );
    expect([config.xdsRootCert, config.xdsTokenFile]).toEqual([
      "/var/run/secrets/istio/root-cert.pem",
      "/var/run/secrets/tokens/istio-token",
    ]);
    expect([config.clusterId, config.podNamespace, config.serviceAccount]).toEqual([
      "Kubernetes",
      "istio-system",
      "",
    ]);
    const env = { WEFT_POD_NAME: "weft-x", WEFT_POD_NAMESPACE: "mesh", WEFT_POD_ADDRESS: "fd00::7" };
    const given = load({ env, args: ["--xds-tls", "--cluster-id", "east"], yaml: "network: north\n" });
    expect([given.xdsTls, given.podName, given.podNamespace, given.podAddress]).toEqual([
      true,
      "weft-x",
      "mesh",
      "fd00::7",
    ]);
    expect([given.clusterId, given.network]).toEqual(["east", "north"]);
  });

  it("refuses what would make an id that istiod cannot read", () => {
    const env = { WEFT_POD_NAME: "a~b", WEFT_POD_NAMESPACE: "a b", WEFT_POD_ADDRESS: "node-7" };
    expect(errorsOf({ env, args: ["--xds-root-cert", "root.pem"] })).toEqual([
      "xds-root-cert in flag --xds-root-cert: expected an absolute path",
      "pod-name in environment WEFT_POD_NAME: expected a name without blanks and ~",
      "pod-namespace in environment WEFT_POD_NAMESPACE: expected a name without blanks and ~",
      "pod-address in environment WEFT_POD_ADDRESS: expected an IP address",
    ]);
  });

  it("prefers flags to environment to file to defaults", () => {
    const yaml = "node-name: file\nbpffs: /file\nxds-address: file:1\n";
    const env = { WEFT_NODE_NAME: "env", WEFT_XDS_ADDRESS: "env:2" };
    const config = load({ args: ["--node-name", "flag"], env, yaml });
    expect([config.nodeName, formatHostPort(config.xdsAddress), config.bpffs]).toEqual([
      "flag",
      "env:2",
      "/file",
    ]);
  });

  it("reads lists and booleans from each source", () => {
    const pods = [
      { namespace: "a", name: "x", netns: "/run/netns/x" },
      { namespace: "a", name: "y", netns: "/run/netns/y" },
    ];
    expect(load({ args: ["--pod", "a/x=/run/netns/x", "--pod", "a/y=/run/netns/y"] }).pod).toEqual(pods);
    expect(load({ env: { WEFT_POD: "a/x=/run/netns/x, a/y=/run/netns/y" } }).pod).toEqual(pods);
    expect(load({ yaml: "pod:\n- a/x=/run/netns/x\n- a/y=/run/netns/y\n" }).pod).toEqual(pods);
    expect(load({ yaml: "pod: a/x=/run/netns/x,a/y=/run/netns/y\n" }).pod).toEqual(pods);
    expect(load({ args: ["--access-log"] }).accessLog).toBe(true);
    expect(load({ args: ["--authz-node-exempt=false"] }).authzNodeExempt).toBe(false);
    expect(load({ env: { WEFT_ACCESS_LOG: "true" } }).accessLog).toBe(true);
    expect(load({ yaml: "access-log: true" }).accessLog).toBe(true);
  });

  it("takes one resolver of each family", () => {
    expect(load({ yaml: "dns-proxy: 10.96.0.10" }).dnsProxy).toEqual(["10.96.0.10"]);
    expect(load({ yaml: "dns-proxy: [fd00::a, 10.96.0.10]" }).dnsProxy).toEqual(["fd00::a", "10.96.0.10"]);
    expect(errorsOf({ yaml: "dns-proxy: 10.96.0.10,10.96.0.11" })).toEqual([
      "dns-proxy in /etc/weft.yaml:1: expected one address of each family",
    ]);
    expect(errorsOf({ yaml: "dns-proxy: kube-dns" })).toEqual([
      "dns-proxy in /etc/weft.yaml:1: expected an IP address",
    ]);
  });

  it("names key and source of each error", () => {
    const yaml = "# weft\nnode-name: n\nxds-address: nowhere\nsync-timeout: 5\npod: 7\n";
    expect(errorsOf({ yaml, env: { WEFT_LOG_LEVEL: "loud" }, args: ["--access-log=perhaps"] })).toEqual([
      'xds-address in /etc/weft.yaml:3: "nowhere" is no HOST:PORT such as 127.0.0.1:15010 or [::1]:15010',
      "pod in /etc/weft.yaml:5: expected a list",
      "access-log in flag --access-log: expected true or false",
      'sync-timeout in /etc/weft.yaml:4: "5" is no duration: write one such as 500ms, 30s or 1m30s',
      'log-level in environment WEFT_LOG_LEVEL: "loud" names no level: use one of trace, debug, info, warn, error, fatal, silent',
    ]);
  });

  it("refuses unknown keys, broken YAML and a missing file", () => {
    expect(errorsOf({ yaml: "a: 1\nxds-adress: h:1\n" })).toEqual([
      "a in /etc/weft.yaml:1: unknown key",
      "xds-adress in /etc/weft.yaml:2: unknown key; did you mean xds-address?",
    ]);
    expect(errorsOf({ yaml: "bpffs: /a\nbpffs: /b\n" })[0]).toMatch(
      /^\/etc\/weft.yaml:2: Map keys must be unique/,
    );
    expect(errorsOf({ yaml: "- a\n" })[0]).toMatch(/^\/etc\/weft.yaml:1: expected keys and values/);
    const result = loadConfig({ config: "/none" }, {}, noFile);
    expect(result).toEqual({ ok: false, errors: ["config file /none cannot be read: ENOENT: /none"] });
  });

  it("places a key by itself, not by one that begins alike", () => {
    const yaml = "pod-name: weft\nservice-account: pod\npod:\n  a: b\nmap-limit:\n  - 1\n";
    expect(errorsOf({ yaml })).toEqual([
      "pod in /etc/weft.yaml:3: expected a list",
      "map-limit in /etc/weft.yaml:5: expected text",
    ]);
  });

  it("takes whole numbers that a map can have, and durations that a timer can", () => {
    expect(load({ yaml: "map-limit: 1000" }).mapLimit).toBe(1000);
    expect(load({ args: ["--map-limit", "2147483648"] }).mapLimit).toBe(2 ** 31);
    for (const limit of ["1000.5", "99999999999", "0", "-1", "1e3x"]) {
      expect(errorsOf({ yaml: `map-limit: ${limit}` }), limit).toHaveLength(1);
    }
    expect(load({}).accessLogDenialLimit).toBe(10);
    expect(load({ args: ["--access-log-denial-limit", "1"] }).accessLogDenialLimit).toBe(1);
    expect(errorsOf({ args: ["--access-log-denial-limit", "0"] })).toEqual([
      'access-log-denial-limit in flag --access-log-denial-limit: "0" is no whole number from 1 to 1000000',
    ]);
    expect(errorsOf({ args: ["--sync-timeout", "1000h"] })).toEqual([
      'sync-timeout in flag --sync-timeout: "1000h" is too long: 596h is the most',
    ]);
  });

  it("refuses aliases that unfold without end", () => {
    const levels = Array.from({ length: 9 }, (_, n) => `k${n + 1}: &k${n + 1} [${Array(9).fill(`*k${n}`)}]`);
    expect(errorsOf({ yaml: ["k0: &k0 [x]", ...levels].join("\n") })).toEqual([
      expect.stringMatching(/^\/etc\/weft\.yaml:1: .*alias/),
    ]);
  });

  it("tells a switch that is off from one that nobody set", () => {
    expect(load({}).accessLog).toBeUndefined();
    expect(load({ args: ["--access-log", "false"] }).accessLog).toBe(false);
    expect(load({ yaml: "access-log: false", env: { WEFT_ACCESS_LOG: "true" } }).accessLog).toBe(true);
  });

  it("keeps the admin port on loopback", () => {
    expect(errorsOf({ args: ["--admin-address", "0.0.0.0:15200"] })[0]).toMatch(/"0.0.0.0" is not loopback/);
    expect(load({ args: ["--admin-address", "[::1]:0"] }).adminAddress).toEqual({ host: "::1", port: 0 });
  });

  it("warns of a variable that is nearly one of ours, not of Kubernetes' own", () => {
    const result = loadConfig(
      {},
      { WEFT_ACCES_LOG: "1", WEFT_PORT: "tcp://", WEFT_SERVICE_HOST: "x" },
      noFile,
    );
    expect(result.ok && result.warnings).toEqual([
      "environment WEFT_ACCES_LOG is not used; did you mean WEFT_ACCESS_LOG?",
    ]);
  });

  it("shows every key in --help with its default and its variable", () => {
    const text = addConfigOptions(new Command("weftd").configureHelp({ helpWidth: 200 })).helpInformation();
    const optional = ["--cgroup", "/c", "--access-log-file", "/f", "--xds-tls", "--xds-server-name", "i"];
    for (const key of Object.keys(load({ args: [...optional, "--pod-name", "p", "--pod-address", "::1"] }))) {
      expect(text).toContain(`--${key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`);
    }
    expect(text).toContain("[default: 127.0.0.1:15010, env: WEFT_XDS_ADDRESS]");
  });
});
