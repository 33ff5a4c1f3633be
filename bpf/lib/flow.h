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

/* The counters of a key, made when missing. NULL, counted, when the map is full. */
static __always_inline struct traffic *get_traffic(const struct traffic_key *key)
{
	struct traffic *counters = bpf_map_lookup_elem(&traffic, key);
	struct traffic zero = {};

	if (counters)
		return counters;
	bpf_map_update_elem(&traffic, key, &zero, BPF_NOEXIST);
	counters = bpf_map_lookup_elem(&traffic, key);
	if (!counters)
		count_reason(REASON_TRAFFIC_FULL);
	return counters;
}

static __always_inline void count_failure(__u32 source, __u32 destination, __u32 service,
					  __u8 direction, __u8 outcome)
{
	struct traffic_key key = {
	    .source = source,
	    .destination = destination,
	    .service = service,
	    .direction = direction,
	    .outcome = outcome,
	};
	struct traffic *counters = get_traffic(&key);

	if (counters)
		__sync_fetch_and_add(&counters->failed, 1);
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
