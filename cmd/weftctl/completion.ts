// Owns shell completion: the scripts, and the candidates that they ask for. Must not know any verb by name.

import type { Command } from "commander";

export const SHELLS = ["bash", "zsh", "fish"] as const;
export type Shell = (typeof SHELLS)[number];

/** The hidden command that the scripts call with the words so far. */
export const COMPLETE_COMMAND = "__complete";

const SCRIPTS: Readonly<Record<Shell, (name: string) => string>> = {
  bash: (name) => `# ${name} completion for bash: source <(${name} completion bash)
_${name}() {
  local IFS=$'\\n'
  COMPREPLY=($(${name} ${COMPLETE_COMMAND} -- "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o default -F _${name} ${name}
`,
  zsh: (name) => `#compdef ${name}
# ${name} completion for zsh: source <(${name} completion zsh)
_${name}() {
  local -a candidates
  candidates=("\${(@f)$(${name} ${COMPLETE_COMMAND} -- "\${(@)words[2,CURRENT]}" 2>/dev/null)}")
  compadd -a candidates
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
export function candidates(program: Command, words: readonly string[]): string[] {
  const last = words.at(-1) ?? "";
  let command = program;
  let positionals = 0;
  let pending: string[] | undefined;
  for (const word of words.slice(0, -1)) {
    if (pending !== undefined) {
      pending = undefined;
    } else if (word.startsWith("-")) {
      pending = valuesOf(command, word);
    } else {
      const next = visible(command).find((candidate) => candidate.name() === word);
      if (next === undefined) positionals++;
      else {
        command = next;
        positionals = 0;
      }
    }
  }
  return all(command, last, positionals, pending)
    .filter((candidate) => candidate.startsWith(last))
    .sort();
}

function all(command: Command, last: string, positionals: number, pending: string[] | undefined): string[] {
  if (pending !== undefined) return pending;
  if (last.startsWith("-")) {
    const flags = lineage(command).flatMap((each) => each.options.filter((option) => !option.hidden));
    return [...flags.flatMap((option) => option.long ?? []), "--help"];
  }
  const known = command.registeredArguments;
  const argument = known[positionals] ?? (known.at(-1)?.variadic ? known.at(-1) : undefined);
  return [...visible(command).map((each) => each.name()), ...(argument?.argChoices ?? [])];
}

/** Choices of an option that takes a value; undefined when the next word is not its value. */
function valuesOf(command: Command, flag: string): string[] | undefined {
  const option = lineage(command)
    .flatMap((each) => each.options)
    .find((each) => each.long === flag || each.short === flag);
  if (option === undefined || !(option.required || option.optional)) return undefined;
  return option.argChoices ?? [];
}

function visible(command: Command): Command[] {
  return command.commands.filter((each) => !each.name().startsWith("__"));
}

function lineage(command: Command): Command[] {
  return command.parent === null ? [command] : [command, ...lineage(command.parent)];
}
