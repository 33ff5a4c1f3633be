// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Hooks cgroup/sendmsg, recvmsg (UDP) and getpeername, 4 and 6: route datagrams that are sent to an
 * address, and show the application the address it asked for.
 *
 * When something is missing: a datagram to a known service that cannot be reached by our means is
 * refused with ECONNREFUSED and counted; without memory a datagram is routed, its answer shown as
 * it comes. A flow keeps its backend as long as that is one of the frontend's.
 */
#include "lib/connections.h"
#include "lib/datagram.h"
#include "lib/dns.h"
#include "lib/hook.h"
#include "lib/license.h"
#include <bpf/bpf_core_read.h>

static __always_inline struct sibling_key sibling_key(struct bpf_sock_addr *ctx,
						      const __be32 *backend, __be16 port)
{
	struct sibling_key key = {
	    .netns = bpf_get_netns_cookie(ctx),
	    .backend_port = port,
	    .local_port = ctx->sk->src_port,
	};

	copy_address(key.backend, backend);
	return key;
}

static __always_inline bool shares_port(struct bpf_sock_addr *ctx)
{
	int shared = 0;

	return !bpf_getsockopt(ctx, SOL_SOCKET, SO_REUSEPORT, &shared, sizeof(shared)) && shared;
}

/* Tells the sockets that share this one's port, so that an answer is shown rightly at any of them.
 */
static __always_inline void tell_siblings(struct bpf_sock_addr *ctx, const struct flow *flow)
{
	struct sibling_key key = sibling_key(ctx, flow->backend, flow->backend_port);
	struct sibling_flow *told = bpf_map_lookup_elem(&sibling_flows, &key);
	struct sibling_flow value = {.asked_port = flow->asked_port};

	if (told && told->asked_port == flow->asked_port && same_address(told->asked, flow->asked))
		return;
	copy_address(value.asked, flow->asked);
	if (bpf_map_update_elem(&sibling_flows, &key, &value, BPF_ANY))
		count_reason(REASON_STORAGE_FULL);
}

/* The socket's flow to the frontend, picked now unless it has an eligible one. NULL: what is in
 * `route` holds, and nothing could be remembered. */
static __always_inline struct flow *flow_to(struct bpf_sock_addr *ctx,
					    const struct destination *destination,
					    const struct target *target, struct route *route)
{
	struct flows *own = bpf_sk_storage_get(&flows, ctx->sk, 0, 0);
	struct flow *flow = own ? find_flow(own, destination) : NULL;

	if (flow && is_eligible(flow, target)) {
		touch_flow(own, flow);
		route->reason = REASON_ROUTED;
		return flow;
	}
	/* Hears its peer only, and that is none; it is about to be closed. */
	if (flow && flow->flags & FLOW_REFUSED && ctx->sk->state == BPF_TCP_ESTABLISHED) {
		route->action = ROUTE_REFUSE;
		route->reason = REASON_NO_ENDPOINT;
		return NULL;
	}
	pick_backend(target, route);
	if (route->action != ROUTE_REWRITE)
		return NULL;
	/* A connected socket hears its peer only; it is about to be closed. */
	if (flow && flow->flags & FLOW_PEER && ctx->sk->state == BPF_TCP_ESTABLISHED)
		return NULL;
	if (!own)
		own = bpf_sk_storage_get(&flows, ctx->sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!own) {
		count_reason(REASON_STORAGE_FULL);
		return NULL;
	}
	if (!flow)
		flow = make_flow(own);
	set_flow(flow, destination, route, shares_port(ctx) ? FLOW_SHARED : 0);
	touch_flow(own, flow);
	return flow;
}

static __always_inline int on_sendmsg(struct bpf_sock_addr *ctx, bool v6)
{
	const struct target *target;
	struct destination destination;
	struct pod_numbers pod;
	struct route route = {};
	struct flow *flow;
	struct find find;

	if (!find_caller(ctx, &pod))
		return HOOK_ACCEPT;
	/* From here on the proxy is where it is going. */
	if (v6)
		ask_proxy6(ctx);
	else
		ask_proxy4(ctx);
	read_address(ctx, v6, &destination);
	target = find_frontend(&destination, pod.namespace, &find);
	if (!target) {
		route_address(&find, false, &route);
	} else if (route_frontend(target, false, &route)) {
		flow = flow_to(ctx, &destination, target, &route);
		if (v6 && (flow || route.action == ROUTE_REWRITE) &&
		    crosses(&destination, flow ? flow->backend : route.backend->address)) {
			/* The kernel sends no datagram of IPv6 to IPv4, other than connected. */
			route.action = ROUTE_REFUSE;
			route.reason = REASON_NO_ADDRESS;
		} else if (flow) {
			if (flow->flags & FLOW_SHARED)
				tell_siblings(ctx, flow);
			write_address(ctx, v6, flow->backend, flow->backend_port);
		} else if (route.action == ROUTE_REWRITE) {
			write_address(ctx, v6, route.backend->address, route.backend->port);
		}
	}
	count_reason(route.reason);
	if (route.action == ROUTE_REFUSE) {
		bpf_set_retval(-ECONNREFUSED);
		return HOOK_REJECT;
	}
	return HOOK_ACCEPT;
}

static __always_inline int on_recvmsg(struct bpf_sock_addr *ctx, bool v6)
{
	struct sibling_flow *told;
	struct destination source;
	struct pod_numbers pod;
	struct sibling_key key;
	struct flows *own;
	struct flow *flow;

	if (!find_pod(ctx, &pod))
		return HOOK_ACCEPT;
	if (show_resolver(ctx, v6))
		return HOOK_ACCEPT;
	read_address(ctx, v6, &source);
	own = bpf_sk_storage_get(&flows, ctx->sk, 0, 0);
	flow = own ? find_answered(own, &source) : NULL;
	if (flow) {
		flow->flags &= ~FLOW_WAITS;
		count_reason(REASON_DATAGRAM_REVERSED);
		write_address(ctx, v6, flow->asked, flow->asked_port);
		return HOOK_ACCEPT;
	}
	if (!shares_port(ctx))
		return HOOK_ACCEPT;
	key = sibling_key(ctx, source.address, source.port);
	told = bpf_map_lookup_elem(&sibling_flows, &key);
	if (told) {
		count_reason(REASON_DATAGRAM_REVERSED);
		write_address(ctx, v6, told->asked, told->asked_port);
	}
	return HOOK_ACCEPT;
}

/* Cookie of the socket that a connection is remembered by. An MPTCP socket is not itself connected:
 * the connect hook has seen its first subflow. */
static __always_inline __u64 connected_socket(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct mptcp_sock *mptcp;

	if (ctx->protocol != IPPROTO_MPTCP || !bpf_core_type_exists(struct mptcp_sock))
		return bpf_get_socket_cookie(ctx);
	/* By way of memory: the verifier lets nobody see in an MPTCP socket more than any socket.
	 */
	if (bpf_probe_read_kernel(&mptcp, sizeof(mptcp), &sk))
		return 0;
	return BPF_CORE_READ(mptcp, first, __sk_common.skc_cookie.counter);
}

static __always_inline int on_getpeername(struct bpf_sock_addr *ctx, bool v6)
{
	struct connection connection;
	struct destination peer;
	struct flows *own;
	struct flow *flow;
	__u64 socket;

	if (show_resolver(ctx, v6))
		return HOOK_ACCEPT;
	if (ctx->protocol == IPPROTO_UDP) {
		read_address(ctx, v6, &peer);
		own = bpf_sk_storage_get(&flows, ctx->sk, 0, 0);
		flow = own ? find_peer(own, &peer) : NULL;
		if (flow)
			write_address(ctx, v6, flow->asked, flow->asked_port);
		return HOOK_ACCEPT;
	}
	socket = connected_socket(ctx);
	if (socket && read_connection(socket, &connection) && connection.routed)
		write_address(ctx, v6, connection.original_address, connection.original_port);
	return HOOK_ACCEPT;
}

SEC("cgroup/sendmsg4")
int weft_sendmsg4(struct bpf_sock_addr *ctx)
{
	return on_sendmsg(ctx, false);
}

SEC("cgroup/sendmsg6")
int weft_sendmsg6(struct bpf_sock_addr *ctx)
{
	return on_sendmsg(ctx, true);
}

SEC("cgroup/recvmsg4")
int weft_recvmsg4(struct bpf_sock_addr *ctx)
{
	return on_recvmsg(ctx, false);
}

SEC("cgroup/recvmsg6")
int weft_recvmsg6(struct bpf_sock_addr *ctx)
{
	return on_recvmsg(ctx, true);
}

SEC("cgroup/getpeername4")
int weft_peername4(struct bpf_sock_addr *ctx)
{
	return on_getpeername(ctx, false);
}

SEC("cgroup/getpeername6")
int weft_peername6(struct bpf_sock_addr *ctx)
{
	return on_getpeername(ctx, true);
}
