// Owns the label sets of the traffic metrics, from numbers to text. Must not know the counters.

import { formatHostPort } from "../base/parse.js";
import {
  type ConnectionIdentity,
  Direction,
  LabelKind,
  Outcome,
  Party,
  type PodTrafficKey,
  PolicyId,
  type TrafficKey,
  WorkloadId,
} from "../bpf/maps.gen.js";
import { addressFromKeyBytes } from "../model/address.js";
import { type Party as Labels, partyOf, podOf, policyOf, serviceOf } from "../model/label-text.js";
import { policyKey } from "../model/policy.js";
import { label } from "./exposition.js";
import type { LabelBook } from "./label-book.js";
import { NODE_NAME, UNKNOWN_POLICY, utc } from "./record.js";

/** What stands for an absent value: `-` in Kmesh's metrics, `unknown` in Istio's (Kiali looks for it). */
export type Absent = "-" | "unknown";

/** What is counted together because there was no room for another series. */
const OVERFLOW_NAME = "overflow";

const RESPONSE_FLAGS: Readonly<Record<number, string>> = {
  [Outcome.OK]: "-",
  [Outcome.DENY]: "DENY",
  [Outcome.CONNECT]: "CONNECT",
  [Outcome.NO_ENDPOINT]: "NO_ENDPOINT",
  [Outcome.TIMEOUT]: "TIMEOUT",
  [Outcome.GIVEN_UP]: "GIVEN_UP",
};

const NOBODY: Labels = partyOf("");
const RESERVED_PARTIES: ReadonlyMap<number, Labels> = new Map([
  [WorkloadId.UNKNOWN, NOBODY],
  [WorkloadId.NODE, { ...NOBODY, workload: NODE_NAME }],
  [Party.OVERFLOW, { ...NOBODY, workload: OVERFLOW_NAME }],
]);
const RESERVED_POLICIES: ReadonlyMap<number, string> = new Map([
  [0, "-"],
  [PolicyId.UNKNOWN, UNKNOWN_POLICY],
  [PolicyId.OVERFLOW, OVERFLOW_NAME],
]);

type Ends = Pick<TrafficKey, "sourceParty" | "destinationParty" | "direction" | "outcome">;

/** The numbers in a key of a series of connections that labels are made of. */
export function numbersIn({
  sourceParty,
  destinationParty,
  service,
  pod,
}: Pick<Ends, "sourceParty" | "destinationParty"> & {
  readonly service?: number;
  readonly pod?: number;
}): readonly (readonly [LabelKind, number])[] {
  return [
    [LabelKind.PARTY, sourceParty],
    [LabelKind.PARTY, destinationParty],
    [LabelKind.SERVICE, service ?? 0],
    [LabelKind.POD, pod ?? 0],
  ];
}

/** Labels by number. What nobody knows yet is undefined: it is not shown until somebody does. */
export class Labeller {
  readonly #book: LabelBook;

  constructor(book: LabelBook) {
    this.#book = book;
  }

  /** When it changes, labels that were read before may be others'. */
  get renewals(): number {
    return this.#book.renewals;
  }

  /** Labels of SRC, SVC and DST in the words of the operator's surface, joined by commas. */
  traffic(key: TrafficKey, absent: Absent): string | undefined {
    return joined(
      this.#source(key, absent),
      this.#service(key.service, absent),
      this.#destination(key, absent),
    );
  }

  /** Of SRC, POD and DST. */
  podTraffic(key: PodTrafficKey): string | undefined {
    return joined(this.#source(key, "-"), this.#pod(key.pod), this.#destination(key, "-"));
  }

  /** Of SRC, POD, SVC and DST, and those of the connection alone. */
  connection(identity: ConnectionIdentity): string | undefined {
    const key = { ...identity, outcome: Outcome.OK };
    const { date, time, nanoseconds } = utc(identity.startedNs);
    const { sourceAddress, sourcePort, destinationAddress, destinationPort } = identity;
    const own = [
      label("start_time", `${date} ${time}.${nanoseconds} +0000 UTC`),
      label("source_address", socketText(sourceAddress, sourcePort)),
      label("destination_address", socketText(destinationAddress, destinationPort)),
    ];
    const [pod, service] = [this.#pod(identity.pod), this.#service(identity.service, "-")];
    return joined(this.#source(key, "-"), pod, service, this.#destination(key, "-"), ...own);
  }

  /** Labels of who a policy judged. */
  hit(policy: number, destination: number): string | undefined {
    const name = RESERVED_POLICIES.get(policy) ?? this.#policy(policy);
    const workload = this.party(destination);
    if (name === undefined || workload === undefined) return undefined;
    return [
      label("policy", name),
      label("destination_workload", workload.workload || "-"),
      label("destination_workload_namespace", workload.namespace || "-"),
    ].join(",");
  }

  party(id: number): Labels | undefined {
    const reserved = RESERVED_PARTIES.get(id);
    if (reserved !== undefined) return reserved;
    const text = this.#book.text(LabelKind.PARTY, id);
    return text === undefined ? undefined : partyOf(text);
  }

  #policy(id: number): string | undefined {
    const text = this.#book.text(LabelKind.POLICY, id);
    return text === undefined ? undefined : policyKey(policyOf(text));
  }

  #source({ sourceParty, direction }: Ends, absent: Absent): string | undefined {
    const party = this.party(sourceParty);
    const reporter = direction === Direction.INBOUND ? "destination" : "source";
    return party && `reporter="${reporter}",${partyLabels("source", party, absent)}`;
  }

  #destination({ destinationParty, outcome }: Ends, absent: Absent): string | undefined {
    const party = this.party(destinationParty);
    const flags = RESPONSE_FLAGS[outcome] ?? "-";
    return (
      party &&
      `${partyLabels("destination", party, absent)},request_protocol="tcp",` +
        `response_flags="${flags}",connection_security_policy="none"`
    );
  }

  #service(id: number, absent: Absent): string | undefined {
    const text = id === 0 ? "" : this.#book.text(LabelKind.SERVICE, id);
    return text === undefined ? undefined : serviceLabels(serviceOf(text), absent);
  }

  #pod(id: number): string | undefined {
    const text = RESERVED_PARTIES.has(id) ? "" : this.#book.text(LabelKind.POD, id);
    if (text === undefined) return undefined;
    const { namespace, name, address } = podOf(text);
    return [
      label("destination_pod_address", address || "-"),
      label("destination_pod_namespace", namespace || "-"),
      label("destination_pod_name", name || "-"),
    ].join(",");
  }
}

/** undefined where one of them is. */
function joined(...parts: readonly (string | undefined)[]): string | undefined {
  return parts.includes(undefined) ? undefined : parts.join(",");
}

function socketText(address: Uint8Array, port: number): string {
  return formatHostPort({ host: addressFromKeyBytes(address), port });
}

function partyLabels(side: "source" | "destination", party: Labels, absent: Absent): string {
  const value = (text: string) => (text === "" ? absent : text);
  return [
    label(`${side}_workload`, value(party.workload)),
    label(`${side}_canonical_service`, value(party.canonicalName)),
    label(`${side}_canonical_revision`, value(party.canonicalRevision)),
    label(`${side}_workload_namespace`, value(party.namespace)),
    label(`${side}_principal`, party.serviceAccount === "" ? absent : principal(party)),
    label(`${side}_app`, value(party.canonicalName)),
    label(`${side}_version`, value(party.canonicalRevision)),
    label(`${side}_cluster`, value(party.cluster)),
  ].join(",");
}

function serviceLabels(service: ReturnType<typeof serviceOf>, absent: Absent): string {
  return [
    label("destination_service", service.hostname || absent),
    label("destination_service_namespace", service.namespace || absent),
    label("destination_service_name", service.name || absent),
  ].join(",");
}

/** SPIFFE name of the identity that policies judge. */
function principal({ trustDomain, namespace, serviceAccount }: Labels): string {
  return `spiffe://${trustDomain}/ns/${namespace}/sa/${serviceAccount}`;
}
