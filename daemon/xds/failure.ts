// Owns the words for what goes wrong between weftd and the control plane: gRPC's text in, cause and advice out.
// Must not know streams or files.

import { status } from "@grpc/grpc-js";
import { messageOf, type WeftError, xdsRefused, xdsTlsFailed, xdsTokenRefused } from "../base/errors.js";
import { limitIn } from "../base/exhausted.js";

/** What was attempted. */
export interface Attempt {
  /** `host:port`. */
  readonly address: string;
  /** Absent: plain text. */
  readonly tls?:
    | {
        readonly serverName: string;
        readonly rootCertFile: string;
        readonly tokenFile: string;
        /** Unix milliseconds. */
        readonly rootExpires: number;
        readonly tokenExpires: number | undefined;
      }
    | undefined;
}

/** The code and text of gRPC's error, or of anything else thrown. */
export interface GrpcFailure {
  readonly code: number | undefined;
  /** Without the code that gRPC puts before it, without times and line ends: equal causes, equal text. */
  readonly text: string;
}

export function grpcFailure(thrown: unknown): GrpcFailure {
  const { code, details } = (typeof thrown === "object" && thrown !== null ? thrown : {}) as {
    code?: unknown;
    details?: unknown;
  };
  const text = typeof details === "string" && details !== "" ? details : messageOf(thrown);
  return {
    code: typeof code === "number" ? code : undefined,
    text: text
      .replace(/^No connection established\. Last error: (.*)\. Resolution note: .*$/s, "$1")
      .replace(/^Error(?: \[\w+\])?: /, "")
      // Node 24's own advice: ours names the setting.
      .replace(/; if the root CA is installed locally, try running Node\.js with --use-system-ca/, "")
      .replace(/ \(\d{4}-\d\d-\d\dT[\d:.]+Z\)/, "")
      .replace(/\s+/g, " ")
      .trim(),
  };
}

/** The limit in bytes that a request exceeded; `undefined` for every other failure. */
export function requestLimit({ code, text }: GrpcFailure): number | undefined {
  if (code !== status.RESOURCE_EXHAUSTED) return undefined;
  const limit = /larger than max \(\d+ vs\.? (\d+)\)/.exec(text)?.[1];
  return limit === undefined ? undefined : Number(limit);
}

/** Why there is no stream, in one line that names the cause. `now` is Unix milliseconds. */
export function explain(failure: GrpcFailure, attempt: Attempt, now = Date.now()): WeftError {
  const { address, tls } = attempt;
  if (failure.code !== undefined && failure.code !== status.UNAVAILABLE) {
    return explainAnswer(failure, attempt, now);
  }
  if (tls !== undefined) {
    const reason = explainTls(failure.text, tls, now);
    if (reason !== undefined) return xdsTlsFailed(address, reason);
  }
  return explainConnection(failure.text, attempt);
}

/** The control plane has answered, with a refusal. */
function explainAnswer({ code, text }: GrpcFailure, { address, tls }: Attempt, now: number): WeftError {
  if (text.includes("PILOT_ENABLE_AMBIENT")) {
    return xdsRefused(address, `istiod runs without ambient: set PILOT_ENABLE_AMBIENT=true in it (${text})`);
  }
  switch (code) {
    case status.UNAUTHENTICATED: {
      if (tls === undefined) {
        return xdsTokenRefused(
          address,
          `it wants a token, which is sent over TLS only: use its TLS port (${text})`,
        );
      }
      const { tokenFile, tokenExpires } = tls;
      const why =
        tokenExpires !== undefined && tokenExpires <= now
          ? `the token ${tokenFile} expired at ${new Date(tokenExpires).toISOString()}: is it a projected one, which the kubelet renews?`
          : `it refused the token ${tokenFile}: is the audience istio-ca, and does it know the cluster that --cluster-id names?`;
      return xdsTokenRefused(address, `${why} (${text})`);
    }
    case status.PERMISSION_DENIED:
      return xdsTokenRefused(
        address,
        `it does not let this node in: the token must be one of --pod-namespace, and of --service-account if that is set (${text})`,
      );
    case status.UNIMPLEMENTED:
      return xdsRefused(address, `it speaks gRPC, but not xDS: check the port of --xds-address (${text})`);
    case status.INVALID_ARGUMENT:
      return xdsRefused(
        address,
        `it does not accept how this node introduces itself: check --pod-name, --pod-namespace and --pod-address (${text})`,
      );
    default:
      return xdsRefused(address, `it answered ${status[code ?? status.UNKNOWN] ?? code}: ${text}`);
  }
}

/** `undefined` when it is no matter of TLS. */
function explainTls(text: string, tls: NonNullable<Attempt["tls"]>, now: number): string | undefined {
  const { serverName, rootCertFile, rootExpires } = tls;
  const names = /is not in the cert's (?:altnames|list): (.*)$/.exec(text)?.[1];
  if (names !== undefined) {
    return `its certificate is for ${names}, not for ${serverName}: name one of them with --xds-server-name`;
  }
  if (/does not match certificate|Cert does not contain a DNS name/.test(text)) {
    return `its certificate is not for ${serverName}: name another with --xds-server-name (${text})`;
  }
  if (text.includes("certificate has expired")) {
    return rootExpires <= now
      ? `the root certificate ${rootCertFile} expired at ${new Date(rootExpires).toISOString()}`
      : "its certificate has expired: renew it there, or check this node's clock";
  }
  if (text.includes("certificate is not yet valid")) {
    return "its certificate is not valid yet: check the clocks of both sides";
  }
  if (/unable to (verify|get)|self[- ]signed certificate|certificate signature failure/.test(text)) {
    return `its certificate is not signed by ${rootCertFile}: is that the root of this mesh? (${text})`;
  }
  if (/wrong version number|packet length too long/.test(text)) {
    return "it does not speak TLS: is this its plain-text port? then set --xds-tls=false";
  }
  if (text.includes("secure TLS connection")) {
    return "it ended the connection during the TLS handshake: check the port of --xds-address";
  }
  return /SSL routines|alert/.test(text) ? `the TLS handshake failed (${text})` : undefined;
}

function explainConnection(text: string, { address, tls }: Attempt): WeftError {
  if (text.startsWith("Name resolution failed")) {
    return xdsRefused(address, "its name does not resolve: check --xds-address and this node's DNS");
  }
  if (text.includes("ECONNREFUSED")) {
    return xdsRefused(address, "nothing listens there: check --xds-address, and that the control plane runs");
  }
  if (/EHOSTUNREACH|ENETUNREACH|ETIMEDOUT|^no answer/.test(text)) {
    return xdsRefused(address, `it cannot be reached: check routes and firewalls (${text})`);
  }
  if (/^(Protocol error|Failed to connect|Connection closed before|Socket closed)/.test(text)) {
    return tls === undefined
      ? xdsRefused(
          address,
          "what listens there speaks no plain gRPC: is this its TLS port? then set --xds-tls",
        )
      : xdsRefused(address, "what listens there speaks TLS, but not gRPC: check the port of --xds-address");
  }
  const limit = limitIn(text);
  return xdsRefused(address, limit === undefined ? text : `${limit} (${text})`);
}
