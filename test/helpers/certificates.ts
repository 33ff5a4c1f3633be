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
  /** As openssl spells it, default one of its own. */
  readonly subject?: string;
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

  /** `days` from now until the root expires, default 1; negative: it has expired. */
  constructor(directory: string, name: string, { days = 1 }: { readonly days?: number } = {}) {
    this.#directory = directory;
    this.#name = name;
    const extension = "basicConstraints=critical,CA:TRUE";
    this.root = this.#sign(name, `/O=${name}`, extension, days, ["-signkey", `${name}.key`]);
  }

  /** Signs a certificate for a new key. */
  issue({ names = "DNS:localhost,IP:127.0.0.1", days = 1, subject }: IssueOptions = {}): KeyPair {
    const name = `${this.#name}-${++this.#issued}`;
    const signer = ["-CA", this.root, "-CAkey", `${this.#name}.key`, "-set_serial", String(this.#issued)];
    const certificate = this.#sign(name, subject ?? `/O=${name}`, `subjectAltName=${names}`, days, signer);
    return { certificate, key: join(this.#directory, `${name}.key`) };
  }

  /** Makes a key and a certificate for it; gives the certificate's path. */
  #sign(name: string, subject: string, extension: string, days: number, signer: readonly string[]): string {
    const certificate = join(this.#directory, `${name}.pem`);
    writeFileSync(join(this.#directory, `${name}.ext`), `${extension}\n`);
    this.#openssl(
      "req",
      "-new",
      ...NEW_KEY,
      "-subj",
      subject,
      "-keyout",
      `${name}.key`,
      "-out",
      `${name}.csr`,
    );
    const request = ["-req", "-in", `${name}.csr`, "-extfile", `${name}.ext`, "-days", String(days)];
    this.#openssl("x509", ...request, ...signer, "-out", certificate);
    return certificate;
  }

  #openssl(...args: readonly string[]): void {
    execFileSync("openssl", args, { cwd: this.#directory, stdio: "pipe", timeout: 10_000 });
  }
}
