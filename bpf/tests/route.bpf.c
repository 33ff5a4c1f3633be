// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Owns nothing: hands a struct route_case to lib/route.h. Run by BPF_PROG_TEST_RUN only, as XDP
 * because such a packet may be changed in place. Returns XDP_PASS, XDP_ABORTED for a short packet.
 */
#include "lib/route.h"
#include "cases.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

SEC("xdp")
int test_route(struct xdp_md *ctx)
{
	struct route_case *packet = CASE_OF(ctx, route_case);
	struct destination destination = {};
	struct pod_numbers client = {};
	struct route route;
	__u32 *tally;

	if (!packet)
		return XDP_ABORTED;
	copy_address(destination.address, packet->address);
	destination.port = packet->port;
	client.namespace = packet->namespace;
	client.flags = packet->pod_flags;
	find_route(&destination, &client, packet->protocol, &route);

	packet->action = route.action;
	packet->reason = route.reason;
	packet->service = route.service;
	packet->workload = route.workload;
	packet->first_slot = route.first_slot;
	packet->run = route.run;
	packet->waypoint = route.waypoint;
	if (route.action == ROUTE_REWRITE && route.backend) {
		copy_address(packet->backend_address, route.backend->address);
		packet->backend_port = route.backend->port;
	}
	tally = &packet->picks[route.workload < CASE_PICKS ? route.workload : 0];
	/* A computed offset into a packet is checked anew. */
	if ((void *)(tally + 1) > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	(*tally)++;
	return XDP_PASS;
}
