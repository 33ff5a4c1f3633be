/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Owns the memory of datagram flows: which backend a socket uses for a frontend, and which frontend
 * a backend's answer belongs to. Knows no hook.
 */
#ifndef WEFT_DATAGRAM_H
#define WEFT_DATAGRAM_H

#include "route.h"

static __always_inline struct datagram *find_datagram(__u64 socket, const __be32 *address,
						      __be16 port, __u8 role)
{
	struct datagram_key key = {.socket = socket, .port = port, .role = role};

	copy_address(key.address, address);
	return bpf_map_lookup_elem(&datagrams, &key);
}

static __always_inline void put_datagram(__u64 socket, const __be32 *from, __be16 from_port,
					 __u8 role, const __be32 *to, __be16 to_port,
					 const struct route *route)
{
	struct datagram_key key = {.socket = socket, .port = from_port, .role = role};
	struct datagram value = {
	    .port = to_port, .first_slot = route->first_slot, .workload = route->workload};

	copy_address(key.address, from);
	copy_address(value.address, to);
	bpf_map_update_elem(&datagrams, &key, &value, BPF_ANY);
}

/* Remembers that answers from the backend are the frontend's. */
static __always_inline void remember_reverse(__u64 socket, const struct destination *frontend,
					     const struct route *route)
{
	put_datagram(socket, route->backend->address, route->backend->port, DATAGRAM_REVERSE,
		     frontend->address, frontend->port, route);
}

/* Remembers both directions, so that the socket's next datagram goes to the same backend. */
static __always_inline void remember_flow(__u64 socket, const struct destination *frontend,
					  const struct route *route)
{
	put_datagram(socket, frontend->address, frontend->port, DATAGRAM_FORWARD,
		     route->backend->address, route->backend->port, route);
	remember_reverse(socket, frontend, route);
}

#endif
