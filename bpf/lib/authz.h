/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Owns the verdict on an inbound connection: the packet's two addresses and port in, allowed or not
 * and why out. Knows no hook, so that every hook decides alike.
 *
 * What is missing denies: unknown destination workload, missing table, table that is not complete.
 * Each dimension yields the set of terms the packet satisfies; the AND of the three, against the
 * DENY terms first and the ALLOW terms then, is the verdict. One rule or a thousand cost the same
 * lookups.
 */
#ifndef WEFT_AUTHZ_H
#define WEFT_AUTHZ_H

#include "flow.h"

/* An inbound connection as the destination sees it, after translation. */
struct inbound {
	__be32 source[4];
	__be32 destination[4];
	__be16 source_port;
	__be16 port;
};

struct verdict {
	bool allowed;
	__u32 reason; /* enum reason */
	__u32 policy; /* id of the DENY that matched, 0: none */
	__u32 source; /* workload ids, 0: unknown */
	__u32 destination;
};

/* Terms satisfied by the identity of the source. */
static __always_inline const struct term_set *terms_of_identity(const struct verdict_table *table,
								__u32 number, __u32 identity)
{
	struct identity_row_key key = {.table = number, .identity = identity};
	const struct term_set *row = NULL;

	if (table->flags & TABLE_BY_IDENTITY)
		row = bpf_map_lookup_elem(&authz_identity, &key);
	return row ? row : &table->identity;
}

static __always_inline const struct term_set *terms_of_address(const struct verdict_table *table,
							       __u32 number, const __be32 *source)
{
	struct address_row_key key = {.prefix_bits = 32 + 128, .table = number};
	const struct term_set *row = NULL;

	if (table->flags & TABLE_BY_ADDRESS) {
		copy_address(key.address, source);
		row = bpf_map_lookup_elem(&authz_address, &key);
	}
	return row ? row : &table->address;
}

static __always_inline const struct term_set *terms_of_port(const struct verdict_table *table,
							    __u32 number, __be16 port)
{
	struct port_row_key key = {.table = number, .port = port};
	const struct term_set *row = NULL;

	if (table->flags & TABLE_BY_PORT)
		row = bpf_map_lookup_elem(&authz_port, &key);
	return row ? row : &table->port;
}

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
		counter->count++;
	else
		count_reason(REASON_TRAFFIC_FULL);
}

/* A connection that a policy had something to say about, for the access log. */
struct authz_report {
	struct inbound connection;
	__u32 kind; /* enum event_kind */
	__u32 reason;
	__u32 policy;
	__u32 source;
	__u32 destination;
};

static __always_inline void report_authz(const struct authz_report *report)
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
	copy_address(event->source_address, report->connection.source);
	copy_address(event->destination_address, report->connection.destination);
	copy_address(event->original_address, report->connection.destination);
	event->source_port = report->connection.source_port;
	event->destination_port = report->connection.port;
	event->original_port = report->connection.port;
	event->kind = report->kind;
	event->direction = DIRECTION_INBOUND;
	event->source = report->source;
	event->destination = report->destination;
	event->policy = report->policy;
	event->reason = report->reason;
	bpf_ringbuf_submit(event, 0);
}

/* Counts and records one dry-run match; returns its policy's id. */
__attribute__((noinline)) __u32 record_dry_run(const struct authz_report *connection, __u32 table,
					       __u32 term, __u32 last_policy)
{
	__u32 policy = policy_of_term(table, term);
	struct authz_report report;

	/* The terms of one policy stand together: one match of it is one hit. */
	if (!connection || policy == last_policy)
		return policy;
	report = *connection;
	report.kind = EVENT_DRY_RUN;
	report.policy = policy;
	count_policy_hit(policy, report.destination, true);
	report_authz(&report);
	return policy;
}

/* Counts and records every dry-run term of one word; returns the last one's policy id. */
__attribute__((noinline)) __u32 record_dry_runs(const struct authz_report *connection, __u32 table,
						__u32 first_term, __u64 hits, __u32 policy)
{
	for (int i = 0; i < 64 && hits; i++) {
		policy = record_dry_run(connection, table, first_term + lowest_bit(hits), policy);
		hits &= hits - 1;
	}
	return policy;
}

/* The sets that apply to an inbound connection, one a dimension. */
struct term_rows {
	const struct term_set *identity;
	const struct term_set *address;
	const struct term_set *port;
};

static __always_inline void find_rows(const struct inbound *inbound,
				      const struct verdict_table *table, __u32 number,
				      __u32 identity, struct term_rows *rows)
{
	rows->identity = terms_of_identity(table, number, identity);
	rows->address = terms_of_address(table, number, inbound->source);
	rows->port = terms_of_port(table, number, inbound->port);
}

static __always_inline __u64 terms_hit(const struct term_rows *rows, __u32 word)
{
	return rows->identity->words[word] & rows->address->words[word] & rows->port->words[word];
}

/* The DENY or dry-run terms that an inbound connection satisfies in one word of a table. */
__attribute__((noinline)) __u64 find_hits(const struct authz_report *connection, __u32 number,
					  __u32 identity, __u32 word, bool dry_run)
{
	const struct verdict_table *table = bpf_map_lookup_elem(&authz_tables, &number);
	struct term_rows rows;

	if (!connection || !table)
		return 0;
	word %= TERM_WORDS;
	find_rows(&connection->connection, table, number, identity, &rows);
	return terms_hit(&rows, word) &
	       (dry_run ? table->dry_run.words[word] : table->deny.words[word]);
}

/* The cold half of a judgement: names the policy of the first DENY term that matched (id, 0: none)
 * and counts dry-run matches. The masks tell in which words to look, one bit a word. */
__attribute__((noinline)) int find_policy(const struct authz_report *connection, __u32 number,
					  __u32 identity, __u32 deny_words, __u32 dry_run_words)
{
	__u32 policy = 0;
	__u64 hits;
	__u32 word;

	for (int i = 0; i < TERM_WORDS && dry_run_words; i++) {
		word = lowest_bit(dry_run_words);
		policy =
		    record_dry_runs(connection, number, word * 64,
				    find_hits(connection, number, identity, word, true), policy);
		dry_run_words &= dry_run_words - 1;
	}
	if (!deny_words)
		return 0;
	word = lowest_bit(deny_words);
	hits = find_hits(connection, number, identity, word, false);
	/* 0: the table was replaced since the verdict. */
	return hits ? policy_of_term(number, word * 64 + lowest_bit(hits)) : 0;
}

/* 1 if any bit is set. Without a branch, because paths through a loop multiply in the verifier;
 * the barrier hides from LLVM that this is a comparison, which it would make a branch again. */
static __always_inline __u64 any_bit(__u64 word)
{
	__u64 negated = -word;

	barrier_var(negated);
	return (word | negated) >> 63;
}

_Static_assert(TERM_WORDS <= 16, "match_terms returns one bit a word in 16 bits");

/* The verdict's arithmetic: bits 0-15 tell the words with a DENY hit, 16-31 those with a dry-run
 * hit, bit 32 whether an ALLOW was hit. */
__attribute__((noinline)) __u64 match_terms(const struct verdict_table *table,
					    const struct term_set *identity,
					    const struct term_set *address,
					    const struct term_set *port)
{
	__u64 matched = 0, allow = 0;

	/* Never so: the verifier asks. A DENY in every word, in case it ever were. */
	if (!table || !identity || !address || !port)
		return 0xffff;
	for (__u32 i = 0; i < TERM_WORDS; i++) {
		__u64 hits, deny, dry_run;

		if (i >= table->words)
			break;
		hits = identity->words[i] & address->words[i] & port->words[i];
		deny = hits & table->deny.words[i];
		dry_run = hits & table->dry_run.words[i];
		matched |= any_bit(deny) << i | any_bit(dry_run) << (16 + i);
		allow |= hits & ~(table->deny.words[i] | table->dry_run.words[i]);
	}
	return matched | any_bit(allow) << 32;
}

/* Judges against one complete table. */
static __always_inline void judge_terms(const struct inbound *inbound,
					const struct verdict_table *table, __u32 number,
					__u32 identity, struct verdict *verdict)
{
	struct term_rows rows;
	__u32 deny, dry_run;
	__u64 matched;

	find_rows(inbound, table, number, identity, &rows);
	matched = match_terms(table, rows.identity, rows.address, rows.port);
	deny = matched & 0xffff;
	dry_run = matched >> 16 & 0xffff;
	if (deny || dry_run) {
		struct authz_report report = {
		    .connection = *inbound,
		    .source = verdict->source,
		    .destination = verdict->destination,
		};

		verdict->policy = find_policy(&report, number, identity, deny, dry_run);
	}
	verdict->allowed = !deny && (matched >> 32 || !(table->flags & TABLE_HAS_ALLOW));
	verdict->reason = deny		     ? REASON_AUTHZ_DENIED
			  : verdict->allowed ? REASON_AUTHZ_ALLOWED
					     : REASON_AUTHZ_NO_ALLOW;
}

/* The whole decision, without counting or recording it (dry-run matches excepted). */
static __always_inline void judge(const struct inbound *inbound, struct verdict *verdict)
{
	const struct settings *current = get_settings();
	const struct workload_address *local, *remote;
	const struct verdict_table *table;
	struct address_key key;
	__u32 identity = 0;
	__u32 number;

	__builtin_memset(verdict, 0, sizeof(*verdict));
	copy_address(key.address, inbound->source);
	remote = bpf_map_lookup_elem(&addresses, &key);
	if (remote) {
		verdict->source = remote->workload;
		identity = remote->identity;
	}
	copy_address(key.address, inbound->destination);
	local = bpf_map_lookup_elem(&addresses, &key);
	if (local)
		verdict->destination = local->workload;

	if (remote && remote->flags & ADDRESS_NODE) {
		verdict->allowed = true;
		verdict->reason = REASON_AUTHZ_NODE;
		return;
	}
	if (current && current->authz_locked == LOCK_EVERYTHING) {
		verdict->reason = REASON_AUTHZ_DENY_ALL;
		return;
	}
	if (current && current->authz_off) {
		verdict->allowed = true;
		verdict->reason = REASON_AUTHZ_OFF;
		return;
	}
	if (!local || !local->workload) {
		verdict->reason = REASON_AUTHZ_UNKNOWN_WORKLOAD;
		return;
	}
	number = local->table;
	if (number == TABLE_NONE) {
		verdict->allowed = true;
		verdict->reason = REASON_AUTHZ_NO_POLICY;
		return;
	}
	if (current && current->authz_locked) {
		verdict->reason = REASON_AUTHZ_DENY_ALL;
		return;
	}
	table = bpf_map_lookup_elem(&authz_tables, &number);
	if (!table) {
		verdict->reason = REASON_AUTHZ_NO_TABLE;
		return;
	}
	if (table->flags & TABLE_DENY_ALL) {
		verdict->reason = REASON_AUTHZ_DENY_ALL;
		return;
	}
	judge_terms(inbound, table, number, identity, verdict);
}

/* Judges, counts the reason and the denial, and records a denial in the access log. */
static __always_inline bool authorize(const struct inbound *inbound)
{
	struct verdict verdict;
	struct authz_report report;

	judge(inbound, &verdict);
	count_reason(verdict.reason);
	if (verdict.allowed)
		return true;
	count_policy_hit(verdict.policy, verdict.destination, false);
	count_failure(verdict.source, verdict.destination, 0, DIRECTION_INBOUND, OUTCOME_DENY);
	report = (struct authz_report){
	    .connection = *inbound,
	    .kind = EVENT_DENIED,
	    .reason = verdict.reason,
	    .policy = verdict.policy,
	    .source = verdict.source,
	    .destination = verdict.destination,
	};
	report_authz(&report);
	return false;
}

#endif
