// Owns the way from the kernel's monotonic clock to the time of day. Must not know what is timed.

/** CLOCK_MONOTONIC nanoseconds -> nanoseconds since 1970, UTC. */
export type WallClock = (monotonicNs: bigint) => bigint;

const MILLISECOND = 1_000_000n;

/**
 * A clock that follows steps and slews of the system's time. Date.now() is cut to milliseconds, so each reading
 * only bounds the offset from below and above; held within these bounds it settles on the true one.
 */
export function createWallClock(
  monotonic: () => bigint = process.hrtime.bigint,
  nowMs: () => number = Date.now,
): WallClock {
  let offset = 0n;
  return (monotonicNs) => {
    const before = monotonic();
    const now = BigInt(nowMs()) * MILLISECOND;
    const least = now - monotonic();
    const most = now + MILLISECOND - before;
    if (offset < least) offset = least;
    else if (offset > most) offset = most;
    return monotonicNs + offset;
  };
}
