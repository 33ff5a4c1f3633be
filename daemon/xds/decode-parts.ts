// Owns the way from the parts that workloads and services have in common on the wire to the model's, each kept once.
// Must not know of workloads, services or streams.

import type { VirtualAddress } from "../model/service.js";
import type { GatewayAddress, Locality, Port, WorkloadTraits } from "../model/workload.js";
import type { Checker } from "./checker.js";
import { Gathered } from "./gathered.js";
import { Interner } from "./interner.js";
import type { WireReader } from "./wire-reader.js";

/** The ports that a workload serves at one service, by its key. */
export type ServiceMapping = ReadonlyMap<string, readonly Port[]>;

const NO_BYTES = new Uint8Array();

/** What many resources have in common. One for the life of a client. */
export class SharedParts {
  readonly traits = new Interner<WorkloadTraits>();
  /** The fields of one workload that are its traits, as they came. */
  readonly rest = new Gathered();
  readonly localities = new Interner<Locality>();
  readonly mappings = new Interner<ServiceMapping>();
  readonly policies = new Interner<readonly string[]>();
  readonly #texts = new Interner<string>();

  /** A text that other resources have too. */
  text(reader: WireReader): string {
    const end = reader.open();
    const start = reader.position;
    reader.close(end);
    const known = this.#texts.find(reader.words, start, end, reader.field);
    return known ?? this.#newText(reader, start, end);
  }

  #newText({ bytes, words }: WireReader, start: number, end: number): string {
    return this.#texts.keep(words, start, end, bytes.toString("utf8", start, end));
  }
}

/** istio.workload.Port */
export function decodePort(reader: WireReader, path: string, check: Checker): Port {
  let servicePort = 0;
  let targetPort = 0;
  const end = reader.open();
  while (reader.next(end)) {
    switch (reader.field) {
      case 1:
        servicePort = reader.uint32();
        break;
      case 2:
        targetPort = reader.uint32();
        break;
      default:
        reader.skip();
    }
  }
  return {
    servicePort: check.servicePort(servicePort, `${path}.service_port`),
    targetPort: check.port(targetPort, `${path}.target_port`),
  };
}

/** istio.workload.NetworkAddress as one that a service has; a missing length means one address. */
export function decodeVirtual(
  reader: WireReader,
  path: string,
  check: Checker,
  shared: SharedParts,
): VirtualAddress {
  const { network, address, length } = decodeNetworkAddress(reader, shared);
  return { network, ...check.block(address, length ?? address.length * 8, path) };
}

function decodeNetworkAddress(reader: WireReader, shared: SharedParts) {
  let network = "";
  let address: Uint8Array = NO_BYTES;
  let length: number | undefined;
  const end = reader.open();
  while (reader.next(end)) {
    switch (reader.field) {
      case 1:
        network = shared.text(reader);
        break;
      case 2:
        address = reader.view();
        break;
      case 3:
        length = reader.uint32();
        break;
      default:
        reader.skip();
    }
  }
  return { network, address, length };
}

/** istio.workload.GatewayAddress: a waypoint or network gateway. */
export function decodeGateway(
  reader: WireReader,
  path: string,
  check: Checker,
  shared: SharedParts,
): GatewayAddress | undefined {
  let destination: GatewayAddress["destination"] | undefined;
  let hbonePort = 0;
  const end = reader.open();
  while (reader.next(end)) {
    switch (reader.field) {
      case 1:
        destination = decodeHostname(reader, shared);
        break;
      case 2: {
        const { network, address } = decodeNetworkAddress(reader, shared);
        destination = { kind: "address", network, address: check.address(address, `${path}.address`) };
        break;
      }
      case 3:
        hbonePort = check.port(reader.uint32(), `${path}.hbone_mtls_port`);
        break;
      default:
        reader.skip();
    }
  }
  if (destination !== undefined) return { destination, hbonePort };
  check.fail("missing", `${path} has no destination`);
  return undefined;
}

function decodeHostname(reader: WireReader, shared: SharedParts): GatewayAddress["destination"] {
  let namespace = "";
  let hostname = "";
  const end = reader.open();
  while (reader.next(end)) {
    switch (reader.field) {
      case 1:
        namespace = shared.text(reader);
        break;
      case 2:
        hostname = shared.text(reader);
        break;
      default:
        reader.skip();
    }
  }
  return { kind: "hostname", namespace, hostname };
}
