// Owns shell completion: the scripts, and the candidates that they ask for. Must not know any verb by name.

import type { Command, Option } from "commander";
import type { Terminal } from "./context.js";
import { type Wanted, wantedBy } from "./named.js";
import { type Given, namesOf } from "./names.js";

export const SHELLS = ["bash", "zsh", "fish"] as const;
export type Shell = (typeof SHELLS)[number];

/** The hidden command that the scripts call with the words so far. */
export const COMPLETE_COMMAND = "__complete";

const SCRIPTS: Readonly<Record<Shell, (name: string) => string>> = {
  bash: (name) => `# ${name} completion for bash: source <(${name} completion bash)
_${name}() {
  local IFS=$'\\n'
  COMPREPLY=($(${name} ${COMPLETE_COMMAND} -- "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
  [[ \${COMPREPLY[0]} != *[/:] ]] || compopt -o nospace 2>/dev/null
}
complete -o default -F _${name} ${name}
`,
  zsh: (name) => `#compdef ${name}
# ${name} completion for zsh: source <(${name} completion zsh)
_${name}() {
  local -a candidates
  candidates=("\${(@f)$(${name} ${COMPLETE_COMMAND} -- "\${(@)words[2,CURRENT]}" 2>/dev/null)}")
  local -a unfinished=("\${(@M)candidates:#*[/:]}") finished=("\${(@)candidates:#*[/:]}")
  compadd -S '' -a unfinished
  compadd -a finished
}
compdef _${name} ${name}
`,
  fish: (name) => `# ${name} completion for fish: ${name} completion fish | source
function __${name}_complete
    set -l words (commandline -opc) (commandline -ct)
    ${name} ${COMPLETE_COMMAND} -- $words[2..-1] 2>/dev/null
end
complete -c ${name} -f -a '(__${name}_complete)'
`,
};

export function completionScript(shell: Shell, name: string): string {
  return SCRIPTS[shell](name);
}

/** What can stand in place of the last of `words` (those after the program's name). */
export async function candidates(
  program: Command,
  words: readonly string[],
  terminal: Pick<Terminal, "env">,
): Promise<string[]> {
  const last = words.at(-1) ?? "";
  const { fixed, wanted, given } = placeAfter(program, words.slice(0, -1), last);
  const names = wanted === undefined ? [] : await namesOf(wanted, last, given, terminal);
  return [...fixed, ...names].filter((candidate) => candidate.startsWith(last)).sort();
}

/** What is expected at a place of the command line. */
interface Place {
  readonly fixed: readonly string[];
  /** Of what kind names are that it takes; undefined: it takes none. */
  readonly wanted: Wanted | undefined;
  readonly given: Given;
}

function placeAfter(program: Command, words: readonly string[], last: string): Place {
  let command = program;
  let positionals = 0;
  let pending: Option | undefined;
  const given = new Map<string, string>();
  for (const word of words) {
    if (pending !== undefined) {
      given.set(pending.attributeName(), word);
      pending = undefined;
    } else if (word.startsWith("-")) {
      const [flag = "", ...value] = word.split("=");
      pending = optionThatTakes(command, flag);
      if (pending === undefined || value.length === 0) continue;
      given.set(pending.attributeName(), value.join("="));
      pending = undefined;
    } else {
      const next = visible(command).find((candidate) => candidate.name() === word);
      if (next === undefined) positionals++;
      else {
        command = next;
        positionals = 0;
      }
    }
  }
  if (pending !== undefined) return { fixed: pending.argChoices ?? [], wanted: wantedBy(pending), given };
  if (last.startsWith("-")) return { fixed: flagsOf(command), wanted: undefined, given };
  const known = command.registeredArguments;
  const argument = known[positionals] ?? (known.at(-1)?.variadic ? known.at(-1) : undefined);
  const fixed = [...visible(command).map((each) => each.name()), ...(argument?.argChoices ?? [])];
  return { fixed, wanted: wantedBy(argument), given };
}

function flagsOf(command: Command): string[] {
  const flags = lineage(command).flatMap((each) => each.options.filter((option) => !option.hidden));
  return [...flags.flatMap((option) => option.long ?? []), "--help"];
}

/** undefined when the next word is not its value. */
function optionThatTakes(command: Command, flag: string): Option | undefined {
  const option = lineage(command)
    .flatMap((each) => each.options)
    .find((each) => each.long === flag || each.short === flag);
  return option?.required || option?.optional ? option : undefined;
}

function visible(command: Command): Command[] {
  return command.commands.filter((each) => !each.name().startsWith("__"));
}

function lineage(command: Command): Command[] {
  return command.parent === null ? [command] : [command, ...lineage(command.parent)];
}
