// Owns the process inside a pod that does what its test tells it: JSON lines in, JSON lines out.
// Must not know what the operations do.

import { createInterface } from "node:readline";
import { operations } from "./peer-operations.js";

interface Call {
  readonly id: number;
  readonly operation: keyof typeof operations;
  readonly input: never;
}

createInterface({ input: process.stdin }).on("line", (line) => {
  const { id, operation, input } = JSON.parse(line) as Call;
  const answer = (message: object) => process.stdout.write(`${JSON.stringify({ id, ...message })}\n`);
  Promise.resolve(operations[operation](input)).then(
    (output: unknown) => answer({ output }),
    (error: unknown) => answer({ error: String(error) }),
  );
});
process.stdin.on("end", () => process.exit(0));
process.stdout.write("ready\n");
