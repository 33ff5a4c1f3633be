// Owns what weft knows of one workload. Pure data: must not know where it came from or what is made of it.

import { fnv1aOfText } from "../base/fnv1a.js";

/** Weight of a workload that names none (Workload.capacity absent). */
export const DEFAULT_CAPACITY = 1;

export type TunnelProtocol = "NONE" | "HBONE" | "LEGACY_ISTIO_MTLS";
export type WorkloadType = "DEPLOYMENT" | "CRONJOB" | "POD" | "JOB";
export type NetworkMode = "STANDARD" | "HOST_NETWORK";
export type HealthStatus = "HEALTHY" | "UNHEALTHY";

/** Where something runs; empty strings when unknown. */
export interface Locality {
  readonly region: string;
  readonly zone: string;
  readonly subzone: string;
}

/** An address on a named network; `network` is "" for the local one. */
export interface NetworkAddress {
  readonly network: string;
  /** Canonical text: dotted IPv4 (also for ::ffff:a.b.c.d) or RFC 5952 IPv6. */
  readonly address: string;
}

/** A waypoint or network gateway, named by service or by address. */
export interface GatewayAddress {
  readonly destination:
    | { readonly kind: "hostname"; readonly namespace: string; readonly hostname: string }
    | ({ readonly kind: "address" } & NetworkAddress);
  /** 0 when not given. */
  readonly hbonePort: number;
}

/** One port as a service or a workload's service mapping lists it. Ports are 0-65535, host order. */
export interface Port {
  readonly servicePort: number;
  /** 0: named port, only endpoints with a mapping of their own serve it. */
  readonly targetPort: number;
}

/** What a workload has of its own. */
export interface WorkloadOwn {
  /** Primary key, equal to the resource name. */
  readonly uid: string;
  readonly name: string;
  /** Canonical text, in the order sent; empty when `hostname` is to be resolved. */
  readonly addresses: readonly string[];
  readonly node: string;
  readonly locality: Locality;
  readonly status: HealthStatus;
  /** `addresses` are what its host name stands for: it is reached at any of them. */
  readonly isFoundByName: boolean;
}

/** What the replicas of a deployment have in common. */
export interface WorkloadTraits {
  readonly namespace: string;
  readonly hostname: string;
  readonly network: string;
  readonly networkMode: NetworkMode;
  readonly tunnelProtocol: TunnelProtocol;
  readonly nativeTunnel: boolean;
  readonly trustDomain: string;
  readonly serviceAccount: string;
  readonly waypoint: GatewayAddress | undefined;
  readonly networkGateway: GatewayAddress | undefined;
  readonly workloadType: WorkloadType;
  readonly workloadName: string;
  readonly canonicalName: string;
  readonly canonicalRevision: string;
  readonly clusterId: string;
  readonly capacity: number;
  /** `<namespace>/<name>` of the selector policies that apply. */
  readonly authorizationPolicies: readonly string[];
  /** Service key `<namespace>/<hostname>` -> the ports this workload serves there. */
  readonly services: ReadonlyMap<string, readonly Port[]>;
}

/** All that a workload has. */
export interface WorkloadFields extends WorkloadOwn, WorkloadTraits {}

/**
 * istio.workload.Workload with defaults filled in: trust domain `cluster.local`, service account `default`,
 * cluster `Kubernetes`, capacity 1. Replicas keep what they have in common once for all of them: a third of the memory.
 */
export class Workload implements WorkloadFields {
  readonly uid: string;
  /** FNV-1a of the uid, signed: where its number is looked for. */
  readonly hash: number;
  readonly node: string;
  readonly locality: Locality;
  readonly status: HealthStatus;
  readonly isFoundByName: boolean;
  readonly traits: WorkloadTraits;
  /** The name; or how many characters at the end of the uid it is, as almost always. */
  private readonly named: string | number;
  /** The addresses; or the only one, as almost always. */
  private readonly at: string | readonly string[];

  constructor(own: WorkloadOwn, traits: WorkloadTraits) {
    const [only] = own.addresses;
    this.uid = own.uid;
    this.hash = fnv1aOfText(own.uid) | 0;
    this.node = own.node;
    this.locality = own.locality;
    this.status = own.status;
    this.isFoundByName = own.isFoundByName;
    this.traits = traits;
    this.named = own.uid.endsWith(own.name) ? own.name.length : own.name;
    this.at = only !== undefined && own.addresses.length === 1 ? only : own.addresses;
  }

  /** One with traits of its own. */
  static of(fields: WorkloadFields): Workload {
    const { uid, name, addresses, node, locality, status, isFoundByName, ...traits } = fields;
    return new Workload({ uid, name, addresses, node, locality, status, isFoundByName }, traits);
  }

  /** All that it has, side by side. */
  fields(): WorkloadFields {
    const { traits, uid, name, addresses, node, locality, status, isFoundByName } = this;
    return { ...traits, uid, name, addresses, node, locality, status, isFoundByName };
  }

  /** The same but for these fields. */
  with(changes: Partial<WorkloadFields>): Workload {
    return Workload.of({ ...this.fields(), ...changes });
  }

  get name(): string {
    return typeof this.named === "string" ? this.named : this.uid.slice(this.uid.length - this.named);
  }

  get addresses(): readonly string[] {
    return typeof this.at === "string" ? [this.at] : this.at;
  }

  get namespace(): WorkloadTraits["namespace"] {
    return this.traits.namespace;
  }

  get hostname(): WorkloadTraits["hostname"] {
    return this.traits.hostname;
  }

  get network(): WorkloadTraits["network"] {
    return this.traits.network;
  }

  get networkMode(): WorkloadTraits["networkMode"] {
    return this.traits.networkMode;
  }

  get tunnelProtocol(): WorkloadTraits["tunnelProtocol"] {
    return this.traits.tunnelProtocol;
  }

  get nativeTunnel(): WorkloadTraits["nativeTunnel"] {
    return this.traits.nativeTunnel;
  }

  get trustDomain(): WorkloadTraits["trustDomain"] {
    return this.traits.trustDomain;
  }

  get serviceAccount(): WorkloadTraits["serviceAccount"] {
    return this.traits.serviceAccount;
  }

  get waypoint(): WorkloadTraits["waypoint"] {
    return this.traits.waypoint;
  }

  get networkGateway(): WorkloadTraits["networkGateway"] {
    return this.traits.networkGateway;
  }

  get workloadType(): WorkloadTraits["workloadType"] {
    return this.traits.workloadType;
  }

  get workloadName(): WorkloadTraits["workloadName"] {
    return this.traits.workloadName;
  }

  get canonicalName(): WorkloadTraits["canonicalName"] {
    return this.traits.canonicalName;
  }

  get canonicalRevision(): WorkloadTraits["canonicalRevision"] {
    return this.traits.canonicalRevision;
  }

  get clusterId(): WorkloadTraits["clusterId"] {
    return this.traits.clusterId;
  }

  get capacity(): WorkloadTraits["capacity"] {
    return this.traits.capacity;
  }

  get authorizationPolicies(): WorkloadTraits["authorizationPolicies"] {
    return this.traits.authorizationPolicies;
  }

  get services(): WorkloadTraits["services"] {
    return this.traits.services;
  }
}
