// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Hooks cgroup/sendmsg, recvmsg (UDP) and getpeername, 4 and 6: route datagrams of unconnected
 * sockets, and show the application the address it asked for.
 *
 * When something is missing: sendmsg treats it as connect does; recvmsg and getpeername leave the
 * address as it is. A flow keeps its backend until the frontend's run of slots is replaced.
 */
#include "lib/datagram.h"
#include "lib/hook.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* As find_route, but a socket that already talks to the frontend stays with its backend. */
static __always_inline int on_sendmsg(struct bpf_sock_addr *ctx, bool v6)
{
	const struct pod *pod = find_pod(ctx);
	const struct frontend *frontend;
	struct destination destination;
	struct route route = {};
	const struct datagram *flow;
	__u64 socket;

	if (!pod)
		return HOOK_ACCEPT;
	read_address(ctx, v6, &destination);
	frontend = find_frontend(&destination);
	if (!frontend) {
		route_address(&destination, &route);
	} else if (route_frontend(frontend, &route)) {
		socket = bpf_get_socket_cookie(ctx);
		flow =
		    find_datagram(socket, destination.address, destination.port, DATAGRAM_FORWARD);
		if (flow && flow->first_slot == frontend->first_slot) {
			write_address(ctx, v6, flow->address, flow->port);
			return HOOK_ACCEPT;
		}
		pick_backend(frontend, &route);
		if (route.action == ROUTE_REWRITE)
			remember_flow(socket, &destination, &route);
	}
	count_reason(route.reason);
	if (route.action == ROUTE_REFUSE)
		return refuse(pod, &destination, &route);
	if (route.action == ROUTE_REWRITE)
		write_address(ctx, v6, route.backend->address, route.backend->port);
	return HOOK_ACCEPT;
}

static __always_inline int on_recvmsg(struct bpf_sock_addr *ctx, bool v6)
{
	struct destination source;
	const struct datagram *flow;

	read_address(ctx, v6, &source);
	flow = find_datagram(bpf_get_socket_cookie(ctx), source.address, source.port,
			     DATAGRAM_REVERSE);
	if (flow) {
		count_reason(REASON_DATAGRAM_REVERSED);
		write_address(ctx, v6, flow->address, flow->port);
	}
	return HOOK_ACCEPT;
}

static __always_inline int on_getpeername(struct bpf_sock_addr *ctx, bool v6)
{
	__u64 socket = bpf_get_socket_cookie(ctx);
	const struct connection *connection;

	if (ctx->protocol == IPPROTO_UDP)
		return on_recvmsg(ctx, v6);
	connection = bpf_map_lookup_elem(&connections, &socket);
	if (connection && connection->routed)
		write_address(ctx, v6, connection->original_address, connection->original_port);
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
