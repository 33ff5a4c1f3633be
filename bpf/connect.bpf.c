// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Hooks cgroup/connect4 and connect6: route TCP and connected UDP at connect(2).
 *
 * When something is missing: no enrolled pod, an unknown destination or another protocol pass
 * untouched; a known service or workload that cannot be reached by our means is refused with
 * ECONNREFUSED; no room to remember a connection costs its metrics, not its route.
 */
#include "lib/datagram.h"
#include "lib/hook.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

static __always_inline void remember_connection(struct bpf_sock_addr *ctx, const struct pod *pod,
						const struct destination *original,
						const struct route *route)
{
	struct connection connection = {
	    .original_port = original->port,
	    .direction = DIRECTION_OUTBOUND,
	    .routed = route->action == ROUTE_REWRITE,
	    .source = pod->workload,
	    .destination = route->workload,
	    .service = route->service,
	};
	__u64 socket = bpf_get_socket_cookie(ctx);

	copy_address(connection.original_address, original->address);
	if (bpf_map_update_elem(&connections, &socket, &connection, BPF_ANY))
		count_reason(REASON_STORAGE_FULL);
}

static __always_inline int on_connect(struct bpf_sock_addr *ctx, bool v6)
{
	const struct pod *pod = find_pod(ctx);
	struct destination destination;
	__u32 protocol = ctx->protocol;
	struct route route;

	if (!pod)
		return HOOK_ACCEPT;
	if (protocol != IPPROTO_TCP && protocol != IPPROTO_UDP) {
		count_reason(REASON_NOT_TCP_UDP);
		return HOOK_ACCEPT;
	}
	read_address(ctx, v6, &destination);
	find_route(&destination, &route);
	count_reason(route.reason);
	if (route.action == ROUTE_REFUSE)
		return refuse(pod, &destination, &route);
	if (protocol == IPPROTO_TCP)
		remember_connection(ctx, pod, &destination, &route);
	if (route.action == ROUTE_REWRITE) {
		if (protocol == IPPROTO_UDP)
			remember_reverse(bpf_get_socket_cookie(ctx), &destination, &route);
		write_address(ctx, v6, route.backend->address, route.backend->port);
	}
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
