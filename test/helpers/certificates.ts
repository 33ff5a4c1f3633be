// Owns certificates made for a test: an authority and what it signs, by the openssl command.
// Must not know who shows or checks them.

import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";

/** PEM files. */
export interface KeyPair {
  readonly certificate: string;
  readonly key: string;
}

export interface IssueOptions {
  /** Subject alternative names as openssl spells them, default `DNS:localhost,IP:127.0.0.1`. */
  readonly names?: string;
  /** Days from now until it expires, default 1; negative: it has expired. */
  readonly days?: number;
}

const NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];

/** A certificate authority whose files are `<directory>/<name>.pem` and `.key`. */
export class Authority {
  readonly root: string;
  readonly #directory: string;
  readonly #name: string;
  #issued = 0;

  constructor(directory: string, name: string, options: { readonly days?: number } = {}) {
    this.#directory = directory;
    this.#name = name;
    this.root = join(directory, `${name}.pem`);
    const lifetime = ["-days", String(options.days ?? 1)];
    const files = ["-keyout", `${name}.key`, "-out", `${name}.pem`];
    this.#openssl("req", "-x509", ...NEW_KEY, "-subj", `/O=${name}`, ...lifetime, ...files);
  }

  /** Signs a certificate for a new key. */
  issue({ names = "DNS:localhost,IP:127.0.0.1", days = 1 }: IssueOptions = {}): KeyPair {
    const leaf = `${this.#name}-${++this.#issued}`;
    writeFileSync(join(this.#directory, `${leaf}.ext`), `subjectAltName=${names}\n`);
    this.#openssl(
      "req",
      "-new",
      ...NEW_KEY,
      "-subj",
      "/O=server",
      "-keyout",
      `${leaf}.key`,
      "-out",
      `${leaf}.csr`,
    );
    const signer = ["-CA", this.root, "-CAkey", `${this.#name}.key`, "-set_serial", String(this.#issued)];
    const extensions = ["-extfile", `${leaf}.ext`, "-out", `${leaf}.pem`];
    this.#openssl("x509", "-req", "-in", `${leaf}.csr`, ...signer, "-days", String(days), ...extensions);
    return { certificate: join(this.#directory, `${leaf}.pem`), key: join(this.#directory, `${leaf}.key`) };
  }

  #openssl(...args: readonly string[]): void {
    execFileSync("openssl", args, { cwd: this.#directory, stdio: "pipe", timeout: 10_000 });
  }
}
