/* SPDX-License-Identifier: Apache-2.0 */
/* Owns latencies: how they are counted, and read back. Knows nothing of what took so long.
 *
 * Nanoseconds, log-linear: 64 steps an octave, so a value is exact to 1.6 %.
 */
#ifndef WEFT_BENCH_LATENCY_H
#define WEFT_BENCH_LATENCY_H

#include <stdint.h>
#include <time.h>

#define STEP_BITS 6
#define BUCKETS	  ((64 - STEP_BITS) << STEP_BITS)

struct latencies {
	uint64_t done;
	uint64_t counts[BUCKETS];
	uint64_t longest;
};

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static unsigned int bucket_of(uint64_t ns)
{
	unsigned int octave;

	if (ns < 1 << STEP_BITS)
		return (unsigned int)ns;
	octave = 63 - STEP_BITS - (unsigned int)__builtin_clzll(ns);
	return ((octave + 1) << STEP_BITS) + (unsigned int)(ns >> octave) - (1 << STEP_BITS);
}

/* Lower end of a bucket. */
static uint64_t bucket_ns(unsigned int bucket)
{
	unsigned int octave = bucket >> STEP_BITS;
	uint64_t step = bucket & ((1 << STEP_BITS) - 1);

	return octave == 0 ? step : (step + (1 << STEP_BITS)) << (octave - 1);
}

static void record(struct latencies *latencies, uint64_t ns)
{
	latencies->done++;
	latencies->counts[bucket_of(ns)]++;
	if (ns > latencies->longest)
		latencies->longest = ns;
}

static double percentile_us(const struct latencies *latencies, double share)
{
	uint64_t wanted = (uint64_t)((double)latencies->done * share), seen = 0;
	unsigned int i;

	for (i = 0; i < BUCKETS; i++) {
		seen += latencies->counts[i];
		if (seen > wanted)
			return (double)bucket_ns(i) / 1000;
	}
	return (double)latencies->longest / 1000;
}

#endif
