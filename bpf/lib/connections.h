/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Owns the memory of TCP connections: a table of places, found by the socket's cookie. Knows no
 * hook.
 *
 * A socket has a few places that it may use, in an order of its own. Each place counts those who
 * found it taken and went on, so that a search ends where nobody did: nearly always at the first.
 * Sockets that are made together lie together, in memory that is still at hand. A cookie never
 * comes back, so that a place is whose cookie it bears and nobody else's. Where all are taken, the
 * oldest socket's is taken over: whoever reads asks afterwards whether the place is still its own.
 * Only its own socket writes to a place, and fills it before anything reads it.
 *
 * A place is given back when its connection has ended. One whose connect failed before its SYN is
 * given back when the socket is destroyed, where tracing programs see that; elsewhere it stays
 * taken until another socket takes it over, as does that of a socket which the hooks do not see
 * end.
 */
#ifndef WEFT_CONNECTIONS_H
#define WEFT_CONNECTIONS_H

#include "flow.h"

/* Tries to claim a place when others claim the same one. */
#define CLAIM_TRIES 2

static __always_inline __u32 connection_places(void)
{
	return ((struct bpf_map *)&connections)->max_entries;
}

/* The n-th place that a socket may use; daemon/bpf/connection-table.ts spells it too. Sockets whose
 * cookies differ in the last bits only have theirs side by side. */
static __always_inline struct connection *get_place(__u64 socket, __u32 probe, __u32 places)
{
	__u64 group = socket / CONNECTION_GROUP ^ probe * 0xd1b54a32d192ed03ULL;
	__u64 hash = (group * 0x9e3779b97f4a7c15ULL) >> 32;
	__u32 index = (__u32)((hash * (places / CONNECTION_GROUP)) >> 32) * CONNECTION_GROUP +
		      (__u32)(socket % CONNECTION_GROUP);

	return bpf_map_lookup_elem(&connections, &index);
}

/* Whose place it is, read anew. */
static __always_inline __u64 owner_of(const struct connection *place)
{
	return *(const volatile __u64 *)&place->socket;
}

/* Which of its places a socket has, CONNECTION_PROBES: none. What has a loop here is a global
 * function: verified once, and not again with all that its callers may have seen. */
__attribute__((noinline)) __u32 find_probe(__u64 socket)
{
	__u32 places = connection_places();

	/* A socket whose cookie nobody has asked for: 0 is in every free place. */
	if (!socket)
		return CONNECTION_PROBES;
	for (__u32 i = 0; i < CONNECTION_PROBES; i++) {
		struct connection *place = get_place(socket, i, places);

		if (!place)
			break;
		if (owner_of(place) == socket)
			return i;
		if (!place->passed)
			break;
	}
	return CONNECTION_PROBES;
}

/* The socket's own place and which of its places that is. NULL: it has none. */
static __always_inline struct connection *find_place(__u64 socket, __u32 *probe)
{
	*probe = find_probe(socket);
	if (*probe >= CONNECTION_PROBES)
		return NULL;
	return get_place(socket, *probe, connection_places());
}

/* Notes at the places before its own that the socket found them taken; or, -1, that it is gone. */
__attribute__((noinline)) int pass_places(__u64 socket, __u32 probe, __u32 change)
{
	__u32 places = connection_places();

	for (__u32 i = 0; i < CONNECTION_PROBES; i++) {
		struct connection *place;

		if (i >= probe)
			break;
		place = get_place(socket, i, places);
		if (place)
			__sync_fetch_and_add(&place->passed, change);
	}
	return 0;
}

static __always_inline void count_places(__u64 change)
{
	__u32 first = 0;
	struct counter *taken = bpf_map_lookup_elem(&connection_fill, &first);

	if (taken)
		__sync_fetch_and_add(&taken->count, change);
}

/* Where a socket's connection is to be remembered. */
struct choice {
	__u64 owner; /* of the place, 0: it is free */
	__u32 probe;
	__u32 found; /* 0: there is no place at all */
};

/* The socket's own place, else the first free one, else the one of the oldest socket. */
__attribute__((noinline)) int choose_place(__u64 socket, struct choice *choice)
{
	__u32 places = connection_places();
	bool goes_on = true;

	/* Never so: the verifier asks. */
	if (!choice)
		return 0;
	for (__u32 i = 0; i < CONNECTION_PROBES; i++) {
		struct connection *place = get_place(socket, i, places);
		__u64 owner;

		if (!place)
			break;
		owner = owner_of(place);
		if (owner == socket || !choice->found || owner < choice->owner) {
			choice->found = 1;
			choice->owner = owner;
			choice->probe = i;
		}
		goes_on = goes_on && place->passed;
		if (owner == socket || (!choice->owner && !goes_on))
			break;
	}
	return 0;
}

/* The socket's own place, now to be filled. NULL: others were faster each time. */
static __always_inline struct connection *claim_place(__u64 socket)
{
	for (__u32 tries = 0; tries < CLAIM_TRIES; tries++) {
		struct choice choice = {};
		struct connection *place;

		choose_place(socket, &choice);
		place = get_place(socket, choice.probe, connection_places());
		if (!place || choice.owner == socket)
			return place;
		if (__sync_val_compare_and_swap(&place->socket, choice.owner, socket) !=
		    choice.owner)
			continue;
		if (!choice.owner)
			count_places(1);
		if (choice.probe)
			pass_places(socket, choice.probe, 1);
		return place;
	}
	return NULL;
}

/* Gives a place back. False when another socket had taken it over. */
static __always_inline bool release_place(struct connection *place, __u64 socket, __u32 probe)
{
	if (__sync_val_compare_and_swap(&place->socket, socket, 0) != socket)
		return false;
	if (probe)
		pass_places(socket, probe, -1);
	count_places(-1);
	return true;
}

/* Copies a place. False when another socket has taken it over meanwhile. */
static __always_inline bool read_place(struct connection *place, __u64 socket,
				       struct connection *connection)
{
	*connection = *place;
	/* A compare and swap, because it orders the reads before it on every CPU. */
	return __sync_val_compare_and_swap(&place->socket, socket, socket) == socket;
}

/* Reads what is remembered of a socket. False when that is nothing. */
static __always_inline bool read_connection(__u64 socket, struct connection *connection)
{
	__u32 probe;
	struct connection *place = find_place(socket, &probe);

	return place && read_place(place, socket, connection);
}

/* As read_connection, and the place is given back. */
static __always_inline bool take_connection(__u64 socket, struct connection *connection)
{
	__u32 probe;
	struct connection *place = find_place(socket, &probe);

	if (!place)
		return false;
	*connection = *place;
	return release_place(place, socket, probe);
}

static __always_inline void forget_connection(__u64 socket)
{
	__u32 probe;
	struct connection *place = find_place(socket, &probe);

	if (place)
		release_place(place, socket, probe);
}

/* Remembers a connection in place of what was remembered of its socket. */
static __always_inline bool remember_connection(const struct connection *connection)
{
	struct connection *place = claim_place(connection->socket);

	if (!place) {
		count_reason(REASON_STORAGE_FULL);
		return false;
	}
	copy_address(place->original_address, connection->original_address);
	place->original_port = connection->original_port;
	place->direction = connection->direction;
	place->routed = connection->routed;
	place->source = connection->source;
	place->destination = connection->destination;
	place->service = connection->service;
	place->opened_ns = connection->opened_ns;
	return true;
}

#endif
