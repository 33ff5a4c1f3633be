// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Owns nothing: routes for a struct route_tear_case while another CPU rewrites what the routes hang
 * on. The pause between finding an element and reading it gives the writer time to reuse it.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

/* Now and then, and then for longer than the writer takes for two entries: the element of the first
 * is the one that the second is written to. */
#define WORD_PAUSE()                                                                               \
	do {                                                                                       \
		if (bpf_get_prandom_u32() & 7)                                                     \
			break;                                                                     \
		for (int reading = 0; reading < 64; reading++)                                     \
			bpf_ktime_get_ns();                                                        \
	} while (0)

#include "lib/route.h"
#include "cases.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define HTTP_PORT 80
#define PASSES	  1

/* How a route to one destination came out: 1 when no state of the maps gives it. One global
 * function, so that the verifier walks a decision once. */
__attribute__((noinline)) int strays(struct route_tear_case *packet, __u32 address, __u32 allowed)
{
	struct destination destination = {.port = bpf_htons(HTTP_PORT)};
	struct pod_numbers client = {};
	struct route route;
	__u32 backend, number;

	if (!packet)
		return 1;
	set_v4(destination.address, bpf_htonl(address));
	find_route(&destination, &client, IPPROTO_TCP, &route);
	if (route.action == ROUTE_PASS && allowed & PASSES)
		return 0;
	if (route.action == ROUTE_REWRITE && route.backend) {
		backend = bpf_ntohl(route.backend->address[3]);
		number = backend >> 16 & (TEAR_SERVICES - 1);
		if (allowed & 1U << number && packet->services[number] == route.service &&
		    bpf_ntohs(route.backend->port) == TEAR_PORT + number)
			return 0;
	}
	packet->action = route.action;
	packet->reason = route.reason;
	packet->service = route.service;
	return 1;
}

SEC("xdp")
int test_route_tear(struct xdp_md *ctx)
{
	struct route_tear_case *packet = CASE_OF(ctx, route_tear_case), local;

	if (!packet)
		return XDP_ABORTED;
	__builtin_memcpy(&local, packet, sizeof(local));
	for (int i = 0; i < TEAR_DESTINATIONS; i++)
		local.wrong[i] += strays(&local, local.destinations[i], local.allowed[i]);
	local.decisions += TEAR_DESTINATIONS;
	__builtin_memcpy(packet, &local, sizeof(local));
	return XDP_PASS;
}
