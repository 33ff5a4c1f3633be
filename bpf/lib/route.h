/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Owns the routing decision: destination in, what to do with it out. Knows no hook and no packet.
 *
 * Three lookups in all for a connection through a frontend: pod (the hook's), frontend, slot.
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

static __always_inline const struct frontend *find_frontend(const struct destination *destination)
{
	struct frontend_key key = {.port = destination->port, .prefix_length = 128};
	struct cidr_key block_key = {.prefix_bits = 128};
	const struct frontend *frontend;
	const struct cidr *block;

	copy_address(key.address, destination->address);
	frontend = bpf_map_lookup_elem(&frontends, &key);
	if (frontend)
		return frontend;
	key.port = 0;
	frontend = bpf_map_lookup_elem(&frontends, &key);
	if (frontend)
		return frontend;

	copy_address(block_key.address, destination->address);
	block = bpf_map_lookup_elem(&cidrs, &block_key);
	if (!block)
		return NULL;
	copy_address(key.address, block->address);
	key.prefix_length = block->prefix_length;
	key.port = destination->port;
	frontend = bpf_map_lookup_elem(&frontends, &key);
	if (frontend)
		return frontend;
	key.port = 0;
	return bpf_map_lookup_elem(&frontends, &key);
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
static __always_inline void pick_backend(const struct frontend *frontend, struct route *route)
{
	__u64 scaled = (__u64)bpf_get_prandom_u32() * frontend->slots;
	__u32 index = frontend->first_slot + (__u32)(scaled >> 32);
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
static __always_inline bool route_frontend(const struct frontend *frontend, __u32 protocol,
					   struct route *route)
{
	route->service = frontend->service;
	route->first_slot = frontend->first_slot;
	route->run = frontend->run;
	/* Before PASSTHROUGH: leaving the destination alone would go around the waypoint. */
	if (frontend->flags & FRONTEND_WAYPOINT && protocol == IPPROTO_TCP) {
		route->action = ROUTE_REFUSE;
		route->reason = REASON_WAYPOINT_UNSUPPORTED;
		return false;
	}
	if (frontend->flags & FRONTEND_PASSTHROUGH) {
		route->action = ROUTE_PASS;
		route->reason = REASON_MODE_PASSTHROUGH;
		return false;
	}
	if (!frontend->slots) {
		route->action = ROUTE_REFUSE;
		route->reason = frontend->reason;
		return false;
	}
	return true;
}

/* The whole decision for a new connection. Waypoints carry TCP only. */
static __always_inline void find_route(const struct destination *destination, __u32 protocol,
				       struct route *route)
{
	const struct frontend *frontend = find_frontend(destination);

	__builtin_memset(route, 0, sizeof(*route));
	if (!frontend)
		route_address(destination, protocol, route);
	else if (route_frontend(frontend, protocol, route))
		pick_backend(frontend, route);
}

#endif
