// Owns the proof that a response opened in place is the one that protobuf's own encoder wrote.

import fc from "fast-check";
import { expect, it } from "vitest";
import { DeltaDiscoveryResponse } from "../../proto/gen/discovery.js";
import { openResponse } from "./response.js";
import { WireError } from "./wire-reader.js";

const responses = fc.record({
  systemVersionInfo: fc.string(),
  typeUrl: fc.string(),
  nonce: fc.string(),
  resources: fc.array(fc.uint8Array(), { maxLength: 5 }),
  removedResources: fc.array(fc.string(), { maxLength: 3 }),
  controlPlane: fc.record({ identifier: fc.string() }),
});

it("gives type, nonce, resources and removals as they were sent", () => {
  fc.assert(
    fc.property(responses, (sent) => {
      const { resources, ...opened } = openResponse(DeltaDiscoveryResponse.encode(sent).finish());
      const { typeUrl, nonce, removedResources } = sent;
      expect(opened).toEqual({ typeUrl, nonce, removedResources });
      expect(resources.length).toBe(sent.resources.length);
      for (const [index, resource] of sent.resources.entries()) {
        const { bytes, position, end } = resources.read(index);
        expect([...bytes.subarray(position, end)]).toEqual([...resource]);
      }
      expect(() => resources.read(resources.length)).toThrow(RangeError);
    }),
  );
});

it("refuses what is no response", () => {
  expect(() => openResponse(Uint8Array.of(18, 200))).toThrow(WireError);
});
