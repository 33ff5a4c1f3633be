/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Owns the routing decision: destination in, what to do with it out. Knows no hook and no packet.
 *
 * Two lookups in hashes whatever the destination: pod (the hook's) and address; the rest are
 * elements of arrays. What is known of an address is one word that names a frontend; targets, views
 * and slots are never changed while a hook may be reading them. Blocks are asked, where there are
 * any, for an address of which nothing is known.
 * What is missing: an unknown destination passes, a known one without a usable backend is refused.
 */
#ifndef WEFT_ROUTE_H
#define WEFT_ROUTE_H

#include "flow.h"
#include "word.h"

struct destination {
	__be32 address[4];
	__be16 port;
};

struct route {
	enum route_action action;
	__u32 reason;	  /* enum reason */
	__u32 service;	  /* id, 0: the destination is no frontend */
	__u32 workload;	  /* id of the backend or of the addressed workload, 0: unknown */
	__u32 first_slot; /* of the run the backend comes from */
	__u32 slots;	  /* of that run */
	__u32 run;	  /* hash of its content */
	bool waypoint;	  /* the run is a waypoint's: the backend must be told the destination */
	const struct backend *backend; /* set with ROUTE_REWRITE */
};

/* In place of an index into `targets`. */
enum no_target {
	TARGET_NONE = 0,	   /* there is no frontend */
	TARGET_TORN = 0xffffffffU, /* there is one, and what it names cannot be read */
};

/* What a search has found. */
struct find {
	__u32 target;	/* index into `targets`, or enum no_target */
	__u32 workload; /* id of the address' owner, 0: unknown */
	__u32 flags;	/* of the address */
	__u32 waypoint; /* number of the owner's, 0: none */
	__u32 rank;	/* enum rank */
};

/* How much rather than another find this one holds while none can be proved. */
enum rank {
	RANK_NONE,
	RANK_TORN,   /* a word that cannot be read: something is there */
	RANK_ABSENT, /* nothing is */
	RANK_BLOCK,
	RANK_KNOWN, /* the address' own word: needs no proof */
};

/* Whether and how often the daemon rewrites what is searched. */
static __always_inline struct rewrites read_rewrites(void)
{
	__u32 key = 0;
	const struct rewrites *current = bpf_map_lookup_elem(&rewrites, &key);
	struct rewrites none = {};

	if (!current)
		return none;
	return (struct rewrites){
	    .count = *(const volatile __u32 *)&current->count,
	    .blocks = *(const volatile __u32 *)&current->blocks,
	};
}

/* Halvings that find an element among 65,535. */
#define SEARCH_STEPS 16

/* Index of the target for a port: the first of the run, when it is not listed. TARGET_TORN when the
 * run is not there as a whole. A global function, as all here that loop: verified once. */
__attribute__((noinline)) __u32 find_port(__u32 first, __u32 port)
{
	const struct target *target = bpf_map_lookup_elem(&targets, &first);
	__u32 low = 1, high;

	/* One that nobody has written is no service's. */
	if (!target || !target->service)
		return TARGET_TORN;
	high = target->ports;
	for (int i = 0; i <= SEARCH_STEPS && low <= high; i++) {
		__u32 middle = (low + high) / 2, index = first + middle, other;

		target = bpf_map_lookup_elem(&targets, &index);
		if (!target)
			return TARGET_TORN;
		other = bpf_ntohs(target->port);
		if (other == port)
			return index;
		if (other < port)
			low = middle + 1;
		else
			high = middle - 1;
	}
	return first;
}

/* First target of what clients of a namespace see, or enum no_target. */
__attribute__((noinline)) __u32 find_view(__u32 first, __u32 namespace)
{
	const struct view *view = bpf_map_lookup_elem(&views, &first);
	__u32 low = 1, high, unlisted;

	if (!view || !view->namespace)
		return TARGET_TORN;
	high = view->namespace;
	unlisted = view->target;
	for (int i = 0; i <= SEARCH_STEPS && low <= high; i++) {
		__u32 middle = (low + high) / 2, index = first + middle;

		view = bpf_map_lookup_elem(&views, &index);
		if (!view)
			return TARGET_TORN;
		if (view->namespace == namespace)
			return view->target;
		if (view->namespace < namespace)
			low = middle + 1;
		else
			high = middle - 1;
	}
	return unlisted;
}

struct search {
	struct destination destination;
	__u32 namespace; /* the client's */
	struct find best;
};

/* Target of a destination by what is said of its address, or of its block, which leaves alone what
 * it does not list. */
static __always_inline __u32 see_target(__u32 index, __u32 flags, bool block,
					const struct search *search)
{
	__u32 first = index, target;

	if (flags & ADDRESS_SHARED)
		first = find_view(index, search->namespace);
	if (first == TARGET_NONE || first == TARGET_TORN)
		return first;
	target = find_port(first, bpf_ntohs(search->destination.port));
	return block && target == first ? TARGET_NONE : target;
}

/* What the address itself says. RANK_NONE: nothing. */
static __always_inline void search_address(const struct search *search, struct find *find)
{
	struct address_numbers known = {};

	switch (ask_address(search->destination.address, &known)) {
	case ASKED_ABSENT:
		return;
	case ASKED_TORN:
		find->target = TARGET_TORN;
		find->rank = RANK_TORN;
		return;
	default:
		break;
	}
	find->target = see_target(known.frontend, known.flags, false, search);
	find->workload = known.workload;
	find->flags = known.flags;
	find->waypoint = known.waypoint;
	if (find->target != TARGET_NONE || known.workload)
		find->rank = RANK_KNOWN;
}

static __always_inline void search_blocks(const struct search *search, struct find *find)
{
	struct cidr_key key = {.prefix_bits = 128};
	const struct cidr *block;

	find->rank = RANK_ABSENT;
	copy_address(key.address, search->destination.address);
	block = bpf_map_lookup_elem(&cidrs, &key);
	if (!block)
		return;
	WORD_PAUSE();
	find->target = see_target(block->frontend >> FRONTEND_SHIFT, block->frontend, true, search);
	if (find->target != TARGET_NONE)
		find->rank = RANK_BLOCK;
}

/* Searches once; 1 when what was found is proved. */
static long search_once(__u32 turn __attribute__((unused)), struct search *search)
{
	struct rewrites before = read_rewrites();
	struct find find = {};
	bool proved;

	search_address(search, &find);
	proved = find.rank == RANK_KNOWN;
	if (find.rank == RANK_NONE) {
		find.rank = RANK_ABSENT;
		if (before.blocks || before.count & 1)
			search_blocks(search, &find);
		proved = !(before.count & 1) && before.count == read_rewrites().count;
	}
	if (proved || find.rank >= search->best.rank)
		search->best = find;
	return proved;
}

/* What is known of a destination, for clients of a namespace. A search that took in a change is
 * made again: the kernel may pass a key by whose element is being replaced, and address and block
 * may be of different states. Only what the address' own word says needs no such proof.
 *
 * While a change lasts nothing can be proved, so after WORD_TRIES searches the best of what they
 * found holds: that it was found is no error, that something narrower was not may be one. Not
 * found by any is taken for absent: refusing would cut off every destination outside the mesh for
 * as long as a daemon that died within a change stays away. A word that cannot be read is refused:
 * something is there, and neither another's target nor passing it by is right.
 */
__attribute__((noinline)) int find_destination(const struct destination *destination,
					       __u32 namespace, struct find *find)
{
	struct search search = {.namespace = namespace};

	/* Never so: the verifier asks. */
	if (!destination || !find)
		return 0;
	search.destination = *destination;
	if (!search_once(0, &search))
		bpf_loop(WORD_TRIES - 1, search_once, &search, 0);
	*find = search.best;
	return 0;
}

/* What is said of a destination. NULL: there is no frontend, and `find` says what is known: nothing
 * while weft is disabled. */
static __always_inline const struct target *find_frontend(const struct destination *destination,
							  __u32 namespace, struct find *find)
{
	const struct target *target;
	__u32 none = 0;

	*find = (struct find){};
	if (is_disabled())
		return NULL;
	find->target = TARGET_TORN;
	find_destination(destination, namespace, find);
	if (find->target == TARGET_NONE)
		return NULL;
	target = bpf_map_lookup_elem(&targets, &find->target);
	return target ?: bpf_map_lookup_elem(&targets, &none);
}

/* Index of the target that says where the endpoints of a waypoint are, TARGET_TORN when it cannot
 * be read. */
__attribute__((noinline)) __u32 find_waypoint(__u32 number)
{
	const struct word *word = bpf_map_lookup_elem(&waypoints, &number);
	__u32 target;

	for (int i = 0; word && i < WORD_TRIES; i++) {
		if (read_word(word, number, &target))
			return target;
	}
	return TARGET_TORN;
}

/* Leads to a waypoint instead; what it says of its endpoints, NULL: refused. */
static __always_inline const struct target *route_waypoint(__u32 number, struct route *route)
{
	__u32 index = find_waypoint(number);
	const struct target *target = bpf_map_lookup_elem(&targets, &index);

	route->waypoint = true;
	if (target && target->slots) {
		route->first_slot = target->first_slot;
		route->slots = target->slots;
		route->run = target->run;
		return target;
	}
	route->action = ROUTE_REFUSE;
	route->reason = REASON_NO_WAYPOINT;
	return NULL;
}

/* Why a destination of which nothing is said is left alone. */
static __always_inline __u32 passing_reason(void)
{
	return is_disabled() ? REASON_DISABLED : REASON_PASSTHROUGH;
}

/* A destination that is no frontend: a workload's own address, or nothing we know. What says where
 * to go instead, NULL: nothing does. */
static __always_inline const struct target *route_address(const struct find *find, bool guided,
							  struct route *route)
{
	route->action = ROUTE_PASS;
	route->reason = passing_reason();
	route->workload = find->workload;
	if (find->flags & ADDRESS_REMOTE_NETWORK) {
		route->action = ROUTE_REFUSE;
		route->reason = REASON_REMOTE_NETWORK;
	} else if (guided && find->waypoint) {
		return route_waypoint(find->waypoint, route);
	}
	return NULL;
}

/* Picks by weight with one random number: its high bits choose the column, the rest decides
 * between the column's two backends. */
static __always_inline void pick_backend(const struct target *target, struct route *route)
{
	__u64 scaled = (__u64)bpf_get_prandom_u32() * target->slots;
	__u32 index = target->first_slot + (__u32)(scaled >> 32);
	const struct slot *slot = bpf_map_lookup_elem(&slots, &index);

	if (!slot) {
		route->action = ROUTE_REFUSE;
		route->reason = REASON_SLOT_MISSING;
		return;
	}
	route->action = ROUTE_REWRITE;
	route->reason = route->waypoint ? REASON_TO_WAYPOINT : REASON_ROUTED;
	route->backend = (__u32)scaled < slot->threshold ? &slot->primary : &slot->alias;
	route->workload = route->backend->workload;
}

/* What the frontend says apart from the pick; from what a backend is to be picked, NULL: from
 * nothing. `guided`: what goes through waypoints. */
static __always_inline const struct target *route_frontend(const struct target *target, bool guided,
							   struct route *route)
{
	route->service = target->service;
	/* Before PASSTHROUGH: leaving the destination alone would go around the waypoint. */
	if (guided && target->waypoint)
		return route_waypoint(target->waypoint, route);
	route->first_slot = target->first_slot;
	route->slots = target->slots;
	route->run = target->run;
	if (target->flags & TARGET_PASSTHROUGH) {
		route->action = ROUTE_PASS;
		route->reason = REASON_MODE_PASSTHROUGH;
		return NULL;
	}
	if (!target->slots) {
		route->action = ROUTE_REFUSE;
		route->reason = target->reason ?: REASON_SLOT_MISSING;
		return NULL;
	}
	return target;
}

/* Waypoints carry TCP only, and not what they open themselves. */
static __always_inline bool is_guided(const struct pod_numbers *client, __u32 protocol)
{
	return protocol == IPPROTO_TCP && !(client->flags & POD_WAYPOINT);
}

/* The whole decision for a new connection of a client. */
static __always_inline void find_route(const struct destination *destination,
				       const struct pod_numbers *client, __u32 protocol,
				       struct route *route)
{
	bool guided = is_guided(client, protocol);
	struct find find;
	const struct target *target = find_frontend(destination, client->namespace, &find);

	__builtin_memset(route, 0, sizeof(*route));
	if (!target)
		target = route_address(&find, guided, route);
	else
		target = route_frontend(target, guided, route);
	if (target)
		pick_backend(target, route);
}

#endif
