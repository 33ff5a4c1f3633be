// Owns the proof that a resource is read as if it were alone, whatever it says of its length and whatever lies around.

import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { policy, resource, service, workload } from "../../test/helpers/wire.js";
import { SharedParts } from "./decode-parts.js";
import { HeldVersions } from "./held.js";
import { PendingResponse } from "./pending-response.js";
import {
  ADDRESS_TYPE,
  AUTHORIZATION_TYPE,
  decodeResource,
  openEnvelope,
  type ResourceType,
} from "./resource.js";
import { openResponse } from "./response.js";
import { WireReader } from "./wire-reader.js";

const before = workload("before", "1");
const after = workload("after", "1", { hostname: "x".repeat(300) });

/** What comes of a response of these resources. */
function received(resources: readonly Uint8Array[], type: ResourceType = ADDRESS_TYPE) {
  const response = responseOf(resources, type);
  const pending = new PendingResponse(type, response, new HeldVersions(), false, new SharedParts(), 0);
  while (pending.decode(2));
  const { workloads = [], services = [], policies = [] } = pending.update();
  return { values: [...workloads, ...services, ...policies], rejections: pending.rejections };
}

function responseOf(resources: readonly Uint8Array[], type: ResourceType) {
  const writer = new BinaryWriter();
  for (const bytes of resources) writer.tag(2, WireType.LengthDelimited).bytes(bytes);
  return openResponse(writer.tag(4, WireType.LengthDelimited).string(type).finish());
}

/** A field that says it is `more` bytes longer than it is. */
function overlong(field: number, content: Uint8Array, more: number): Uint8Array {
  const writer = new BinaryWriter().tag(field, WireType.LengthDelimited);
  return writer
    .uint32(content.length + more)
    .raw(content)
    .finish();
}

const field = (number: number, content: Uint8Array) => overlong(number, content, 0);
const text = (value: string) => Buffer.from(value);
const joined = (...parts: Uint8Array[]) => Buffer.concat(parts);

const NAME = field(3, text("w"));
const UID = field(20, text("w"));
const TYPE = field(1, text(ADDRESS_TYPE));
/** A resource around the fields of a workload, whose message may say that it is longer. */
const around = (fields: Uint8Array, more = 0) => resource("w", "1", ADDRESS_TYPE, overlong(1, fields, more));

describe("a resource of which something says that it is longer than what it lies in", () => {
  const content = field(1, UID);
  it.each<[string, (more: number) => Uint8Array]>([
    ["its name", (more) => joined(field(2, joined(TYPE, field(2, content))), overlong(3, text("w"), more))],
    ["its version", (more) => joined(NAME, overlong(1, text("1"), more))],
    ["its Any", (more) => joined(NAME, overlong(2, joined(TYPE, field(2, content)), more))],
    ["its type", (more) => joined(NAME, field(2, overlong(1, text(ADDRESS_TYPE), more)))],
    ["its content", (more) => joined(NAME, field(2, joined(TYPE, overlong(2, content, more))))],
    ["what is not known of it", (more) => joined(NAME, overlong(15, text("?"), more))],
    ["its workload", (more) => around(UID, more)],
    ["a text", (more) => around(joined(UID, overlong(1, text("a"), more)))],
    ["a text that others have", (more) => around(joined(UID, overlong(2, text("a"), more)))],
    ["its uid", (more) => around(overlong(20, text("w"), more))],
    ["an address", (more) => around(joined(UID, overlong(3, Uint8Array.of(10, 0, 0, 1), more)))],
    ["a policy's name", (more) => around(joined(UID, overlong(16, text("d/p"), more)))],
    ["a locality", (more) => around(joined(UID, overlong(24, field(1, text("r")), more)))],
    ["a region", (more) => around(joined(UID, field(24, overlong(1, text("r"), more))))],
    ["a mapping", (more) => around(joined(UID, overlong(22, field(1, text("d/s")), more)))],
    ["a waypoint", (more) => around(joined(UID, overlong(8, field(1, field(2, text("h"))), more)))],
    ["a host name", (more) => around(joined(UID, field(8, field(1, overlong(2, text("h"), more)))))],
    ["a capacity", (more) => around(joined(UID, overlong(27, Uint8Array.of(8, 1), more)))],
    ["what is not known of it in there", (more) => around(joined(UID, overlong(99, text("?"), more)))],
  ])("is refused alone: %s", (_, damaged) => {
    // Beyond the field, the resource, the response.
    for (const more of [1, 2, 5, 20, 100, 250, 10_000, 0xfffffe00]) {
      const { values, rejections } = received([before, damaged(more), after, before]);
      expect(rejections.map(({ reason }) => reason)).toEqual([expect.stringMatching(/^is malformed: /)]);
      expect(values.map((value) => "uid" in value && value.uid)).toEqual(["before", "after", "before"]);
    }
    expect(received([before, damaged(0), after]).rejections.map(({ reason }) => reason)).not.toContainEqual(
      expect.stringMatching(/malformed/),
    );
  });

  it("is refused where a number goes on beyond it", () => {
    // Together with what follows it would be one.
    for (const [cut, fault] of [
      [Uint8Array.of(0x88, 1, 0x80), "the message ends within a number"],
      [Uint8Array.of(0x28, 0x80), "field 5 is malformed"],
      [Uint8Array.of(0x28, 0x80, 0x80, 0x80, 0x80), "field 5 is malformed"],
      [Uint8Array.of(0x92), "the message ends within a number"],
    ] as const) {
      const { values, rejections } = received([around(joined(UID, cut)), after]);
      expect(rejections.map(({ name, reason }) => [name, reason])).toEqual([["w", `is malformed: ${fault}`]]);
      expect(values.length).toBe(1);
    }
  });
});

it("reads any resources of a response, damaged or whole, as it reads each alone", () => {
  const whole = fc.constantFrom(
    before,
    service("s", "1", { ports: [{ servicePort: 80, targetPort: 8080 }], subjectAltNames: ["a"] }),
    workload("w", "", {
      addresses: [Uint8Array.of(10, 0, 0, 1)],
      waypoint: {
        destination: { $case: "hostname", value: { namespace: "n", hostname: "h" } },
        hboneMtlsPort: 15008,
      },
      locality: { region: "r", zone: "z" },
      services: new Map([["d/s", { ports: [{ servicePort: 80, targetPort: 300 }] }]]),
      authorizationPolicies: ["d/p"],
      capacity: 300,
    }),
    policy("p", { rules: [{ clauses: [{ matches: [{ destinationPorts: [80] }] }] }] }),
  );
  const damaged = fc
    .tuple(whole, fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 2 }), fc.nat())
    .map(([bytes, changes, cut]) => {
      const copy = Buffer.from(bytes);
      for (const [at, byte] of changes) copy[at % copy.length] = byte;
      return copy.subarray(0, cut % 3 === 0 ? cut % copy.length : copy.length);
    });
  const decoded = (reader: WireReader, type: ResourceType) => {
    const shared = new SharedParts();
    const envelope = openEnvelope(reader, shared);
    return envelope.ok ? decodeResource(type, envelope.value, shared) : envelope;
  };
  fc.assert(
    fc.property(fc.array(damaged, { minLength: 1, maxLength: 4 }), (resources) => {
      for (const type of [ADDRESS_TYPE, AUTHORIZATION_TYPE] as const) {
        const opened = responseOf(resources, type).resources;
        for (const [index, bytes] of resources.entries())
          expect(decoded(opened.read(index), type)).toEqual(decoded(new WireReader(bytes), type));
      }
    }),
    { numRuns: 500 },
  );
});
