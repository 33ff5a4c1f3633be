// Owns what a client holds of one resource type: names and versions, and how they are listed on a new stream.
// Must not know of streams or of the resources' content.

/** istiod's limit for a request: above it the stream ends with ResourceExhausted, every time. */
export const MAX_REQUEST_BYTES = 4 * 1024 * 1024;

/** Room left for the rest of the request: node, type, framing. */
const RESERVED_BYTES = 16 * 1024;

/** The server's version; or a hash of our own where it sends none, which it must not be told. */
export type HeldVersion = string | { readonly hash: string };

/**
 * Of a rejected policy in whose place a stand-in is enforced. No resource has it, so that whatever comes next is
 * decoded; listed as "", the server sends it again or says that it is gone.
 */
export const STAND_IN: HeldVersion = { hash: "" };

/** True when both are the server's or both our own, and the same. */
export function sameVersion(a: HeldVersion | undefined, b: HeldVersion): boolean {
  if (typeof a === "object" && typeof b === "object") return a.hash === b.hash;
  return a === b;
}

/** Names of one type, with the version of each as it was last applied. */
export class HeldVersions {
  #versions = new Map<string, HeldVersion>();

  get size(): number {
    return this.#versions.size;
  }

  names(): IterableIterator<string> {
    return this.#versions.keys();
  }

  get(name: string): HeldVersion | undefined {
    return this.#versions.get(name);
  }

  /** Names in whose place a stand-in is enforced. */
  standIns(): string[] {
    return [...this.#versions].filter(([, version]) => version === STAND_IN).map(([name]) => name);
  }

  /** Takes the versions of all names but `except`. The map given is not the caller's any more. */
  record(versions: Map<string, HeldVersion>, except: ReadonlySet<string>): void {
    for (const name of except) versions.delete(name);
    // The first response has as many as there will be.
    if (this.#versions.size === 0) this.#versions = versions;
    else for (const [name, version] of versions) this.#versions.set(name, version);
  }

  delete(name: string): void {
    this.#versions.delete(name);
  }

  /**
   * `initial_resource_versions`: the server then sends what differs, and removals. A version that is not the
   * server's is listed as "". `undefined` when the request would exceed `limit` bytes.
   */
  list(limit = MAX_REQUEST_BYTES): Map<string, string> | undefined {
    let bytes = RESERVED_BYTES;
    for (const [name, version] of this.#versions) {
      bytes += entryBytes(name, told(version));
      if (bytes > limit) return undefined;
    }
    return new Map([...this.#versions].map(([name, version]) => [name, told(version)]));
  }
}

function told(version: HeldVersion): string {
  return typeof version === "string" ? version : "";
}

/** Bytes of one entry of a map<string, string>: a tag and a length around two fields, each with both again. */
function entryBytes(key: string, value: string): number {
  const content = fieldBytes(key) + fieldBytes(value);
  return 1 + varintBytes(content) + content;
}

function fieldBytes(text: string): number {
  const bytes = Buffer.byteLength(text);
  return 1 + varintBytes(bytes) + bytes;
}

function varintBytes(value: number): number {
  let bytes = 1;
  for (let rest = value; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes++;
  return bytes;
}
