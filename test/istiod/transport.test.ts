// Owns the proof that this istiod's TLS port asks of a client what a cluster's would: its root, a token, a cluster.
// Must not know weftd's transport.

import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { credentials, Metadata, type ServiceError, status } from "@grpc/grpc-js";
import { afterAll, beforeAll, expect, test } from "vitest";
import { nodeMessage } from "../../daemon/xds/node.js";
import { ADDRESS_TYPE } from "../../daemon/xds/resource.js";
import { createLab, type Lab } from "../../lab/lab.js";
import {
  AggregatedDiscoveryServiceClient,
  DeltaDiscoveryRequest,
  type DeltaDiscoveryResponse,
} from "../../proto/gen/discovery.js";
import { type Istiod, startIstiod } from "./istiod.js";
import { clusterOf, pod, yamlOf } from "./kubernetes.js";

let lab: Lab | undefined;
let istiod: Istiod;
let tlsDirectory: string;
let tokenFile: string;

beforeAll(async () => {
  lab = await createLab();
  tlsDirectory = join(lab.directory, "tls");
  tokenFile = join(lab.directory, "token");
  mkdirSync(tlsDirectory);
  writeFileSync(tokenFile, "first\n");
  const objects = [...clusterOf("shop"), pod("web", { app: "web", ip: "10.77.0.21" })];
  istiod = await startIstiod(lab, yamlOf(...objects), { tlsDirectory, tokenFile });
});
afterAll(() => lab?.remove());

interface Caller {
  readonly token?: string;
  readonly cluster?: string;
  readonly account?: string;
  readonly root?: Buffer;
}

const root = () => readFileSync(join(tlsDirectory, "root-cert.pem"));

/** Subscribes to addresses; gives the number of resources that came first, or the status and its text. */
async function subscribe({
  token,
  cluster,
  account = "ztunnel",
  root: ca = root(),
}: Caller): Promise<unknown> {
  const client = new AggregatedDiscoveryServiceClient(
    `127.0.0.1:${istiod.ports.tls}`,
    credentials.createSsl(ca),
  );
  const metadata = new Metadata();
  if (token !== undefined) metadata.set("authorization", `Bearer ${token}`);
  if (cluster !== undefined) metadata.set("clusterid", cluster);
  const stream = client.deltaAggregatedResources(metadata);
  try {
    return await new Promise((resolve) => {
      stream.once("data", ({ resources }: DeltaDiscoveryResponse) => resolve(resources.length));
      stream.once("error", ({ code, details }: ServiceError) => resolve(`${status[code]} ${details}`));
      const node = nodeMessage({
        address: "127.0.0.1",
        name: "ztunnel-x",
        namespace: "istio-system",
        serviceAccount: account,
        nodeName: "node",
        clusterId: "Kubernetes",
        network: "",
        meshId: "",
        version: "test",
      });
      stream.write(DeltaDiscoveryRequest.fromPartial({ node, typeUrl: ADDRESS_TYPE }));
    });
  } finally {
    stream.on("error", () => undefined);
    stream.cancel();
    client.close();
  }
}

const good: Caller = { token: "first", cluster: "Kubernetes" };
const unauthenticated = "UNAUTHENTICATED authentication failure";

test.each([
  ["the good token is served", good, 1],
  ["no token is refused", {}, unauthenticated],
  ["another token is refused", { ...good, token: "other" }, unauthenticated],
  ["another cluster is refused", { ...good, cluster: "elsewhere" }, unauthenticated],
  ["a name that is not the token's is refused", { ...good, account: "x" }, /^PERMISSION_DENIED /],
])("%s", async (_, caller, expected) => {
  const answer = await subscribe(caller);
  if (expected instanceof RegExp) expect(answer).toMatch(expected);
  else expect(answer).toBe(expected);
});

test("a token that was replaced is refused from then on", async () => {
  writeFileSync(tokenFile, "second\n");
  expect(await subscribe(good)).toBe(unauthenticated);
  expect(await subscribe({ ...good, token: "second" })).toBe(1);
  writeFileSync(tokenFile, "first\n");
});

test("a new certificate under the same root is taken, one under another root is not", async () => {
  const before = root();
  await istiod.rotate("leaf");
  expect(await subscribe({ ...good, root: before })).toBe(1);
  await istiod.rotate("root");
  expect(await subscribe({ ...good, root: before })).toMatch(/^UNAVAILABLE .*certificate/);
  expect(await subscribe(good)).toBe(1);
});
