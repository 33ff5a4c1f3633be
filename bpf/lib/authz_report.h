/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Owns what is told of a verdict: which policy it was, counters, access log. The cold half: nothing
 * here runs for a connection that is allowed and that no dry-run policy matched. Knows no hook.
 */
#ifndef WEFT_AUTHZ_REPORT_H
#define WEFT_AUTHZ_REPORT_H

#include "authz.h"

/* Which policy a term comes from. */
static __always_inline struct term_origin origin_of_term(__u32 table, __u32 term)
{
	struct term_key key = {.table = table, .term = term};
	const struct term_origin *found = bpf_map_lookup_elem(&authz_terms, &key);
	struct term_origin origin = {.policy = POLICY_UNKNOWN};

	if (found)
		origin = *found;
	return origin;
}

/* `workload` is the destination's id. */
static __always_inline void count_policy_hit(__u32 policy, __u32 workload, enum hit_kind kind)
{
	struct policy_hit_key key = {.policy = policy, .destination_party = workload, .kind = kind};
	struct hits *hits;
	struct hits zero = {};

	key.destination_party = party_of(&key.destination_party);
	hits = bpf_map_lookup_elem(&policy_hits, &key);
	if (!hits) {
		bpf_map_update_elem(&policy_hits, &key, &zero, BPF_NOEXIST);
		hits = bpf_map_lookup_elem(&policy_hits, &key);
	}
	if (!hits) {
		count_reason(REASON_TRAFFIC_FULL);
		key.policy = POLICY_OVERFLOW;
		key.destination_party = PARTY_OVERFLOW;
		hits = bpf_map_lookup_elem(&policy_hits, &key);
	}
	if (!hits)
		return;
	__sync_fetch_and_add(&hits->count, 1);
	hits->used_ns = bpf_ktime_get_ns();
}

/* Id of who a connection comes from. A global function: what it looks through must not multiply the
 * ways of its callers. */
__attribute__((noinline)) __u32 source_of(const struct verdict *verdict)
{
	struct node_open open;

	/* Never so: the verifier asks. */
	if (!verdict)
		return WORKLOAD_UNKNOWN;
	read_node_open(verdict, &open);
	return name_source(&open);
}

/* Writes one access log record: the verdict on a connection, or a dry-run match of a policy. */
static __always_inline void record_verdict(const struct verdict *verdict, __u32 source, __u8 kind,
					   __u32 reason, __u32 policy)
{
	struct connection_event *event;

	if (!access_log_enabled())
		return;
	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event) {
		count_reason(REASON_EVENT_DROPPED);
		return;
	}
	stamp_event(event);
	copy_address(event->source_address, verdict->source);
	copy_address(event->destination_address, verdict->destination);
	copy_address(event->original_address, verdict->destination);
	event->source_port = verdict->source_port;
	event->destination_port = verdict->port;
	event->original_port = verdict->port;
	event->kind = kind;
	event->direction = DIRECTION_INBOUND;
	event->source = source;
	event->destination = verdict->workload;
	event->policy = policy;
	event->reason = reason;
	event->state = verdict->state;
	event->early = verdict->early;
	bpf_ringbuf_submit(event, 0);
}

/* Terms of one chunk that a connection satisfies: enum chunk_match. Global functions, here and
 * below, are verified once and not again at each call. */
__attribute__((noinline)) int find_hits(const struct verdict *verdict, __u32 chunk,
					struct term_chunk *hits)
{
	const struct verdict_table *table;
	struct term_rows rows = {};
	__u32 number;

	if (!verdict || !hits)
		return CHUNK_ABSENT;
	/* Linux 6.1 takes no key out of a global function's argument. */
	number = verdict->table;
	table = bpf_map_lookup_elem(&authz_tables, &number);
	if (!table || !(find_rows(verdict, table, &rows) & 1ULL << (chunk & (TABLE_CHUNKS - 1))))
		return CHUNK_ABSENT;
	return match_chunk(&rows, chunk, hits);
}

/* The policy of the first term that decided, a DENY's or an ALLOW's (id); 0 when none did. Changes
 * nothing. */
__attribute__((noinline)) __u32 name_policy(const struct verdict *verdict)
{
	struct term_chunk hits;
	__u32 term;

	if (!verdict || verdict->chunk >= TABLE_CHUNKS)
		return 0;
	if (find_hits(verdict, verdict->chunk, &hits) != CHUNK_HITS)
		return POLICY_UNKNOWN;
	term = verdict->chunk * CHUNK_TERMS;
	for (int i = 0; i < CHUNK_WORDS; i++, term += 64) {
		if (hits.words[i])
			return origin_of_term(verdict->table, term + lowest_bit(hits.words[i]))
			    .policy;
	}
	return POLICY_UNKNOWN;
}

/* Counts and records one dry-run match; returns its policy's id. */
__attribute__((noinline)) __u32 report_dry_run(const struct verdict *verdict, __u32 source,
					       __u32 term, __u32 last_policy)
{
	struct term_origin origin;

	if (!verdict)
		return 0;
	origin = origin_of_term(verdict->table, term);
	/* The terms of one policy stand together: one match of it is one hit. */
	if (origin.policy == last_policy)
		return origin.policy;
	count_policy_hit(origin.policy, verdict->workload,
			 origin.flags & TERM_DENY ? HIT_WOULD_DENY : HIT_WOULD_ALLOW);
	record_verdict(verdict, source, EVENT_DRY_RUN, 0, origin.policy);
	return origin.policy;
}

/* Counts and records every dry-run term of one word; returns the last one's policy id. */
__attribute__((noinline)) __u32 report_dry_runs(const struct verdict *verdict, __u32 source,
						__u64 hits, __u32 first_term, __u32 policy)
{
	for (int i = 0; i < 64 && hits; i++) {
		policy = report_dry_run(verdict, source, first_term + lowest_bit(hits), policy);
		hits &= hits - 1;
	}
	return policy;
}

/* As report_dry_runs(), of one chunk. */
__attribute__((noinline)) __u32 report_dry_run_chunk(const struct verdict *verdict, __u32 source,
						     __u32 chunk, __u32 policy)
{
	struct term_chunk hits;

	if (!verdict || find_hits(verdict, chunk, &hits) != CHUNK_HITS)
		return policy;
	for (int i = 0; i < CHUNK_WORDS; i++)
		policy = report_dry_runs(verdict, source, hits.words[i],
					 chunk * CHUNK_TERMS + i * 64, policy);
	return policy;
}

/* Tells of a denial. What an early hook denies may never have become a connection (nobody has
 * looked at its checksum), so that it is kept apart from those that would have. */
static __always_inline void report_denial(const struct verdict *verdict, __u32 source)
{
	bool by_policy =
	    verdict->reason == REASON_AUTHZ_DENIED || verdict->reason == REASON_AUTHZ_NO_ALLOW;
	__u32 policy = name_policy(verdict);

	/* Of what is denied for want of a name or a table no policy tells. */
	if (by_policy)
		count_policy_hit(policy, verdict->workload,
				 verdict->early ? HIT_EARLY : HIT_DENIED);
	if (!verdict->early)
		count_failure(source, verdict->workload, 0, DIRECTION_INBOUND, OUTCOME_DENY);
	record_verdict(verdict, source, EVENT_DENIED, verdict->reason, policy);
}

/* Tells of a denial by an early hook. */
__attribute__((noinline)) int report_early(const struct verdict *verdict)
{
	if (verdict)
		report_denial(verdict, source_of(verdict));
	return 0;
}

/* Tells of a verdict that is not a plain admission. */
__attribute__((noinline)) int report_verdict(const struct verdict *verdict)
{
	__u32 policy = 0, source;
	__u64 chunks;

	if (!verdict)
		return 0;
	source = source_of(verdict);
	chunks = verdict->dry_run_chunks;
	for (int i = 0; i < TABLE_CHUNKS && chunks; i++) {
		policy = report_dry_run_chunk(verdict, source, lowest_bit(chunks), policy);
		chunks &= chunks - 1;
	}
	if (!verdict->allowed)
		report_denial(verdict, source);
	return 0;
}

/* Counts an admission by the policy that allowed it; 0: no ALLOW applies, and no DENY matched. */
__attribute__((noinline)) int report_admission(const struct verdict *verdict)
{
	if (verdict)
		count_policy_hit(name_policy(verdict), verdict->workload, HIT_ALLOWED);
	return 0;
}

/* Leaves a denial to the tracepoint of the packet, which knows whether it is an attempt. */
static __always_inline bool defer_denial(const struct verdict *verdict)
{
	struct verdict *slot;
	__u32 first = 0;

	slot = bpf_map_lookup_elem(&denied, &first);
	if (!slot)
		return false;
	*slot = *verdict;
	return true;
}

/* Judges, counts the reason, and tells of what is worth it. The caller sets addresses and ports of
 * the verdict and zeroes the rest. */
static __always_inline bool authorize(__u64 cookie, struct verdict *verdict)
{
	const struct settings *current = get_settings();

	judge(cookie, verdict);
	if (!verdict->allowed && current && current->drops_traced && defer_denial(verdict))
		return false;
	if (verdict->reason == REASON_AUTHZ_ALLOWED && current && current->count_allowed)
		report_admission(verdict);
	count_reason(verdict->reason);
	if (!verdict->allowed || verdict->dry_run_chunks)
		report_verdict(verdict);
	return verdict->allowed;
}

#endif
