/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Owns counting and reporting: reasons, traffic, access log records. Knows no hook.
 * Nothing here changes what happens to a connection.
 */
#ifndef WEFT_FLOW_H
#define WEFT_FLOW_H

#include <weft/maps.h>
#include <weft/kernel.h>
#include <bpf/bpf_endian.h>
#include "address.h"
#include "word.h"

/* Copies an IPv6 address out of a hook's context. The verifier wants each word at its own constant
 * offset; the barrier keeps LLVM from merging these loads with those of another branch into one
 * at a computed offset. */
#define CTX_COPY_V6(to, field)                                                                     \
	do {                                                                                       \
		(to)[0] = (field)[0];                                                              \
		(to)[1] = (field)[1];                                                              \
		(to)[2] = (field)[2];                                                              \
		(to)[3] = (field)[3];                                                              \
		barrier();                                                                         \
	} while (0)

static __always_inline void count_reason(__u32 reason)
{
	struct counter *counter = bpf_map_lookup_elem(&reasons, &reason);

	if (counter)
		__sync_fetch_and_add(&counter->count, 1);
}

static __always_inline const struct settings *get_settings(void)
{
	__u32 first = 0;

	return bpf_map_lookup_elem(&settings, &first);
}

/* Whether the operator has switched weft off: nothing is routed, refused or denied. */
static __always_inline bool is_disabled(void)
{
	__u32 first = 0;
	const __u32 *word = bpf_map_lookup_elem(&disabled, &first);

	return word && *(const volatile __u32 *)word == DISABLED;
}

static __always_inline bool access_log_enabled(void)
{
	const struct settings *current = get_settings();

	return current && current->access_log;
}

/* Number of the label set under which a workload is counted, WORKLOAD_UNKNOWN when nobody knows the
 * workload any more. Its id is on the caller's stack, for a lookup there. */
static __always_inline __u32 party_of(const __u32 *workload)
{
	const struct word *word;
	__u32 party;

	if (*workload == WORKLOAD_UNKNOWN || *workload == WORKLOAD_NODE)
		return *workload;
	for (int i = 0; i < WORD_TRIES; i++) {
		word = bpf_map_lookup_elem(&parties, workload);
		if (word && read_word(word, *workload, &party))
			return party;
	}
	return WORKLOAD_UNKNOWN;
}

/* Who talks to whom. */
struct talk {
	__u32 source; /* workload ids, 0: unknown */
	__u32 destination;
	__u32 service;	/* id, 0: none */
	__u8 direction; /* enum direction */
	__u8 outcome;	/* enum outcome */
	__u16 pad;
};

/* What of a connection is counted. */
enum counted { COUNT_OPENED, COUNT_CLOSED, COUNT_FAILED, COUNT_BYTES };

/* Whether connections are counted by the destination's pod, too. */
static __always_inline bool counts_pods(void)
{
	const struct settings *current = get_settings();

	return current && current->workload_metrics;
}

/* The counters of a key in a map of them. NULL: there is no room for another series. */
static __always_inline void *open_series(void *map, const void *key)
{
	void *counters = bpf_map_lookup_elem(map, key), *zero;
	__u32 first = 0;

	if (counters)
		return counters;
	zero = bpf_map_lookup_elem(&no_traffic, &first);
	if (zero)
		bpf_map_update_elem(map, key, zero, BPF_NOEXIST);
	return bpf_map_lookup_elem(map, key);
}

/* Whom a series is of. */
struct ends {
	__u32 source; /* parties */
	__u32 destination;
};

static __always_inline void find_ends(const struct talk *talk, struct ends *ends)
{
	ends->source = talk->source;
	ends->source = party_of(&ends->source);
	ends->destination = talk->destination;
	ends->destination = party_of(&ends->destination);
}

/* Without room for another series those of the overflow, which is counted, too. */
static __always_inline struct traffic *traffic_of(const struct talk *talk, const struct ends *ends)
{
	struct traffic_key key = {};
	struct traffic *counters;

	key.source_party = ends->source;
	key.destination_party = ends->destination;
	key.service = talk->service;
	key.direction = talk->direction;
	key.outcome = talk->outcome;
	counters = open_series(&traffic, &key);
	if (counters)
		return counters;
	count_reason(REASON_TRAFFIC_FULL);
	key.source_party = PARTY_OVERFLOW;
	key.destination_party = PARTY_OVERFLOW;
	key.service = 0;
	return bpf_map_lookup_elem(&traffic, &key);
}

/* As traffic_of. */
static __always_inline struct pod_traffic *pod_traffic_of(const struct talk *talk,
							  const struct ends *ends)
{
	struct pod_traffic_key key = {};
	struct pod_traffic *counters;

	key.source_party = ends->source;
	key.destination_party = ends->destination;
	key.pod = talk->destination;
	key.direction = talk->direction;
	key.outcome = talk->outcome;
	counters = open_series(&pod_traffic, &key);
	if (counters)
		return counters;
	count_reason(REASON_TRAFFIC_FULL);
	key.source_party = PARTY_OVERFLOW;
	key.destination_party = PARTY_OVERFLOW;
	key.pod = 0;
	return bpf_map_lookup_elem(&pod_traffic, &key);
}

static __always_inline void add_traffic(struct traffic *counters, __u32 what, __u64 sent,
					__u64 received)
{
	counters->used_ns = bpf_ktime_get_ns();
	if (what == COUNT_OPENED) {
		__sync_fetch_and_add(&counters->opened, 1);
		return;
	}
	if (what == COUNT_FAILED) {
		__sync_fetch_and_add(&counters->failed, 1);
		return;
	}
	if (what == COUNT_CLOSED)
		__sync_fetch_and_add(&counters->closed, 1);
	__sync_fetch_and_add(&counters->sent_bytes, sent);
	__sync_fetch_and_add(&counters->received_bytes, received);
}

/* Counts for who talks to whom. Bytes are those not counted before. A global function: verified
 * once. Numbers and no struct: the callers have no stack to spare. */
__attribute__((noinline)) int count_talk(const struct talk *talk, __u32 what, __u64 sent,
					 __u64 received)
{
	struct pod_traffic *of_pod;
	struct traffic *counters;
	struct ends ends;

	/* Never so: the verifier asks. */
	if (!talk)
		return 0;
	find_ends(talk, &ends);
	counters = traffic_of(talk, &ends);
	if (counters)
		add_traffic(counters, what, sent, received);
	if (!counts_pods())
		return 0;
	of_pod = pod_traffic_of(talk, &ends);
	if (of_pod)
		add_traffic(&of_pod->traffic, what, sent, received);
	return 0;
}

/* Counts, by the destination's pod, segments that were sent again or lost and not counted before.
 * A global function, as count_talk. */
__attribute__((noinline)) int count_losses(const struct talk *talk, __u32 retransmits, __u32 lost)
{
	struct pod_traffic *counters;
	struct ends ends;

	/* Never so: the verifier asks. */
	if (!talk)
		return 0;
	find_ends(talk, &ends);
	counters = pod_traffic_of(talk, &ends);
	if (!counters)
		return 0;
	counters->traffic.used_ns = bpf_ktime_get_ns();
	__sync_fetch_and_add(&counters->retransmits, retransmits);
	__sync_fetch_and_add(&counters->lost, lost);
	return 0;
}

static __always_inline void count_failure(__u32 source, __u32 destination, __u32 service,
					  __u8 direction, __u8 outcome)
{
	struct talk talk = {
	    .source = source,
	    .destination = destination,
	    .service = service,
	    .direction = direction,
	    .outcome = outcome,
	};

	count_talk(&talk, COUNT_FAILED, 0, 0);
}

/* Zeroes and stamps a record that the caller has reserved, compared with NULL once, and counted as
 * REASON_EVENT_DROPPED when there was no room. Not here, because clang 14 keeps a second comparison
 * at the caller, and Linux 6.1 then follows its NULL branch with the record held: "Unreleased
 * reference". */
static __always_inline void stamp_event(struct connection_event *event)
{
	__builtin_memset(event, 0, sizeof(*event));
	event->time_ns = bpf_ktime_get_ns();
}

#endif
