// Owns who is who in a cluster: an authority, the certificates under it, and kubeconfig files with them.
// Must not know what they are for.

import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Authority, type KeyPair } from "../helpers/certificates.js";

export interface CredentialsOptions {
  /** The API server, for all kubeconfig files. */
  readonly url: string;
  /** The API server's addresses. */
  readonly addresses: readonly string[];
  readonly nodes: readonly string[];
}

const USERS = {
  admin: "/O=system:masters/CN=admin",
  "controller-manager": "/CN=system:kube-controller-manager",
  scheduler: "/CN=system:kube-scheduler",
  proxy: "/CN=system:kube-proxy",
};

export class Credentials {
  /** PEM file of the root. */
  readonly authority: string;
  /** The API server's, to its clients and to kubelets. */
  readonly server: KeyPair;
  readonly toKubelets: KeyPair;
  /** Its key signs the tokens of service accounts. */
  readonly accounts: KeyPair;
  readonly #directory: string;

  /** Makes the directory and everything in it. Blocks, about a second. */
  constructor(directory: string, { url, addresses, nodes }: CredentialsOptions) {
    mkdirSync(directory, { recursive: true });
    this.#directory = directory;
    const authority = new Authority(directory, "cluster");
    this.authority = authority.root;
    const names = [
      ...addresses.map((address) => `IP:${address}`),
      ...["kubernetes", "kubernetes.default", "kubernetes.default.svc"].map((name) => `DNS:${name}`),
    ];
    this.server = authority.issue({ subject: "/CN=kube-apiserver", names: names.join(",") });
    this.toKubelets = authority.issue({ subject: "/O=system:masters/CN=kube-apiserver" });
    this.accounts = authority.issue({ subject: "/CN=service-accounts" });
    const users = Object.entries(USERS);
    for (const node of nodes) users.push([node, `/O=system:nodes/CN=system:node:${node}`]);
    for (const [name, subject] of users) this.#write(name, url, authority.issue({ subject }));
  }

  /** Path of the kubeconfig of admin, controller-manager, scheduler, proxy, or a node by its name. */
  kubeconfig(name: string): string {
    return join(this.#directory, `${name}.kubeconfig`);
  }

  #write(name: string, url: string, { certificate, key }: KeyPair): void {
    const config = {
      ...{ apiVersion: "v1", kind: "Config", "current-context": "test" },
      clusters: [{ name: "test", cluster: { server: url, "certificate-authority": this.authority } }],
      users: [{ name, user: { "client-certificate": certificate, "client-key": key } }],
      contexts: [{ name: "test", context: { cluster: "test", user: name } }],
    };
    writeFileSync(this.kubeconfig(name), JSON.stringify(config));
  }
}
