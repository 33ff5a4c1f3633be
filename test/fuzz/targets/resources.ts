// Owns what is claimed of one encoded resource: decoding gives a value or a reason, and what is enforced for a policy
// never admits more than the policy does, whatever its damaged parts meant.

import { isDeepStrictEqual } from "node:util";
import { readRecording } from "../../../cmd/weft-xds/recording.js";
import type { Inbound } from "../../../daemon/compile/authz/conditions.js";
import { decide } from "../../../daemon/compile/authz/reference.js";
import { canonicalAddress } from "../../../daemon/model/address.js";
import type { Policy } from "../../../daemon/model/policy.js";
import { serviceKey } from "../../../daemon/model/service.js";
import type { Decoded } from "../../../daemon/xds/checker.js";
import { SharedParts } from "../../../daemon/xds/decode-parts.js";
import { decodePolicy } from "../../../daemon/xds/decode-policy.js";
import {
  AUTHORIZATION_TYPE,
  contentOf,
  type Decodable,
  decodeResource,
  type Envelope,
  openEnvelope,
  RESOURCE_TYPES,
  type ResourceType,
  standInOf,
} from "../../../daemon/xds/resource.js";
import { openResponse, type ResourceList } from "../../../daemon/xds/response.js";
import { WireReader } from "../../../daemon/xds/wire-reader.js";
import * as wire from "../../../proto/gen/authorization.js";
import { DeltaDiscoveryResponse, Resource } from "../../../proto/gen/discovery.js";
import { claim, type Target } from "../target.js";
import { recordings } from "./recordings.js";

export const target: Target = {
  maxBytes: 4096,
  seeds() {
    const recorded = recordings()
      .flatMap((path) => {
        const recording = readRecording(path);
        return recording.ok ? recording.frames.filter(({ response }) => response) : [];
      })
      .flatMap(({ message }) => {
        const { resources } = openResponse(message);
        return Array.from({ length: resources.length }, (_, index) => {
          const { bytes, position, end } = resources.read(index);
          return bytes.subarray(position, end);
        });
      });
    return [...recorded, ...policies()];
  },
  run(input) {
    const within = surrounded(input);
    for (const type of RESOURCE_TYPES) {
      const envelope = openEnvelope(new WireReader(input), new SharedParts());
      const decoded = decodedAt(new WireReader(input), type);
      claim(
        isDeepStrictEqual(decoded, decodedAt(within.read(1), type)),
        "a resource means something else among others",
      );
      if (!envelope.ok) {
        claim(envelope.reason !== "", "a refusal without a reason");
        continue;
      }
      if (decoded.ok) checkValue(decoded.value, envelope.value.name);
      else claim(decoded.reason !== "", "a refusal without a reason");
      if (type === AUTHORIZATION_TYPE) checkPolicy(envelope.value, decoded.ok ? decoded.value : undefined);
    }
  },
};

/** A response with the resource between others. */
function surrounded(input: Uint8Array): ResourceList {
  const resources = [input, input, input];
  return openResponse(
    DeltaDiscoveryResponse.encode(DeltaDiscoveryResponse.fromPartial({ resources })).finish(),
  ).resources;
}

function decodedAt(reader: WireReader, type: ResourceType): Decoded<Decodable> {
  const envelope = openEnvelope(reader, new SharedParts());
  return envelope.ok ? decodeResource(type, envelope.value, new SharedParts()) : envelope;
}

/** One of each action, with a rule for each field of a match. */
function policies(): Uint8Array[] {
  const texts = [{ matchType: { $case: "prefix", value: "a" } } as const];
  const blocks = [{ address: Uint8Array.of(10, 0, 0, 0), length: 8 }];
  const accounts = [{ namespace: "a", serviceAccount: "a" }];
  const fields: Partial<wire.Match>[] = [
    ...[{ namespaces: texts }, { notNamespaces: texts }, { principals: texts }, { notPrincipals: texts }],
    ...[
      { sourceIps: blocks },
      { notSourceIps: blocks },
      { destinationIps: blocks },
      { notDestinationIps: blocks },
    ],
    ...[{ destinationPorts: [80, 443] }, { notDestinationPorts: [80, 443] }],
    ...[{ serviceAccounts: accounts }, { notServiceAccounts: accounts }],
  ];
  return [wire.Action.ALLOW, wire.Action.DENY].flatMap((action) =>
    fields.map((field) => {
      const rules = [{ clauses: [{ matches: [wire.Match.fromPartial(field)] }] }];
      const message = wire.Authorization.fromPartial({ name: "p", namespace: "a", action, rules });
      const value = wire.Authorization.encode(message).finish();
      return Resource.encode({
        name: "a/p",
        version: "",
        resource: { typeUrl: AUTHORIZATION_TYPE, value },
      }).finish();
    }),
  );
}

function checkValue(decoded: Decodable, name: string): void {
  switch (decoded.kind) {
    case "workload":
      claim(decoded.value.uid === name, "a workload of another name");
      for (const address of decoded.value.addresses) checkAddress(address);
      for (const ports of decoded.value.services.values()) for (const port of ports) checkPorts(port);
      break;
    case "service":
      claim(serviceKey(decoded.value) === name, "a service of another name");
      for (const { address } of decoded.value.addresses) checkAddress(address);
      for (const port of decoded.value.ports) checkPorts(port);
      break;
    case "policy":
      claim(`${decoded.value.namespace}/${decoded.value.name}` === name, "a policy of another name");
  }
}

function checkAddress(address: string): void {
  claim(canonicalAddress(address) === address, `${address} is no canonical address`);
}

function checkPorts({ servicePort, targetPort }: { servicePort: number; targetPort: number }): void {
  for (const port of [servicePort, targetPort])
    claim(Number.isInteger(port) && port >= 0 && port <= 65_535, `${port} is no port`);
}

/** Of whatever a damaged value may have meant, one thing: what is enforced must not admit more than that either. */
function checkPolicy(envelope: Envelope, accepted: Decodable | undefined): void {
  const standIn = standInOf(envelope);
  if (accepted !== undefined) {
    claim(
      JSON.stringify(standIn) === JSON.stringify(accepted.value),
      "a sound policy is not its own stand-in",
    );
    return;
  }
  const message = messageOf(envelope);
  if (message === undefined || standIn === undefined) return;
  for (const value of MEANINGS) {
    const meant = decodePolicy(mended(message, value), `${message.namespace}/${message.name}`);
    claim(meant.ok, `a mended policy is refused: ${meant.ok ? "" : meant.reason}`);
    for (const inbound of CONNECTIONS)
      claim(
        !isAllowed(standIn, inbound) || isAllowed(meant.value, inbound),
        `what is enforced for ${envelope.name} admits ${JSON.stringify(inbound)}, the policy may not have`,
      );
  }
}

function messageOf(envelope: Envelope): wire.Authorization | undefined {
  if (envelope.typeUrl !== AUTHORIZATION_TYPE) return undefined;
  try {
    return wire.Authorization.decode(contentOf(envelope));
  } catch {
    return undefined;
  }
}

interface Meaning {
  readonly port: number;
  readonly block: wire.Address;
  readonly text: string;
}

/** What damaged values are taken for: something that each connection below has, and something that none has. */
const MEANINGS: readonly Meaning[] = [
  { port: 80, block: { address: Uint8Array.of(0, 0, 0, 0), length: 0 }, text: "a" },
  { port: 9, block: { address: Uint8Array.of(203, 0, 113, 1), length: 32 }, text: "nobody's" },
];

const IDENTITY = { trustDomain: "cluster.local", namespace: "a", serviceAccount: "a" };
const CONNECTIONS: readonly Inbound[] = [undefined, IDENTITY].flatMap((identity) =>
  [80, 443, 9080].map((port) => ({ identity, source: "10.0.0.1", destination: "10.0.0.2", port })),
);

function isAllowed(policy: Policy, inbound: Inbound): boolean {
  return decide([{ ...policy, dryRun: false }], inbound).allowed;
}

/** The message with good values in place of those that cannot be represented. An unknown action may be an ALLOW. */
function mended(message: wire.Authorization, meaning: Meaning): wire.Authorization {
  const text = (value: wire.StringMatch): wire.StringMatch =>
    value.matchType === undefined ? { matchType: { $case: "exact", value: meaning.text } } : value;
  const block = (value: wire.Address) => {
    const bits = value.address.length * 8;
    const isSound = (bits === 32 || bits === 128) && value.length <= bits;
    return isSound ? value : meaning.block;
  };
  const port = (value: number) => (value > 65_535 ? meaning.port : value);
  const match = (each: wire.Match): wire.Match => ({
    ...each,
    namespaces: each.namespaces.map(text),
    notNamespaces: each.notNamespaces.map(text),
    principals: each.principals.map(text),
    notPrincipals: each.notPrincipals.map(text),
    sourceIps: each.sourceIps.map(block),
    notSourceIps: each.notSourceIps.map(block),
    destinationIps: each.destinationIps.map(block),
    notDestinationIps: each.notDestinationIps.map(block),
    destinationPorts: each.destinationPorts.map(port),
    notDestinationPorts: each.notDestinationPorts.map(port),
  });
  return {
    ...message,
    scope: wire.Scope[message.scope] === undefined ? wire.Scope.GLOBAL : message.scope,
    action: wire.Action[message.action] === undefined ? wire.Action.DENY : message.action,
    rules: message.rules.map(({ clauses }) => ({
      clauses: clauses.map(({ matches }) => ({ matches: matches.map(match) })),
    })) as wire.Rule[],
  };
}
