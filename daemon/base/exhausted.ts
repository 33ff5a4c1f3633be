// Owns how it is known that weftd, or the machine, has used up what it may have. Must not know what it was for.

import { causesFrom } from "./causes.js";

/** What to raise, a clause, where a text tells of a limit. */
export function limitIn(text: string): string | undefined {
  if (/\bEMFILE\b/.test(text))
    return "weftd has no file descriptor left: raise RLIMIT_NOFILE (LimitNOFILE= of its unit)";
  if (/\bENFILE\b/.test(text)) return "the machine has no file descriptor left: raise the sysctl fs.file-max";
  if (/\bENOMEM\b/.test(text))
    return "there is no memory for it: raise the memory limit of weftd's cgroup (MemoryMax= of its unit), or look at the machine's";
  return undefined;
}

/** As limitIn(), of anything thrown and its causes: nobody is at fault, and the next try may succeed. */
export function exhausted(thrown: unknown): string | undefined {
  for (const link of causesFrom(thrown)) {
    const limit = limitIn(String(link));
    if (limit !== undefined) return limit;
  }
  return undefined;
}
