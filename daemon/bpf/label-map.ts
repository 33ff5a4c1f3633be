// Owns the map `labels`: what numbers of counters stand for, over daemons. Must not know who has which number.

import { type BpfMap, UpdateFlag } from "../../native/index.js";
import { LABEL_TEXT_BYTES, type LabelKind, maps } from "./maps.gen.js";

interface Label {
  readonly kind: LabelKind;
  readonly id: number;
  readonly text: string;
}

export class LabelMap {
  readonly #map: () => BpfMap;

  constructor(map: () => BpfMap) {
    this.#map = map;
  }

  all(): Label[] {
    const { key, value } = maps.labels;
    const { count, keys, values } = this.#map().entries();
    return Array.from({ length: count }, (_, index) => {
      const { kind, id } = key.decode(keys, index * key.size);
      const { bytes, text } = value.decode(values, index * value.size);
      return { kind: kind as LabelKind, id, text: Buffer.from(text.subarray(0, bytes)).toString("utf8") };
    });
  }

  /** False when there is no room; texts are at most LABEL_TEXT_BYTES long. */
  put({ kind, id, text }: Label): boolean {
    const bytes = Buffer.from(text);
    const padded = Buffer.alloc(LABEL_TEXT_BYTES);
    bytes.copy(padded);
    const { key, value } = maps.labels;
    const entry = value.encode({ bytes: bytes.length, text: padded });
    return this.#map().updateBatch(key.encode({ kind, id }), entry, 1, UpdateFlag.any).done === 1;
  }

  delete({ kind, id }: Pick<Label, "kind" | "id">): void {
    this.#map().delete(maps.labels.key.encode({ kind, id }));
  }
}
