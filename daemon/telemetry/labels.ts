// Owns the label sets of the traffic metrics, from numbers to text. Must not know the counters.

import {
  Direction,
  LabelKind,
  Outcome,
  Party,
  PolicyId,
  type TrafficKey,
  WorkloadId,
} from "../bpf/maps.gen.js";
import { type Party as Labels, partyOf, policyOf, serviceOf } from "../model/label-text.js";
import { policyKey } from "../model/policy.js";
import { label } from "./exposition.js";
import type { LabelBook } from "./label-book.js";
import { NODE_NAME, UNKNOWN_POLICY } from "./record.js";

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

/** Labels by number. What nobody knows yet is undefined: it is not shown until somebody does. */
export class Labeller {
  readonly #book: LabelBook;

  constructor(book: LabelBook) {
    this.#book = book;
  }

  /** Labels of SRC, SVC and DST in the words of the operator's surface, joined by commas. */
  traffic(key: TrafficKey, absent: Absent): string | undefined {
    const source = this.party(key.sourceParty);
    const destination = this.party(key.destinationParty);
    const service = this.#service(key.service);
    if (source === undefined || destination === undefined || service === undefined) return undefined;
    const reporter = key.direction === Direction.INBOUND ? "destination" : "source";
    const flags = RESPONSE_FLAGS[key.outcome] ?? "-";
    return (
      `reporter="${reporter}",${partyLabels("source", source, absent)},${serviceLabels(service, absent)},` +
      `${partyLabels("destination", destination, absent)},request_protocol="tcp",` +
      `response_flags="${flags}",connection_security_policy="none"`
    );
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

  #service(id: number): ReturnType<typeof serviceOf> | undefined {
    const text = id === 0 ? "" : this.#book.text(LabelKind.SERVICE, id);
    return text === undefined ? undefined : serviceOf(text);
  }
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
