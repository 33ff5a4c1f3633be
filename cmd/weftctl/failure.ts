// Owns how weftctl ends. Must not know the verbs.

/** What a script can rely on; also in --help. */
export const ExitCode = { ok: 0, failure: 1, usage: 2, unreachable: 3 } as const;
export type ExitCode = (typeof ExitCode)[keyof typeof ExitCode];

/** Ends the command with a message on standard error. Thrown by verbs, caught in one place. */
export class CommandFailure extends Error {
  readonly exitCode: ExitCode;

  constructor(message: string, exitCode: ExitCode = ExitCode.failure) {
    super(message);
    this.name = "CommandFailure";
    this.exitCode = exitCode;
  }
}
