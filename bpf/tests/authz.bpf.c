// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Owns nothing: hands a struct verdict_case to lib/authz.h. Run by BPF_PROG_TEST_RUN only, as XDP
 * because such a packet may be changed in place. Returns XDP_PASS, XDP_ABORTED for a short packet.
 */
#include "lib/authz.h"
#include "cases.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

static __always_inline void read_inbound(const struct verdict_case *packet, struct inbound *inbound)
{
	copy_address(inbound->source, packet->source_address);
	copy_address(inbound->destination, packet->destination_address);
	inbound->source_port = packet->source_port;
	inbound->port = packet->port;
}

/* The verdict alone. */
SEC("xdp")
int test_judge(struct xdp_md *ctx)
{
	struct verdict_case *packet = CASE_OF(ctx, verdict_case);
	struct inbound inbound;
	struct verdict verdict;

	if (!packet)
		return XDP_ABORTED;
	read_inbound(packet, &inbound);
	judge(&inbound, &verdict);
	packet->allowed = verdict.allowed;
	packet->reason = verdict.reason;
	packet->policy = verdict.policy;
	packet->source = verdict.source;
	packet->destination = verdict.destination;
	return XDP_PASS;
}

/* What a hook calls: verdict, counters, access log record. */
SEC("xdp")
int test_authorize(struct xdp_md *ctx)
{
	struct verdict_case *packet = CASE_OF(ctx, verdict_case);
	struct inbound inbound;

	if (!packet)
		return XDP_ABORTED;
	read_inbound(packet, &inbound);
	packet->allowed = authorize(&inbound);
	return XDP_PASS;
}
