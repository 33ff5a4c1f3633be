/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Owns the verdict on an inbound connection to a pod: the pod, the packet's two addresses and port
 * in, allowed or not and why out. Knows no hook, and changes nothing, so that whoever asks gets the
 * same answer and nobody hears of it.
 *
 * What is missing denies: a pod, a table, a chunk that is not there. Each dimension yields the set
 * of terms the packet satisfies: a row. The AND of them, of the DENY terms first and the ALLOW
 * terms then, is the verdict. Rows are summed up in a word, and only chunks that may hold a common
 * term are read, so that one rule or ten thousand cost about the same. A table and its rows never
 * change once a pod names them, and leave only when no hook can be between the two.
 */
#ifndef WEFT_AUTHZ_H
#define WEFT_AUTHZ_H

#include "node.h"
#include "word.h"

/* Terms satisfied by the identity of the source. */
static __always_inline const struct term_row *terms_of_identity(const struct verdict_table *table,
								__u32 number, __u32 identity)
{
	struct identity_row_key key = {.table = number, .identity = identity};
	const struct term_row *row = bpf_map_lookup_elem(&authz_identity, &key);

	return row ? row : &table->identity;
}

static __always_inline const struct term_row *terms_of_address(const struct verdict_table *table,
							       __u32 number, const __be32 *source)
{
	struct address_row_key key = {.prefix_bits = 32 + 128, .table = number};
	const struct term_row *row;

	copy_address(key.address, source);
	row = bpf_map_lookup_elem(&authz_address, &key);
	return row ? row : &table->address;
}

static __always_inline const struct term_row *
terms_of_destination(const struct verdict_table *table, __u32 number, const __be32 *destination)
{
	struct address_row_key key = {.prefix_bits = 32 + 128, .table = number};
	const struct term_row *row;

	copy_address(key.address, destination);
	row = bpf_map_lookup_elem(&authz_dest, &key);
	return row ? row : &table->destination;
}

static __always_inline const struct term_row *terms_of_port(const struct verdict_table *table,
							    __u32 number, __be16 port)
{
	struct port_row_key key = {.table = number, .port = port};
	const struct term_row *row = bpf_map_lookup_elem(&authz_port, &key);

	return row ? row : &table->port;
}

/* The sets that apply to an inbound connection, one a dimension. */
struct term_rows {
	struct term_row identity;
	struct term_row address;
	struct term_row port;
	struct term_row destination;
	__u32 flags; /* of the table: dimensions without a flag hold for every term */
	__u32 pad;
};

/* Chunks that may hold a term which every dimension satisfies. */
static __always_inline __u64 find_rows(const struct verdict *verdict,
				       const struct verdict_table *table, struct term_rows *rows)
{
	__u64 chunks = ~0ULL;

	rows->flags = table->flags;
	if (table->flags & TABLE_BY_IDENTITY) {
		rows->identity = *terms_of_identity(table, verdict->table, verdict->identity);
		chunks &= rows->identity.chunks;
	}
	if (table->flags & TABLE_BY_ADDRESS) {
		rows->address = *terms_of_address(table, verdict->table, verdict->source);
		chunks &= rows->address.chunks;
	}
	if (table->flags & TABLE_BY_PORT) {
		rows->port = *terms_of_port(table, verdict->table, verdict->port);
		chunks &= rows->port.chunks;
	}
	if (table->flags & TABLE_BY_DESTINATION) {
		rows->destination =
		    *terms_of_destination(table, verdict->table, verdict->destination);
		chunks &= rows->destination.chunks;
	}
	return chunks;
}

static __always_inline __u32 count_bits(__u64 word)
{
	word -= word >> 1 & 0x5555555555555555;
	word = (word & 0x3333333333333333) + (word >> 2 & 0x3333333333333333);
	word = (word + (word >> 4)) & 0x0f0f0f0f0f0f0f0f;
	return word * 0x0101010101010101 >> 56;
}

/* Index of the lowest set bit of a word that is not 0. */
static __always_inline __u32 lowest_bit(__u64 word)
{
	return count_bits((word & -word) - 1);
}

/* Keeps of `hits` the terms that are in the row's chunk too. False when the chunk is not there: one
 * that the row names is never empty. */
static __always_inline bool intersect(const struct term_row *row, __u32 chunk, __u64 *hits)
{
	__u32 index = row->first + count_bits(row->chunks & ((1ULL << chunk) - 1));
	const struct term_chunk *terms = bpf_map_lookup_elem(&authz_chunks, &index);
	__u64 any = 0;

	if (!terms)
		return false;
	for (int i = 0; i < CHUNK_WORDS; i++) {
		any |= terms->words[i];
		hits[i] &= terms->words[i];
	}
	return any;
}

enum chunk_match {
	CHUNK_MISSES,
	CHUNK_HITS,
	CHUNK_ABSENT, /* it is not there: whoever asks denies */
};

/* Terms of one chunk that the connection satisfies. A global function: verified once and not again
 * at each call. `chunk` is one of find_rows(). */
__attribute__((noinline)) int match_chunk(const struct term_rows *rows, __u32 chunk,
					  struct term_chunk *hits)
{
	bool there = true;

	/* Never so: the verifier asks. */
	if (!rows || !hits)
		return CHUNK_ABSENT;
	chunk &= TABLE_CHUNKS - 1;
	for (int i = 0; i < CHUNK_WORDS; i++)
		hits->words[i] = ~0ULL;
	if (rows->flags & TABLE_BY_IDENTITY)
		there &= intersect(&rows->identity, chunk, hits->words);
	if (rows->flags & TABLE_BY_ADDRESS)
		there &= intersect(&rows->address, chunk, hits->words);
	if (rows->flags & TABLE_BY_PORT)
		there &= intersect(&rows->port, chunk, hits->words);
	if (rows->flags & TABLE_BY_DESTINATION)
		there &= intersect(&rows->destination, chunk, hits->words);
	if (!there)
		return CHUNK_ABSENT;
	return hits->words[0] | hits->words[1] | hits->words[2] | hits->words[3] ? CHUNK_HITS
										 : CHUNK_MISSES;
}

_Static_assert(CHUNK_WORDS == 4, "match_chunk looks at four words");

/* The first of these chunks that is not a miss; what it is goes to `match`. */
static __always_inline __u32 search_chunks(const struct term_rows *rows, __u64 chunks, int *match)
{
	struct term_chunk hits;
	__u32 chunk = 0;

	*match = CHUNK_MISSES;
	for (int i = 0; i < TABLE_CHUNKS && chunks; i++) {
		chunk = lowest_bit(chunks);
		*match = match_chunk(rows, chunk, &hits);
		if (*match != CHUNK_MISSES)
			break;
		chunks &= chunks - 1;
	}
	return chunk;
}

/* An address that nobody has may be one that could not be stored. */
static __always_inline bool is_locked(void)
{
	const struct settings *current = get_settings();

	return current && current->authz_locked;
}

/* Judges against the table that guards the pod. A global function, so that what it keeps on the
 * stack is gone before anything is told of the verdict: the two together are more than Linux 6.1
 * grants. */
__attribute__((noinline)) int judge_terms(struct verdict *verdict)
{
	const struct verdict_table *table;
	struct address_numbers source;
	struct term_rows rows = {};
	__u32 number, chunk;
	__u64 chunks;
	int match;

	/* Never so: the verifier asks. */
	if (!verdict)
		return 0;
	verdict->reason = REASON_AUTHZ_NO_TABLE;
	/* Linux 6.1 takes no key out of a global function's argument. */
	number = verdict->table;
	table = bpf_map_lookup_elem(&authz_tables, &number);
	if (!table)
		return 0;
	if (table->flags & TABLE_BY_IDENTITY) {
		read_owner(verdict->source, &source);
		verdict->identity = source.identity;
		if (!source.workload && is_locked()) {
			verdict->reason = REASON_AUTHZ_DENY_ALL;
			return 0;
		}
	}
	chunks = find_rows(verdict, table, &rows);
	verdict->dry_run_chunks = chunks & table->dry_run_chunks;
	chunk = search_chunks(&rows, chunks & table->deny_chunks, &match);
	if (match == CHUNK_HITS) {
		verdict->chunk = chunk;
		verdict->reason = REASON_AUTHZ_DENIED;
		return 0;
	}
	if (match == CHUNK_MISSES && table->flags & TABLE_HAS_ALLOW) {
		chunk = search_chunks(&rows, chunks & table->allow_chunks, &match);
		if (match == CHUNK_HITS)
			verdict->chunk = chunk;
	} else if (match == CHUNK_MISSES) {
		match = CHUNK_HITS;
	}
	verdict->allowed = match == CHUNK_HITS;
	if (match == CHUNK_HITS)
		verdict->reason = REASON_AUTHZ_ALLOWED;
	else if (match == CHUNK_MISSES)
		verdict->reason = REASON_AUTHZ_NO_ALLOW;
	return 0;
}

/* What the number that guards the pod says. */
static __always_inline void judge_by_guard(struct verdict *verdict)
{
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
	judge_terms(verdict);
}

/* The connection as the node would have remembered it. */
static __always_inline void read_node_open(const struct verdict *verdict, struct node_open *open)
{
	copy_address(open->source, verdict->source);
	copy_address(open->destination, verdict->destination);
	open->source_port = verdict->source_port;
	open->destination_port = verdict->port;
}

static __always_inline bool is_from_node(const struct verdict *verdict)
{
	struct node_open open;

	read_node_open(verdict, &open);
	return opened_by_node(&open);
}

/* The whole decision on a connection to the pod of this network namespace. The caller sets
 * addresses and ports of the verdict and zeroes the rest. */
static __always_inline void judge(__u64 cookie, struct verdict *verdict)
{
	const struct settings *current = get_settings();
	struct pod_numbers pod;

	verdict->chunk = NO_CHUNK;
	read_pod(cookie, &pod);
	verdict->workload = pod.workload;
	verdict->table = pod.guard;
	if (is_disabled()) {
		verdict->allowed = 1;
		verdict->reason = REASON_DISABLED;
		return;
	}
	if (current && current->authz_off) {
		verdict->allowed = 1;
		verdict->reason = REASON_AUTHZ_OFF;
		return;
	}
	judge_by_guard(verdict);
	if (!verdict->allowed && current && current->authz_node && is_from_node(verdict)) {
		verdict->allowed = 1;
		verdict->reason = REASON_AUTHZ_NODE;
	}
}

#endif
