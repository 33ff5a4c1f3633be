// Owns the label sets of the traffic metrics, from ids to text. Must not know the counters.

import { Direction, Outcome, type TrafficKey, WorkloadId } from "../bpf/maps.gen.js";
import type { ResourcesById } from "../model/resource-ids.js";
import type { Service } from "../model/service.js";
import type { Workload } from "../model/workload.js";
import { label } from "./exposition.js";
import { NODE_NAME } from "./record.js";

/** What stands for an absent value: `-` in Kmesh's metrics, `unknown` in Istio's (Kiali looks for it). */
export type Absent = "-" | "unknown";

const RESPONSE_FLAGS: Readonly<Record<number, string>> = {
  [Outcome.OK]: "-",
  [Outcome.DENY]: "DENY",
  [Outcome.CONNECT]: "CONNECT",
  [Outcome.NO_ENDPOINT]: "NO_ENDPOINT",
  [Outcome.TIMEOUT]: "TIMEOUT",
  [Outcome.GIVEN_UP]: "GIVEN_UP",
};

/**
 * Writes the label set of traffic keys. Texts are made once a workload and service, not once a key: make a
 * labeller for each scrape, so that it sees present names.
 */
export class TrafficLabeller {
  readonly #names: ResourcesById;
  readonly #absent: Absent;
  readonly #sources = new Map<number, string>();
  readonly #destinations = new Map<number, string>();
  readonly #services = new Map<number, string>();

  constructor(names: ResourcesById, absent: Absent) {
    this.#names = names;
    this.#absent = absent;
  }

  /** Labels of SRC, SVC and DST in the words of the operator's surface, joined by commas. */
  labels(key: TrafficKey): string {
    const source = memo(this.#sources, key.source, (id) =>
      this.#workload("source", this.#names.workload(id), id === WorkloadId.NODE ? NODE_NAME : undefined),
    );
    const destination = memo(this.#destinations, key.destination, (id) =>
      this.#workload("destination", this.#names.workload(id)),
    );
    const service = memo(this.#services, key.service, (id) => this.#service(this.#names.service(id)));
    const reporter = key.direction === Direction.INBOUND ? "destination" : "source";
    const flags = RESPONSE_FLAGS[key.outcome] ?? "-";
    return (
      `reporter="${reporter}",${source},${service},${destination},request_protocol="tcp",` +
      `response_flags="${flags}",connection_security_policy="none"`
    );
  }

  #workload(
    side: "source" | "destination",
    workload: Workload | undefined,
    name = workload?.workloadName,
  ): string {
    const value = (text: string | undefined) => (text === undefined || text === "" ? this.#absent : text);
    return [
      label(`${side}_workload`, value(name)),
      label(`${side}_canonical_service`, value(workload?.canonicalName)),
      label(`${side}_canonical_revision`, value(workload?.canonicalRevision)),
      label(`${side}_workload_namespace`, value(workload?.namespace)),
      label(`${side}_principal`, workload === undefined ? this.#absent : principal(workload)),
      label(`${side}_app`, value(workload?.canonicalName)),
      label(`${side}_version`, value(workload?.canonicalRevision)),
      label(`${side}_cluster`, value(workload?.clusterId)),
    ].join(",");
  }

  #service(service: Service | undefined): string {
    return [
      label("destination_service", service?.hostname ?? this.#absent),
      label("destination_service_namespace", service?.namespace ?? this.#absent),
      label("destination_service_name", service?.name ?? this.#absent),
    ].join(",");
  }
}

/** SPIFFE name of the identity that policies judge. */
function principal(workload: Pick<Workload, "trustDomain" | "namespace" | "serviceAccount">): string {
  return `spiffe://${workload.trustDomain}/ns/${workload.namespace}/sa/${workload.serviceAccount}`;
}

function memo(cache: Map<number, string>, id: number, make: (id: number) => string): string {
  const known = cache.get(id);
  if (known !== undefined) return known;
  const made = make(id);
  cache.set(id, made);
  return made;
}
