// Owns who may import whom, as docs/house.md says. Specs may import whatever they test.
const SPEC = "\\.spec\\.ts$|/test-[a-z-]+\\.ts$";

/** Files of `folder` may import their own folder, `allowed`, and packages. */
function rule(name, folder, allowed) {
  return {
    name,
    severity: "error",
    comment: `${folder} imports only ${["itself", ...allowed].join(", ")}`,
    from: { path: `^${folder}`, pathNot: SPEC },
    to: {
      pathNot: `^(${[folder, ...allowed, "node_modules/", "@bufbuild/"].join("|")})`,
      dependencyTypesNot: ["core"],
    },
  };
}

/** Only files below `owners` may import the package; tests may import any. */
function packageRule(name, owners) {
  return {
    name: `package-${name}`,
    severity: "error",
    comment: `${name} is known to ${owners.join(", ")} only`,
    from: { path: "^(daemon|cmd|native|proto|lab|deploy)/", pathNot: `${SPEC}|^(${owners.join("|")})` },
    to: { path: `node_modules/${name}/` },
  };
}

const BASE = "daemon/base/";
const GENERATED = "daemon/bpf/maps\\.gen\\.ts";

module.exports = {
  forbidden: [
    { name: "no-circular", severity: "error", from: {}, to: { circular: true } },
    {
      name: "no-orphans",
      severity: "error",
      from: { orphan: true, pathNot: `${SPEC}|^(cmd|test|deploy|lab|bpf/codegen)/|\\.d\\.ts$` },
      to: {},
    },
    rule("base", BASE, []),
    rule("config", "daemon/config/", [BASE]),
    rule("model", "daemon/model/", [BASE]),
    rule("compile", "daemon/compile/", [BASE, "daemon/model/", GENERATED]),
    rule("events", "daemon/events/", [BASE, "daemon/model/"]),
    rule("names", "daemon/names/", [BASE, "daemon/model/"]),
    rule("xds", "daemon/xds/", [BASE, "daemon/model/", "proto/"]),
    rule("bpf", "daemon/bpf/", [
      BASE,
      "native/",
      "daemon/compile/operation\\.ts",
      "daemon/compile/word\\.ts",
    ]),
    rule("enforce", "daemon/enforce/", [
      BASE,
      "daemon/model/",
      "daemon/names/",
      "daemon/events/",
      "daemon/compile/",
      "daemon/bpf/",
      "native/",
    ]),
    rule("kube", "daemon/kube/", [BASE]),
    rule("dns", "daemon/dns/", [
      BASE,
      "daemon/compile/views\\.ts",
      "daemon/model/",
      "daemon/bpf/enrollment\\.ts",
      "daemon/bpf/netns\\.ts",
      GENERATED,
      "native/",
    ]),
    rule("telemetry", "daemon/telemetry/", [BASE, "daemon/model/", GENERATED, "daemon/bpf/counters\\.ts"]),
    rule("admin", "daemon/admin/", [BASE, "daemon/events/", "daemon/model/", "daemon/telemetry/", GENERATED]),
    rule("operator", "daemon/operator/", [
      BASE,
      "daemon/admin/",
      "daemon/bpf/",
      "daemon/compile/",
      "daemon/config/",
      "daemon/enforce/",
      "daemon/events/",
      "daemon/kube/kubernetes\\.ts",
      "daemon/model/",
      "daemon/telemetry/",
      "daemon/xds/",
      "native/",
    ]),
    rule("start", "daemon/start/", [
      BASE,
      "daemon/config/",
      "daemon/bpf/",
      "daemon/dns/",
      "daemon/enforce/",
      "daemon/events/",
      "daemon/kube/",
      "daemon/xds/node\\.ts",
      "daemon/xds/snapshot\\.ts",
      "daemon/xds/transport\\.ts",
      "daemon/admin/answers\\.ts",
      "native/",
    ]),
    rule("native", "native/", []),
    rule("proto", "proto/", []),
    rule("weftd", "cmd/weftd(/|\\.ts)", [
      BASE,
      "daemon/config/",
      "daemon/main\\.ts",
      "daemon/bpf/uninstall\\.ts",
      "daemon/bpf/disabled\\.ts",
      "daemon/events/journal\\.ts",
      "daemon/kube/api-server\\.ts",
      "daemon/kube/cni-install\\.ts",
      "daemon/kube/leave\\.ts",
      "daemon/xds/snapshot\\.ts",
    ]),
    rule("weftctl", "cmd/weftctl(/|\\.ts)", [
      BASE,
      "daemon/config/config\\.ts",
      "daemon/admin/api\\.ts",
      "daemon/admin/answers\\.ts",
      "daemon/admin/event-answers\\.ts",
      "daemon/admin/route-answers\\.ts",
      "daemon/admin/traffic-answers\\.ts",
      "daemon/model/",
      GENERATED,
    ]),
    rule("weft-xds", "cmd/weft-xds(/|\\.ts)", [BASE, "proto/", "daemon/model/", "daemon/xds/resource\\.ts"]),
    rule("lab", "lab/", [BASE]),
    rule("deploy", "deploy/", [BASE, "lab/"]),
    packageRule("@grpc/grpc-js", ["daemon/xds/", "cmd/weft-xds", "proto/gen/"]),
    packageRule("dns-packet", ["daemon/dns/messages\\.ts"]),
    packageRule("pino", ["daemon/base/log\\.ts"]),
    packageRule("prom-client", ["daemon/telemetry/"]),
    packageRule("@opentelemetry", ["daemon/telemetry/otlp/"]),
    packageRule("@kubernetes/client-node", ["daemon/kube/"]),
    {
      name: "nothing-imports-tests",
      severity: "error",
      from: { path: "^(daemon|native|proto|cmd|bpf|lab|deploy)/", pathNot: SPEC },
      to: { path: "^test/|\\.spec\\.ts$|/test-[a-z-]+\\.ts$" },
    },
    {
      name: "nothing-of-the-product-imports-the-lab",
      severity: "error",
      from: { path: "^(daemon|native|proto|cmd|bpf)/", pathNot: SPEC },
      to: { path: "^(lab|deploy)/" },
    },
  ],
  options: {
    doNotFollow: { path: "node_modules" },
    exclude: { path: "^(dist|build)/" },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: "tsconfig.json" },
    enhancedResolveOptions: { extensions: [".ts", ".js"], conditionNames: ["import", "types"] },
  },
};
