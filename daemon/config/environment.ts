// Owns the environment variables that set keys. Must not know other sources.

import { envName, KEYS, type Key, listed, variablesOf } from "./schema.js";
import type { Given } from "./source.js";
import { didYouMean } from "./spelling.js";

export type Environment = Readonly<Record<string, string | undefined>>;

/** What a variable says of a key; an empty one says nothing. */
export function envValue(key: Key, env: Environment): Given | undefined {
  for (const name of variablesOf(key)) {
    const text = env[name];
    if (text === undefined || text === "") continue;
    return { value: listed(key, text), source: `environment ${name}` };
  }
  return undefined;
}

/** Kubernetes puts WEFT_PORT and the like into the environment, so an unknown name is a warning, and only if near. */
export function misspeltVariables(env: Environment): string[] {
  const known = [...KEYS.map(envName), "WEFT_CONFIG", "WEFT_ADMIN", "WEFT_ADDON"];
  return Object.keys(env)
    .filter((name) => name.startsWith("WEFT_") && !known.includes(name) && !/_PORT(_|$)/.test(name))
    .map((name) => ({ name, near: didYouMean(name, known) }))
    .filter(({ near }) => near !== "")
    .map(({ name, near }) => `environment ${name} is not used${near}`);
}
