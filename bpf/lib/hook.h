/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Owns what the cgroup address hooks share: reading and writing struct bpf_sock_addr, refusing.
 * Knows no decision.
 */
#ifndef WEFT_HOOK_H
#define WEFT_HOOK_H

#include "route.h"

/* Return values of a cgroup address hook. */
#define HOOK_ACCEPT 1
#define HOOK_REJECT 0

/* Destination (connect, sendmsg) or source (recvmsg, getpeername) of the call. */
static __always_inline void read_address(const struct bpf_sock_addr *ctx, bool v6,
					 struct destination *address)
{
	if (v6) {
		CTX_COPY_V6(address->address, ctx->user_ip6);
	} else {
		set_v4(address->address, ctx->user_ip4);
	}
	address->port = (__be16)ctx->user_port;
}

static __always_inline void write_address(struct bpf_sock_addr *ctx, bool v6, const __be32 *address,
					  __be16 port)
{
	if (v6) {
		ctx->user_ip6[0] = address[0];
		ctx->user_ip6[1] = address[1];
		ctx->user_ip6[2] = address[2];
		ctx->user_ip6[3] = address[3];
	} else {
		ctx->user_ip4 = address[3];
	}
	ctx->user_port = port;
}

/* Whether a destination of IPv6 has been given a backend of IPv4. */
static __always_inline bool crosses(const struct destination *destination, const __be32 *backend)
{
	return is_v4(backend) && !is_v4(destination->address);
}

/* The pod that the socket belongs to. False outside the mesh. */
static __always_inline bool find_pod(struct bpf_sock_addr *ctx, struct pod_numbers *pod)
{
	return read_pod(bpf_get_netns_cookie(ctx), pod);
}

/* As find_pod, counted outside the mesh. */
static __always_inline bool find_caller(struct bpf_sock_addr *ctx, struct pod_numbers *pod)
{
	if (find_pod(ctx, pod))
		return true;
	count_reason(REASON_NOT_ENROLLED);
	return false;
}

/* Fails the call with ECONNREFUSED, counts it, and records it in the access log. */
static __always_inline int refuse(const struct pod_numbers *pod,
				  const struct destination *destination, const struct route *route)
{
	struct connection_event *event;

	count_failure(pod->workload, route->workload, route->service, DIRECTION_OUTBOUND,
		      OUTCOME_NO_ENDPOINT);
	if (access_log_enabled()) {
		event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
		if (!event) {
			count_reason(REASON_EVENT_DROPPED);
		} else {
			stamp_event(event);
			copy_address(event->destination_address, destination->address);
			copy_address(event->original_address, destination->address);
			event->destination_port = destination->port;
			event->original_port = destination->port;
			event->kind = EVENT_FAILED;
			event->direction = DIRECTION_OUTBOUND;
			event->source = pod->workload;
			event->destination = route->workload;
			event->service = route->service;
			event->reason = route->reason;
			bpf_ringbuf_submit(event, 0);
		}
	}
	bpf_set_retval(-ECONNREFUSED);
	return HOOK_REJECT;
}

#endif
