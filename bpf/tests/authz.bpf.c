// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Owns nothing: hands a struct verdict_case to lib/authz.h. Run by BPF_PROG_TEST_RUN only, as XDP
 * because such a packet may be changed in place. Returns XDP_PASS, XDP_ABORTED for a short packet.
 */
#include "lib/authz_report.h"
#include "cases.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

static __always_inline void read_case(const struct verdict_case *packet, struct verdict *verdict)
{
	copy_address(verdict->source, packet->source_address);
	copy_address(verdict->destination, packet->destination_address);
	verdict->source_port = packet->source_port;
	verdict->port = packet->port;
}

/* The verdict alone, with all that can be told of it. */
SEC("xdp")
int test_judge(struct xdp_md *ctx)
{
	struct verdict_case *packet = CASE_OF(ctx, verdict_case);
	struct verdict verdict = {};

	if (!packet)
		return XDP_ABORTED;
	read_case(packet, &verdict);
	judge(packet->pod, &verdict);
	packet->allowed = verdict.allowed;
	packet->reason = verdict.reason;
	packet->policy = verdict.allowed ? 0 : name_policy(&verdict);
	packet->source = source_of(&verdict);
	packet->destination = verdict.workload;
	packet->identity = verdict.identity;
	packet->tag = tag_of_address(packet->source_address);
	return XDP_PASS;
}

/* What a hook calls: verdict, counters, access log record. */
SEC("xdp")
int test_authorize(struct xdp_md *ctx)
{
	struct verdict_case *packet = CASE_OF(ctx, verdict_case);
	struct verdict verdict = {};

	if (!packet)
		return XDP_ABORTED;
	read_case(packet, &verdict);
	packet->allowed = authorize(packet->pod, &verdict);
	return XDP_PASS;
}
