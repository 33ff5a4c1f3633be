/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Owns what is told of a verdict: which policy it was, counters, access log. The cold half: nothing
 * here runs for a connection that is allowed and that no dry-run policy matched. Knows no hook.
 */
#ifndef WEFT_AUTHZ_REPORT_H
#define WEFT_AUTHZ_REPORT_H

#include "authz.h"

/* Index of the lowest set bit of a word that is not 0. Global functions, here and below, are
 * verified once and not again at each call. */
__attribute__((noinline)) __u32 lowest_bit(__u64 word)
{
	__u32 bit = 0;

	if (!(word & 0xffffffff)) {
		word >>= 32;
		bit += 32;
	}
	if (!(word & 0xffff)) {
		word >>= 16;
		bit += 16;
	}
	if (!(word & 0xff)) {
		word >>= 8;
		bit += 8;
	}
	if (!(word & 0xf)) {
		word >>= 4;
		bit += 4;
	}
	if (!(word & 0x3)) {
		word >>= 2;
		bit += 2;
	}
	return bit + !(word & 0x1);
}

static __always_inline __u32 policy_of_term(__u32 table, __u32 term)
{
	struct term_key key = {.table = table, .term = term};
	const struct term_origin *origin = bpf_map_lookup_elem(&authz_terms, &key);

	return origin ? origin->policy : 0;
}

static __always_inline void count_policy_hit(__u32 policy, __u32 destination, bool dry_run)
{
	struct policy_hit_key key = {
	    .policy = policy, .destination = destination, .dry_run = dry_run};
	struct counter *counter = bpf_map_lookup_elem(&policy_hits, &key);
	struct counter zero = {};

	if (!counter) {
		bpf_map_update_elem(&policy_hits, &key, &zero, BPF_NOEXIST);
		counter = bpf_map_lookup_elem(&policy_hits, &key);
	}
	if (counter)
		__sync_fetch_and_add(&counter->count, 1);
	else
		count_reason(REASON_TRAFFIC_FULL);
}

/* Id of who a connection comes from. */
static __always_inline __u32 source_of(const struct verdict *verdict)
{
	struct node_open open;

	read_connection(verdict, &open);
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
	bpf_ringbuf_submit(event, 0);
}

/* The DENY or dry-run terms that a connection satisfies in one word of its table. */
__attribute__((noinline)) __u64 find_hits(const struct verdict *verdict, __u32 word, bool dry_run)
{
	const struct verdict_table *table;
	struct term_rows rows;
	__u32 number;
	__u64 hits;

	if (!verdict)
		return 0;
	/* Linux 6.1 takes no key out of a global function's argument. */
	number = verdict->table;
	table = bpf_map_lookup_elem(&authz_tables, &number);
	if (!table)
		return 0;
	word %= TERM_WORDS;
	find_rows(verdict, table, &rows);
	hits = rows.identity->words[word] & rows.address->words[word] & rows.port->words[word] &
	       rows.destination->words[word];
	return hits & (dry_run ? table->dry_run.words[word] : table->deny.words[word]);
}

/* The policy of the first DENY term that matched (id); 0 when no DENY did. Changes nothing. */
static __always_inline __u32 name_policy(const struct verdict *verdict)
{
	__u32 word;
	__u64 hits;

	if (!verdict->deny_words)
		return 0;
	word = lowest_bit(verdict->deny_words);
	hits = find_hits(verdict, word, false);
	return hits ? policy_of_term(verdict->table, word * 64 + lowest_bit(hits)) : 0;
}

/* Counts and records one dry-run match; returns its policy's id. */
__attribute__((noinline)) __u32 report_dry_run(const struct verdict *verdict, __u32 source,
					       __u32 term, __u32 last_policy)
{
	__u32 policy;

	if (!verdict)
		return 0;
	policy = policy_of_term(verdict->table, term);
	/* The terms of one policy stand together: one match of it is one hit. */
	if (policy == last_policy)
		return policy;
	count_policy_hit(policy, verdict->workload, true);
	record_verdict(verdict, source, EVENT_DRY_RUN, 0, policy);
	return policy;
}

/* Counts and records every dry-run term of one word; returns the last one's policy id. */
__attribute__((noinline)) __u32 report_dry_runs(const struct verdict *verdict, __u32 source,
						__u32 word, __u32 policy)
{
	__u64 hits = find_hits(verdict, word, true);

	for (int i = 0; i < 64 && hits; i++) {
		policy = report_dry_run(verdict, source, word * 64 + lowest_bit(hits), policy);
		hits &= hits - 1;
	}
	return policy;
}

/* Tells of a verdict that is not a plain admission. */
__attribute__((noinline)) int report_verdict(const struct verdict *verdict)
{
	__u32 policy = 0, source, words;

	if (!verdict)
		return 0;
	source = source_of(verdict);
	words = verdict->dry_run_words;
	for (int i = 0; i < TERM_WORDS && words; i++) {
		policy = report_dry_runs(verdict, source, lowest_bit(words), policy);
		words &= words - 1;
	}
	if (verdict->allowed)
		return 0;
	policy = name_policy(verdict);
	count_policy_hit(policy, verdict->workload, false);
	count_failure(source, verdict->workload, 0, DIRECTION_INBOUND, OUTCOME_DENY);
	record_verdict(verdict, source, EVENT_DENIED, verdict->reason, policy);
	return 0;
}

/* Judges, counts the reason, and tells of what is worth it. The caller sets addresses and ports of
 * the verdict and zeroes the rest. */
static __always_inline bool authorize(__u64 cookie, struct verdict *verdict)
{
	judge(cookie, verdict);
	count_reason(verdict->reason);
	if (!verdict->allowed || verdict->dry_run_words)
		report_verdict(verdict);
	return verdict->allowed;
}

#endif
