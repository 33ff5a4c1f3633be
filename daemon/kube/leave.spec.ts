import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { KubeApi } from "../../test/helpers/kube-api.js";
import { ApiServer } from "./api-server.js";
import { takeBackAnnotations } from "./leave.js";

let api: KubeApi;
let folder: string;
let server: ApiServer;

beforeEach(async () => {
  api = new KubeApi();
  folder = mkdtempSync(join(tmpdir(), "weft-leave-"));
  const tokenFile = join(folder, "token");
  writeFileSync(tokenFile, api.token);
  server = new ApiServer({ url: await api.listen(), caFile: join(folder, "none"), tokenFile });
});

afterEach(() => {
  api.close();
  rmSync(folder, { recursive: true, force: true });
});

const pod = (name: string, annotations: Readonly<Record<string, string>>) =>
  api.put("pods", {
    spec: { nodeName: "n1" },
    metadata: { name, namespace: "shop", uid: `uid-${name}`, annotations },
  });

it("takes its annotation from the pods that have it, and nothing else", async () => {
  pod("web", { "ambient.istio.io/redirection": "enabled", note: "stays" });
  pod("db", { note: "stays" });
  expect(await takeBackAnnotations(server, "n1")).toEqual({ ok: true, value: 1 });
  expect(api.get("pods", "shop/web")?.metadata.annotations).toEqual({ note: "stays" });
  expect(api.requests.filter((request) => request.startsWith("PATCH"))).toEqual([
    "PATCH /api/v1/namespaces/shop/pods/web/status",
  ]);
});

it("says what the API server said when it does not let it", async () => {
  api.refuse(403, "pods is forbidden");
  expect(await takeBackAnnotations(server, "n1")).toMatchObject({
    ok: false,
    error: { code: "KUBE_REFUSED" },
  });
});
