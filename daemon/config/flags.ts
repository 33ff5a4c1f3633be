// Owns the flags of a command line that set keys. Must not know other sources.

import { type Command, Option } from "commander";
import { defaultText, helpOf, KEYS, type Key, kebab, variablesOf } from "./schema.js";
import type { Given } from "./source.js";

/** Adds --config and one option for every key to a command; their values are read by loadConfig. */
export function addConfigOptions(command: Command): Command {
  command.addOption(new Option("--config <FILE>", "YAML file of the same keys [env: WEFT_CONFIG]"));
  for (const key of KEYS) {
    const { argument, text, repeatable, shownDefault } = helpOf(key);
    const isBoolean = argument === "BOOL";
    const shown = shownDefault ?? defaultText(key);
    const notes = [shown === undefined ? [] : [`default: ${shown}`], `env: ${variablesOf(key).join(", ")}`]
      .flat()
      .join(", ");
    const flag = `--${kebab(key)} ${isBoolean ? `[${argument}]` : `<${argument}>`}`;
    const option = new Option(flag, `${text} [${notes}]`);
    if (repeatable)
      option.argParser((value: string, before: string[] | undefined) => [...(before ?? []), value]);
    command.addOption(option);
  }
  return command;
}

/** What a flag says of a key; `flags` is what commander's opts() gives. */
export function flagValue(key: Key, flags: Readonly<Record<string, unknown>>): Given | undefined {
  const value = flags[key];
  return value === undefined ? undefined : { value, source: `flag --${kebab(key)}` };
}
