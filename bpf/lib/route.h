/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Owns the routing decision: destination in, what to do with it out. Knows no hook and no packet.
 *
 * Two lookups in hashes for a connection through a frontend, pod (the hook's) and frontend, and two
 * in arrays, target and slot. A frontend is one word that names a target; targets and slots are
 * never changed while a hook may be reading them.
 * What is missing: an unknown destination passes, a known one without a usable backend is refused.
 */
#ifndef WEFT_ROUTE_H
#define WEFT_ROUTE_H

#include "flow.h"
#include "word.h"

enum route_action {
	ROUTE_PASS,    /* leave the destination alone */
	ROUTE_REWRITE, /* go to `backend` */
	ROUTE_REFUSE,  /* fail with ECONNREFUSED */
};

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
	__u32 run;	  /* hash of that run's content */
	const struct backend *backend; /* set with ROUTE_REWRITE */
};

/* In place of an index into `targets`. */
enum no_target {
	TARGET_NONE = 0,	   /* there is no such frontend */
	TARGET_TORN = 0xffffffffU, /* there is one, and what it names cannot be read */
};

/* How often the daemon began or ended to rewrite the frontends. */
static __always_inline __u32 read_rewrites(void)
{
	__u32 key = 0;
	const __u32 *count = bpf_map_lookup_elem(&rewrites, &key);

	return count ? *(const volatile __u32 *)count : 0;
}

/* Asks for one key, once. */
static __always_inline __u32 ask_frontend(const struct frontend_key *key)
{
	const struct frontend *frontend = bpf_map_lookup_elem(&frontends, key);
	__u32 index;

	if (!frontend)
		return TARGET_NONE;
	WORD_PAUSE();
	return read_word(&frontend->target, tag_of_frontend(key), &index) ? index : TARGET_TORN;
}

/* What a search has found. */
struct find {
	__u32 index; /* into `targets`, or enum no_target */
	__u32 rank;  /* how narrow the key is that it was found by, 0: nothing was found */
};

/* Of the port of an address: nothing is narrower. Of a word that cannot be read: less than of any
 * other. */
#define RANK_EXACT (2 * 128 + 3)
#define RANK_TORN  1

/* Asks for a port, then for all ports of an address or a block. A port comes before its address
 * and goes after it: where there is an address now, the port may have come just before. */
static __always_inline bool ask_ports(struct frontend_key *key, __be16 port, struct find *find)
{
	__u32 index;

	key->port = port;
	find->index = ask_frontend(key);
	find->rank = 2 * key->prefix_length + 3;
	if (find->index != TARGET_NONE)
		return true;
	key->port = 0;
	index = ask_frontend(key);
	if (index == TARGET_NONE)
		return false;
	key->port = port;
	find->index = ask_frontend(key);
	if (find->index != TARGET_NONE)
		return true;
	find->index = index;
	find->rank = 2 * key->prefix_length + 2;
	return true;
}

/* Asks for the address, then for the block around it. */
static __always_inline void search_frontends(const struct destination *destination,
					     struct find *find)
{
	struct frontend_key key = {.prefix_length = 128};
	struct cidr_key block_key = {.prefix_bits = 128};
	const struct cidr *block;

	copy_address(key.address, destination->address);
	if (ask_ports(&key, destination->port, find))
		return;
	copy_address(block_key.address, destination->address);
	block = bpf_map_lookup_elem(&cidrs, &block_key);
	if (block) {
		WORD_PAUSE();
		copy_address(key.address, block->address);
		key.prefix_length = block->prefix_length;
		if (ask_ports(&key, destination->port, find))
			return;
	}
	find->rank = 0;
}

struct search {
	struct destination destination;
	struct find best;
};

/* Searches once; 1 when what was found is proved. */
static long search_once(__u32 turn __attribute__((unused)), struct search *search)
{
	__u32 before = read_rewrites();
	struct find find;

	search_frontends(&search->destination, &find);
	/* Of what cannot be read only that there is something. */
	if (find.index == TARGET_TORN)
		find.rank = RANK_TORN;
	else if (find.rank == RANK_EXACT || (!(before & 1) && before == read_rewrites())) {
		search->best = find;
		return 1;
	}
	if (find.rank > search->best.rank)
		search->best = find;
	return 0;
}

/* Index of the target that a destination has. A search that took in a change is made again: the
 * kernel may pass a key by whose element is being replaced, and several keys may be of different
 * states. Only the narrowest key's own word needs no such proof.
 *
 * While a change lasts nothing can be proved, so after WORD_TRIES searches the narrowest of what
 * they found holds: that it was found is no error, that something narrower was not may be one. Not
 * found by any is taken for absent: refusing would cut off every destination outside the mesh for
 * as long as a daemon that died within a change stays away. A word that cannot be read is refused:
 * the destination is a frontend, and neither another's target nor passing it by is right.
 * A global function: verified once, not for each path to it.
 */
__attribute__((noinline)) __u32 find_target(const struct destination *destination)
{
	struct search search = {};

	/* Never so: the verifier asks. */
	if (!destination)
		return TARGET_TORN;
	search.destination = *destination;
	if (!search_once(0, &search))
		bpf_loop(WORD_TRIES - 1, search_once, &search, 0);
	return search.best.index;
}

/* What is said of a destination. NULL: it is no frontend. */
static __always_inline const struct target *find_frontend(const struct destination *destination)
{
	__u32 index = find_target(destination);
	const struct target *target;

	if (index == TARGET_NONE)
		return NULL;
	target = bpf_map_lookup_elem(&targets, &index);
	if (target)
		return target;
	index = 0;
	return bpf_map_lookup_elem(&targets, &index);
}

/* A destination that is no frontend: a workload's own address, or nothing we know. */
static __always_inline void route_address(const struct destination *destination, __u32 protocol,
					  struct route *route)
{
	struct address_numbers owner;

	route->action = ROUTE_PASS;
	route->reason = REASON_PASSTHROUGH;
	if (!read_owner(destination->address, &owner))
		return;
	route->workload = owner.workload;
	if (owner.flags & ADDRESS_REMOTE_NETWORK) {
		route->action = ROUTE_REFUSE;
		route->reason = REASON_REMOTE_NETWORK;
	} else if (owner.flags & ADDRESS_WAYPOINT && protocol == IPPROTO_TCP) {
		route->action = ROUTE_REFUSE;
		route->reason = REASON_WAYPOINT_UNSUPPORTED;
	}
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
	route->reason = REASON_ROUTED;
	route->backend = (__u32)scaled < slot->threshold ? &slot->primary : &slot->alias;
	route->workload = route->backend->workload;
}

/* What the frontend says apart from the pick. True when a backend is still to be picked. */
static __always_inline bool route_frontend(const struct target *target, __u32 protocol,
					   struct route *route)
{
	route->service = target->service;
	route->first_slot = target->first_slot;
	route->run = target->run;
	/* Before PASSTHROUGH: leaving the destination alone would go around the waypoint. */
	if (target->flags & TARGET_WAYPOINT && protocol == IPPROTO_TCP) {
		route->action = ROUTE_REFUSE;
		route->reason = REASON_WAYPOINT_UNSUPPORTED;
		return false;
	}
	if (target->flags & TARGET_PASSTHROUGH) {
		route->action = ROUTE_PASS;
		route->reason = REASON_MODE_PASSTHROUGH;
		return false;
	}
	if (!target->slots) {
		route->action = ROUTE_REFUSE;
		route->reason = target->reason ?: REASON_SLOT_MISSING;
		return false;
	}
	return true;
}

/* The whole decision for a new connection. Waypoints carry TCP only. */
static __always_inline void find_route(const struct destination *destination, __u32 protocol,
				       struct route *route)
{
	const struct target *target = find_frontend(destination);

	__builtin_memset(route, 0, sizeof(*route));
	if (!target)
		route_address(destination, protocol, route);
	else if (route_frontend(target, protocol, route))
		pick_backend(target, route);
}

#endif
