// Owns which source of a setting wins: flag, environment, file, default. Must not know what is done with a setting.

import { type Environment, envValue, misspeltVariables } from "./environment.js";
import { fileValues } from "./file.js";
import { flagValue } from "./flags.js";
import { type Config, KEYS, type Key, kebab, schema } from "./schema.js";
import type { Given } from "./source.js";

export type LoadedConfig =
  | { readonly ok: true; readonly config: Config; readonly warnings: readonly string[] }
  | { readonly ok: false; readonly errors: readonly string[] };

/**
 * Joins flags > environment > file > defaults. `flags` is what commander's opts() gives, `readFile` returns a
 * file's text or throws. Errors name key and source, such as `xds-address in /etc/weft.yaml:3: ...`; a value
 * that a stronger source overrides is not judged.
 */
export function loadConfig(
  flags: Readonly<Record<string, unknown>>,
  env: Environment,
  readFile: (path: string) => string,
): LoadedConfig {
  const errors: string[] = [];
  const file = flags.config ?? env.WEFT_CONFIG;
  const fromFile: ReadonlyMap<Key, Given> =
    typeof file === "string" && file !== "" ? fileValues(file, readFile, errors) : new Map();
  const values: Partial<Record<Key, unknown>> = {};
  for (const key of KEYS) {
    const given = flagValue(key, flags) ?? envValue(key, env) ?? fromFile.get(key);
    if (given === undefined) continue;
    const result = schema.shape[key].safeParse(given.value);
    if (result.success) values[key] = given.value;
    else
      for (const issue of result.error.issues)
        errors.push(`${kebab(key)} in ${given.source}: ${issue.message}`);
  }
  if (errors.length > 0) return { ok: false, errors };
  return { ok: true, config: schema.parse(values), warnings: misspeltVariables(env) };
}
