/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Owns the verdict on an inbound connection to a pod: the pod, the packet's two addresses and port
 * in, allowed or not and why out. Knows no hook, and changes nothing, so that whoever asks gets the
 * same answer and nobody hears of it.
 *
 * What is missing denies: a pod that is not there, a table that is not there. Each dimension yields
 * the set of terms the packet satisfies; the AND of them, against the DENY terms first and the
 * ALLOW terms then, is the verdict. One rule or a thousand cost the same lookups. A table and its
 * rows never change once a pod names them, and leave only when no hook can be between the two.
 */
#ifndef WEFT_AUTHZ_H
#define WEFT_AUTHZ_H

#include "node.h"
#include "word.h"

/* An inbound connection as the destination sees it, after translation, and what became of it. */
struct verdict {
	__be32 source[4];
	__be32 destination[4];
	__be16 source_port;
	__be16 port;

	/* Set by judge(). */
	__u32 allowed;	     /* 1 or 0 */
	__u32 reason;	     /* enum reason */
	__u32 workload;	     /* id of the pod's workload, 0: not named */
	__u32 table;	     /* the number that guards the pod */
	__u32 identity;	     /* number of the source's, 0: none, or no term asks */
	__u32 deny_words;    /* words of the table with a DENY hit, one bit a word */
	__u32 dry_run_words; /* those with a dry-run hit */
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

static __always_inline const struct term_set *
terms_of_destination(const struct verdict_table *table, __u32 number, const __be32 *destination)
{
	struct address_row_key key = {.prefix_bits = 32 + 128, .table = number};
	const struct term_set *row = NULL;

	if (table->flags & TABLE_BY_DESTINATION) {
		copy_address(key.address, destination);
		row = bpf_map_lookup_elem(&authz_dest, &key);
	}
	return row ? row : &table->destination;
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

/* The sets that apply to an inbound connection, one a dimension. */
struct term_rows {
	const struct term_set *identity;
	const struct term_set *address;
	const struct term_set *port;
	const struct term_set *destination;
};

static __always_inline void find_rows(const struct verdict *verdict,
				      const struct verdict_table *table, struct term_rows *rows)
{
	rows->identity = terms_of_identity(table, verdict->table, verdict->identity);
	rows->address = terms_of_address(table, verdict->table, verdict->source);
	rows->port = terms_of_port(table, verdict->table, verdict->port);
	rows->destination = terms_of_destination(table, verdict->table, verdict->destination);
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

/* The verdict's arithmetic, in a global function, which is verified once and not again at each
 * call: bits 0-15 tell the words with a DENY hit, 16-31 those with a dry-run hit, bit 32 whether an
 * ALLOW was hit. */
__attribute__((noinline)) __u64 match_terms(const struct verdict_table *table,
					    const struct term_set *identity,
					    const struct term_set *address,
					    const struct term_set *port,
					    const struct term_set *destination)
{
	__u64 matched = 0, allow = 0;

	/* Never so: the verifier asks. A DENY in every word, in case it ever were. */
	if (!table || !identity || !address || !port || !destination)
		return 0xffff;
	for (__u32 i = 0; i < TERM_WORDS; i++) {
		__u64 hits, deny, dry_run;

		if (i >= table->words)
			break;
		hits =
		    identity->words[i] & address->words[i] & port->words[i] & destination->words[i];
		deny = hits & table->deny.words[i];
		dry_run = hits & table->dry_run.words[i];
		matched |= any_bit(deny) << i | any_bit(dry_run) << (16 + i);
		allow |= hits & ~(table->deny.words[i] | table->dry_run.words[i]);
	}
	return matched | any_bit(allow) << 32;
}

/* Judges against one complete table. */
static __always_inline void judge_terms(const struct verdict_table *table, struct verdict *verdict)
{
	struct address_numbers source;
	struct term_rows rows;
	__u64 matched;

	if (table->flags & TABLE_BY_IDENTITY) {
		read_owner(verdict->source, &source);
		verdict->identity = source.identity;
	}
	find_rows(verdict, table, &rows);
	matched = match_terms(table, rows.identity, rows.address, rows.port, rows.destination);
	verdict->deny_words = matched & 0xffff;
	verdict->dry_run_words = matched >> 16 & 0xffff;
	if (verdict->deny_words) {
		verdict->reason = REASON_AUTHZ_DENIED;
	} else if (matched >> 32 || !(table->flags & TABLE_HAS_ALLOW)) {
		verdict->allowed = 1;
		verdict->reason = REASON_AUTHZ_ALLOWED;
	} else {
		verdict->reason = REASON_AUTHZ_NO_ALLOW;
	}
}

/* What the number that guards the pod says. */
static __always_inline void judge_by_guard(const struct settings *current, struct verdict *verdict)
{
	const struct verdict_table *table;

	if (verdict->table == TABLE_UNKNOWN) {
		verdict->reason = REASON_AUTHZ_UNKNOWN_POD;
		return;
	}
	if (verdict->table == TABLE_DENY) {
		verdict->reason = verdict->workload ? REASON_AUTHZ_DENY_ALL : REASON_AUTHZ_UNNAMED;
		return;
	}
	if (verdict->table == TABLE_OPEN) {
		verdict->allowed = 1;
		verdict->reason = REASON_AUTHZ_NO_POLICY;
		return;
	}
	if (current && current->authz_locked) {
		verdict->reason = REASON_AUTHZ_DENY_ALL;
		return;
	}
	table = bpf_map_lookup_elem(&authz_tables, &verdict->table);
	if (!table) {
		verdict->reason = REASON_AUTHZ_NO_TABLE;
		return;
	}
	judge_terms(table, verdict);
}

/* The connection as the node would have remembered it. */
static __always_inline void read_connection(const struct verdict *verdict, struct node_open *open)
{
	copy_address(open->source, verdict->source);
	copy_address(open->destination, verdict->destination);
	open->source_port = verdict->source_port;
	open->destination_port = verdict->port;
}

static __always_inline bool is_from_node(const struct verdict *verdict)
{
	struct node_open open;

	read_connection(verdict, &open);
	return opened_by_node(&open);
}

/* The whole decision on a connection to the pod of this network namespace. The caller sets
 * addresses and ports of the verdict and zeroes the rest. */
static __always_inline void judge(__u64 cookie, struct verdict *verdict)
{
	const struct settings *current = get_settings();
	struct pod_numbers pod;

	read_pod(cookie, &pod);
	verdict->workload = pod.workload;
	verdict->table = pod.guard;
	if (current && current->authz_off) {
		verdict->allowed = 1;
		verdict->reason = REASON_AUTHZ_OFF;
		return;
	}
	judge_by_guard(current, verdict);
	if (!verdict->allowed && current && current->authz_node && is_from_node(verdict)) {
		verdict->allowed = 1;
		verdict->reason = REASON_AUTHZ_NODE;
	}
}

#endif
