// Owns the YAML file that sets keys. Must not know other sources.

import { messageOf } from "../base/errors.js";
import { readYaml } from "../base/yaml-places.js";
import { KEYS, type Key, kebab, listed } from "./schema.js";
import type { Given } from "./source.js";
import { didYouMean } from "./spelling.js";

/** What a file says, by key. What is wrong with the file goes to `errors`, a line each. */
export function fileValues(
  file: string,
  readFile: (path: string) => string,
  errors: string[],
): Map<Key, Given> {
  const values = new Map<Key, Given>();
  let text: string;
  try {
    text = readFile(file);
  } catch (error) {
    errors.push(`config file ${file} cannot be read: ${messageOf(error)}`);
    return values;
  }
  const yaml = readYaml(text);
  if (!yaml.ok) {
    for (const { place, reason } of yaml.problems) errors.push(`${file}:${place.line}: ${reason}`);
    return values;
  }
  const content = yaml.content ?? {};
  if (typeof content !== "object" || Array.isArray(content)) {
    errors.push(`${file}:1: expected keys and values such as "xds-address: 127.0.0.1:15010"`);
    return values;
  }
  for (const [name, value] of Object.entries(content)) {
    const source = `${file}:${yaml.placeOf([name]).line}`;
    const key = KEYS.find((candidate) => kebab(candidate) === name);
    if (key === undefined)
      errors.push(`${name} in ${source}: unknown key${didYouMean(name, KEYS.map(kebab))}`);
    else if (value !== null)
      values.set(key, { value: typeof value === "string" ? listed(key, value) : value, source });
  }
  return values;
}
