// Owns whether a built object is one for this daemon, as far as its maps tell. Must not know what it is loaded for.

import type { BpfMap, BpfObject } from "../../native/index.js";
import { type MapDescription, maps } from "./maps.gen.js";

const known = new Map<string, MapDescription>(Object.entries(maps));

/** Every object has every map: it is of another weft when one is missing. @throws Error that names the map */
export function requireMaps(object: Pick<BpfObject, "mapNames">): void {
  for (const name of known.keys()) {
    if (!object.mapNames.includes(name)) throw new Error(`it has no map ${name}`);
  }
}

/**
 * For a map that an object has made: one that is shared was compared when it was given to the object.
 * @throws Error that names the map and both sizes, when the daemon would read or write others than programs do
 */
export function requireFit(name: string, { info }: Pick<BpfMap, "info">): void {
  const { key, value } = known.get(name) ?? {};
  if (key === undefined || value === undefined) return;
  if (info.keySize === key.size && info.valueSize === value.size) return;
  throw new Error(
    `map ${name} has keys of ${info.keySize} and values of ${info.valueSize} bytes, weftd has ${key.size} and ${value.size}`,
  );
}
