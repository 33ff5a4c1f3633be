// Owns who was seen talking to which enrolled pod: by the connections that are open, the records of the access log, and
// the counters. Must not know policies.

import type { AuthzTrial } from "../../admin/answers.js";
import { textOfBytes } from "../../base/byte-text.js";
import { describe } from "../../base/errors.js";
import { inSlices } from "../../base/slices.js";
import { Direction, InboundConnection, WorkloadId } from "../../bpf/maps.gen.js";
import type { OpenConnections } from "../../bpf/scratch.js";
import { addressFromKeyBytes, isIpv4Text } from "../../model/address.js";
import type { Workload } from "../../model/workload.js";
import { localOwners } from "../explain.js";
import type { Parts } from "../parts.js";

/** Pairs that are looked at. */
const MOST = 16_384;

export interface SeenPair {
  /** Of the pod that is connected to. */
  readonly cookie: bigint;
  /** Canonical text. */
  readonly source: string;
  readonly destination: string;
  /** undefined: nobody knows it. */
  readonly port: number | undefined;
  readonly seen: "open" | "logged" | "counted";
}

export interface Seen {
  readonly pairs: readonly SeenPair[];
  readonly looked: AuthzTrial["looked"];
  readonly notes: readonly string[];
}

type Asked = Pick<Parts, "store" | "pods" | "compiler" | "dataplane" | "seen" | "accessLog">;

/** Looks once. Counters speak of all the time since the node has them. */
export async function seenPairs(parts: Asked): Promise<Seen> {
  const notes: string[] = [];
  const listed = await parts.dataplane.connections((error) => notes.push(describe(error)));
  if (!listed.ok) notes.push(`open connections could not be listed: ${describe(listed.error)}`);
  const gathering = new Gathering(parts);
  await inSlices(gathering.take(listed.ok ? listed.value : []));
  return { pairs: [...gathering.pairs.values()], looked: gathering.looked, notes };
}

class Gathering {
  readonly pairs = new Map<string, SeenPair>();
  readonly looked;
  readonly #parts: Asked;
  /** Cookies of the enrolled pods, by uid and by address of their workloads. */
  readonly #byUid = new Map<string, bigint>();
  readonly #byAddress = new Map<string, bigint>();
  /** Cookie and uid of pairs whose ports are known. */
  readonly #known = new Set<string>();

  constructor(parts: Asked) {
    this.#parts = parts;
    this.looked = {
      open: 0,
      logged: 0,
      loggedSince: parts.seen.since?.toISOString() ?? null,
      logEnabled: parts.accessLog.enabled,
      counted: 0,
      byNode: 0,
      unnamed: 0,
      omitted: 0,
    };
    for (const { cookie, namespace, name } of parts.pods.enrolled)
      for (const workload of parts.store.podWorkloads(namespace, name)) {
        this.#byUid.set(workload.uid, cookie);
        for (const address of workload.addresses) this.#byAddress.set(address, cookie);
      }
  }

  *take(listed: readonly OpenConnections[]): Generator<void, void> {
    for (const { cookie, connections } of listed) yield* this.#takeOpen(cookie, connections);
    for (const { source, destination, port } of this.#parts.seen.values()) {
      const cookie = this.#byAddress.get(destination);
      if (cookie !== undefined) this.#add({ cookie, source, destination, port, seen: "logged" });
      yield;
    }
    yield* this.#takeCounted();
  }

  *#takeOpen(cookie: bigint, connections: Buffer): Generator<void, void> {
    const isExempt = this.#parts.dataplane.settings.authzNode === 1;
    const once = new Set<string>();
    for (let at = 0; at < connections.length; at += InboundConnection.size) {
      yield;
      const key = textOfBytes(connections.subarray(at, at + InboundConnection.size));
      if (once.has(key)) continue;
      once.add(key);
      const { sourceAddress, destinationAddress, port, byNode } = InboundConnection.decode(connections, at);
      if (byNode !== 0 && isExempt) {
        this.looked.byNode++;
        continue;
      }
      const source = addressFromKeyBytes(sourceAddress);
      const destination = addressFromKeyBytes(destinationAddress);
      this.#add({ cookie, source, destination, port, seen: "open" });
    }
  }

  /** Counters know workloads and no ports: they add only those of whom nothing else tells. */
  *#takeCounted(): Generator<void, void> {
    const { dataplane, compiler, store } = this.#parts;
    const { parties } = compiler;
    const members = new Map<number, Workload[]>();
    for (const workload of store.workloads.values()) {
      const party = parties.ofWorkload(workload.uid);
      const others = members.get(party);
      if (others === undefined) members.set(party, [workload]);
      else others.push(workload);
      yield;
    }
    const once = new Set<string>();
    for (const { key } of dataplane.counters.traffic()) {
      yield;
      if (key.direction !== Direction.INBOUND) continue;
      const pair = `${key.sourceParty} ${key.destinationParty}`;
      const guarded = members.get(key.destinationParty)?.filter(({ uid }) => this.#byUid.has(uid)) ?? [];
      if (once.has(pair) || guarded.length === 0) continue;
      once.add(pair);
      if (key.sourceParty === WorkloadId.NODE && dataplane.settings.authzNode === 1) {
        this.looked.byNode++;
        continue;
      }
      for (const destination of guarded) this.#addCounted(members.get(key.sourceParty) ?? [], destination);
    }
  }

  /** One of those that are counted alike stands for all: policies that name identities judge them alike. */
  #addCounted(sources: readonly Workload[], destination: Workload): void {
    const cookie = this.#byUid.get(destination.uid);
    const [source] = sources;
    const ends = source && addressesOfOneFamily(source, destination);
    if (ends === undefined) this.looked.unnamed++;
    else if (cookie !== undefined && !sources.some(({ uid }) => this.#known.has(`${cookie} ${uid}`)))
      this.#add({ cookie, ...ends, port: undefined, seen: "counted" });
  }

  #add(pair: SeenPair): void {
    const key = `${pair.cookie} ${pair.source} ${pair.destination} ${pair.port}`;
    if (this.pairs.has(key)) return;
    if (this.pairs.size >= MOST) {
      this.looked.omitted++;
      return;
    }
    this.pairs.set(key, pair);
    this.looked[pair.seen]++;
    const [owner] = localOwners(this.#parts, pair.source);
    if (owner !== undefined) this.#known.add(`${pair.cookie} ${owner.uid}`);
  }
}

function addressesOfOneFamily(
  from: Workload,
  to: Workload,
): { readonly source: string; readonly destination: string } | undefined {
  for (const source of from.addresses) {
    const destination = to.addresses.find((address) => isIpv4Text(address) === isIpv4Text(source));
    if (destination !== undefined) return { source, destination };
  }
  return undefined;
}
