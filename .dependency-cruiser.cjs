// Owns who may import whom, as docs/house.md says. Specs may import whatever they test.
const outside = (allowed) => ({ pathNot: `^(${allowed.join("|")})` });
const SPEC = "\\.spec\\.ts$|/test-[a-z-]+\\.ts$";

/** Files of `folder` may import their own folder, `allowed`, and packages. */
function rule(name, folder, allowed) {
  return {
    name,
    severity: "error",
    comment: `${folder} imports only ${["itself", ...allowed].join(", ")}`,
    from: { path: `^${folder}`, pathNot: SPEC },
    to: { ...outside([folder, ...allowed, "node_modules/", "@bufbuild/"]), dependencyTypesNot: ["core"] },
  };
}

const LEAVES = ["daemon/(errors|log|log-levels|version)\\.ts"];

module.exports = {
  forbidden: [
    { name: "no-circular", severity: "error", from: {}, to: { circular: true } },
    {
      name: "no-orphans",
      severity: "error",
      from: { orphan: true, pathNot: `${SPEC}|^(cmd|test|deploy|bpf/codegen)/|\\.d\\.ts$` },
      to: {},
    },
    rule("model", "daemon/model/", []),
    rule("compile", "daemon/compile/", ["daemon/model/", "daemon/bpf/maps\\.gen\\.ts"]),
    rule("xds", "daemon/xds/", ["daemon/model/", "proto/", ...LEAVES]),
    rule("bpf", "daemon/bpf/", ["native/", "daemon/compile/operation\\.ts", ...LEAVES]),
    rule("telemetry", "daemon/telemetry/", [
      "daemon/model/",
      "daemon/bpf/(maps\\.gen|counters)\\.ts",
      ...LEAVES,
    ]),
    rule("admin", "daemon/admin/", [
      "daemon/model/",
      "daemon/telemetry/",
      "daemon/bpf/maps\\.gen\\.ts",
      "daemon/config\\.ts",
      ...LEAVES,
    ]),
    rule("native", "native/", []),
    rule("proto", "proto/", []),
    rule("weftctl", "cmd/weftctl(/|\\.ts)", [
      "daemon/admin/responses\\.ts",
      "daemon/bpf/maps\\.gen\\.ts",
      ...LEAVES,
    ]),
    rule("weft-xds", "cmd/weft-xds(/|\\.ts)", [
      "proto/",
      "daemon/model/",
      "daemon/xds/resource\\.ts",
      ...LEAVES,
    ]),
    {
      name: "leaves-know-nothing",
      severity: "error",
      from: { path: "^daemon/(errors|log|log-levels)\\.ts$" },
      to: { path: "^(daemon|native|proto|cmd)/", pathNot: "^daemon/log-levels\\.ts$" },
    },
    {
      name: "nothing-imports-tests",
      severity: "error",
      from: { path: "^(daemon|native|proto|cmd|bpf)/", pathNot: SPEC },
      to: { path: "^(test|deploy)/|\\.spec\\.ts$|/test-[a-z-]+\\.ts$" },
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
