// Owns what TLS needs from files: the mesh's root certificate and the service account's token, read anew each time.
// Must not know gRPC.

import { X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { messageOf } from "../base/errors.js";

type Read<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly reason: string };

/** What a server's certificate must lead to. */
export interface Root {
  /** The file as it is: one certificate or several. */
  readonly pem: Buffer;
  /** Unix milliseconds from which on none of its certificates is valid any more. */
  readonly expires: number;
}

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

/** Reads PEM. Fails with a clause that names the file. */
export function readRoot(file: string): Read<Root> {
  let pem: Buffer;
  try {
    pem = readFileSync(file);
  } catch (error) {
    return { ok: false, reason: `the root certificate ${file} cannot be read (${messageOf(error)})` };
  }
  const certificates = pem.toString("latin1").match(CERTIFICATE) ?? [];
  if (certificates.length === 0) {
    return { ok: false, reason: `${file} holds no certificate: expected PEM` };
  }
  try {
    const ends = certificates.map((text) => Date.parse(new X509Certificate(text).validTo));
    return { ok: true, value: { pem, expires: Math.max(...ends) } };
  } catch (error) {
    return { ok: false, reason: `${file} holds a certificate that cannot be read (${messageOf(error)})` };
  }
}

/** What proves to the control plane who is asking. */
export interface Token {
  readonly value: string;
  /** Unix milliseconds; absent where the token does not tell. Not verified: that is the server's part. */
  readonly expires: number | undefined;
}

/** Reads a token, a JWT as a rule. Fails with a clause that names the file. */
export function readToken(file: string): Read<Token> {
  let value: string;
  try {
    value = readFileSync(file, "utf8").trim();
  } catch (error) {
    return { ok: false, reason: `the token ${file} cannot be read (${messageOf(error)})` };
  }
  if (value === "") return { ok: false, reason: `the token ${file} is empty` };
  // It becomes a header, where anything else would be an exception of the HTTP/2 library.
  if (!/^[\x21-\x7e]+$/.test(value)) return { ok: false, reason: `${file} holds no token` };
  return { ok: true, value: { value, expires: expiryOf(value) } };
}

/** RFC 7519, section 4.1.4. */
function expiryOf(token: string): number | undefined {
  try {
    const claims: unknown = JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString("utf8"));
    if (typeof claims !== "object" || claims === null || !("exp" in claims)) return undefined;
    return typeof claims.exp === "number" ? claims.exp * 1000 : undefined;
  } catch {
    return undefined;
  }
}
