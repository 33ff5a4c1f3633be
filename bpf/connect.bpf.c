// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Hooks cgroup/connect4 and connect6: route TCP and connected UDP at connect(2).
 *
 * When something is missing: no enrolled pod, an unknown destination or another protocol pass
 * untouched; TCP to a known service or workload that cannot be reached by our means is refused with
 * ECONNREFUSED, UDP is left alone; no room to remember a connection costs its metrics, not its
 * route. A socket that cannot tell a waypoint where it was going is refused.
 */
#include "lib/datagram.h"
#include "lib/dns.h"
#include "lib/ends.h"
#include "lib/hook.h"
#include "lib/license.h"
#include "lib/waypoint.h"
#include <bpf/bpf_core_read.h>

static __always_inline void remember(struct bpf_sock_addr *ctx, const struct pod_numbers *pod,
				     const struct destination *original, const struct route *route)
{
	struct connection connection = {
	    .socket = bpf_get_socket_cookie(ctx),
	    .original_port = original->port,
	    .direction = DIRECTION_OUTBOUND,
	    .routed = route->action == ROUTE_REWRITE,
	    .source = pod->workload,
	    .destination = route->workload,
	    .service = route->service,
	};

	/* What leads to no service is found again at its end; the access log wants its start too.
	 */
	if (!route->service && !access_log_enabled()) {
		forget_connection(connection.socket);
		return;
	}
	copy_address(connection.original_address, original->address);
	remember_connection(&connection);
}

/* A socket that was disconnected when its connection was over already: nothing has told of the end,
 * and its place is about to be another connection's. A global function: verified once, not with all
 * that comes before it.
 */
__attribute__((noinline)) int end_former(struct bpf_sock_addr *ctx)
{
	const struct tcp_sock *tcp = bpf_skc_to_tcp_sock(ctx->sk);

	if (tcp)
		end_early(ctx->sk, tcp);
	return 0;
}

/* What the socket was connected to or sent to before is forgotten: only the new peer may answer. */
static __always_inline void connect_flow(struct flows *flows, const struct destination *destination,
					 const struct route *route)
{
	__builtin_memset(flows->flow, 0, sizeof(flows->flow));
	set_flow(&flows->flow[0], destination, route, FLOW_PEER);
	flows->flow[0].order = ++flows->sent;
}

/* Run of a flow that is refused: any but 0. */
#define RUN_REFUSED 1

/* connect(2) succeeds, and no hook sees what is sent after it. So that the application hears of it
 * all the same, the daemon closes such a socket at its next look. */
static __always_inline void connect_nowhere(struct bpf_sock_addr *ctx, struct flows *own,
					    const struct destination *destination)
{
	__u32 refused = CONNECTED_REFUSED;
	__u64 netns = bpf_get_netns_cookie(ctx);
	struct backend nobody = {.port = destination->port};
	struct route route = {.run = RUN_REFUSED, .backend = &nobody};

	copy_address(nobody.address, destination->address);
	if (!own)
		own = bpf_sk_storage_get(&flows, ctx->sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!own) {
		count_reason(REASON_STORAGE_FULL);
		return;
	}
	connect_flow(own, destination, &route);
	own->flow[0].flags |= FLOW_REFUSED;
	if (bpf_map_update_elem(&connected_pods, &netns, &refused, BPF_ANY))
		count_reason(REASON_STORAGE_FULL);
}

/* A connect of a datagram socket sends nothing, so it is never refused: resolvers try addresses by
 * it, on any port. A socket that asks again for what it has keeps its backend. */
static __always_inline int connect_datagrams(struct bpf_sock_addr *ctx, bool v6,
					     const struct pod_numbers *pod)
{
	struct flows *own = bpf_sk_storage_get(&flows, ctx->sk, 0, 0);
	const struct target *target;
	struct destination destination;
	struct backend kept = {};
	struct route route = {};
	struct flow *flow;
	struct find find;

	read_address(ctx, v6, &destination);
	target = find_frontend(&destination, pod->namespace, &find);
	if (!target || !route_frontend(target, false, &route)) {
		if (own)
			__builtin_memset(own->flow, 0, sizeof(own->flow));
		if (!target)
			count_reason(passing_reason());
		/* A port that the service lacks is a resolver's: it wants to see its own address.
		 */
		else if (route.action == ROUTE_REFUSE && route.reason != REASON_NO_PORT)
			connect_nowhere(ctx, own, &destination);
		return HOOK_ACCEPT;
	}
	flow = own ? find_flow(own, &destination) : NULL;
	if (flow && is_eligible(flow, target)) {
		copy_address(kept.address, flow->backend);
		kept.port = flow->backend_port;
		route.backend = &kept;
		route.reason = REASON_ROUTED;
	} else {
		pick_backend(target, &route);
		if (route.action != ROUTE_REWRITE)
			return HOOK_ACCEPT;
	}
	count_reason(route.reason);
	if (!own)
		own = bpf_sk_storage_get(&flows, ctx->sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (own) {
		connect_flow(own, &destination, &route);
		note_connected(bpf_get_netns_cookie(ctx));
	} else {
		count_reason(REASON_STORAGE_FULL);
	}
	write_address(ctx, v6, route.backend->address, route.backend->port);
	return HOOK_ACCEPT;
}

/* Whether the socket, of IPv6, may be connected to IPv4 although it asked for IPv6. */
static __always_inline bool speaks_v4(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct tcp_sock *tcp = bpf_skc_to_tcp_sock(sk);

	if (!tcp || BPF_CORE_READ_BITFIELD(&((struct sock *)tcp)->__sk_common, skc_ipv6only))
		return false;
	/* Bound to an address of IPv6. */
	return !(sk->src_ip6[0] | sk->src_ip6[1] | sk->src_ip6[2] | sk->src_ip6[3]);
}

/* The socket owes a waypoint a header, or is refused. */
static __always_inline void guide(struct bpf_sock_addr *ctx, const struct destination *destination,
				  struct route *route)
{
	__u32 reason = choose_waypoint(ctx, destination);

	if (!reason)
		return;
	route->action = ROUTE_REFUSE;
	route->reason = reason;
}

/* What the kernel says where fast open is not to be had: the application connects and then sends,
 * so nothing has failed. */
static __always_inline int connect_first(void)
{
	bpf_set_retval(-EOPNOTSUPP);
	return HOOK_REJECT;
}

static __always_inline int connect_stream(struct bpf_sock_addr *ctx, bool v6,
					  const struct pod_numbers *pod)
{
	struct destination destination;
	struct route route;

	read_address(ctx, v6, &destination);
	find_route(&destination, pod, IPPROTO_TCP, &route);
	if (v6 && route.action == ROUTE_REWRITE && crosses(&destination, route.backend->address) &&
	    !speaks_v4(ctx)) {
		route.action = ROUTE_REFUSE;
		route.reason = REASON_NO_ADDRESS;
	}
	if (route.action == ROUTE_REWRITE && route.waypoint)
		guide(ctx, &destination, &route);
	else
		forget_waypoint(ctx);
	count_reason(route.reason);
	if (route.action == ROUTE_REFUSE && route.reason == REASON_WAYPOINT_FAST)
		return connect_first();
	if (route.action == ROUTE_REFUSE)
		return refuse(pod, &destination, &route);
	end_former(ctx);
	remember(ctx, pod, &destination, &route);
	if (route.action == ROUTE_REWRITE)
		write_address(ctx, v6, route.backend->address, route.backend->port);
	return HOOK_ACCEPT;
}

static __always_inline int on_connect(struct bpf_sock_addr *ctx, bool v6)
{
	struct pod_numbers pod;

	if (!find_caller(ctx, &pod))
		return HOOK_ACCEPT;
	/* From here on the proxy is where it is going. */
	if (v6)
		ask_proxy6(ctx);
	else
		ask_proxy4(ctx);
	if (ctx->protocol == IPPROTO_TCP)
		return connect_stream(ctx, v6, &pod);
	if (ctx->protocol == IPPROTO_UDP)
		return connect_datagrams(ctx, v6, &pod);
	count_reason(REASON_NOT_TCP_UDP);
	return HOOK_ACCEPT;
}

SEC("cgroup/connect4")
int weft_connect4(struct bpf_sock_addr *ctx)
{
	return on_connect(ctx, false);
}

SEC("cgroup/connect6")
int weft_connect6(struct bpf_sock_addr *ctx)
{
	return on_connect(ctx, true);
}
