// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Tracepoint kfree_skb: tells of a denial when the packet that met it is dropped.
 *
 * The hook that judges sees no packet: a SYN looks to it like the last segment of a connection that
 * is gone. It leaves its denial in `denied`, and TCP drops the packet on the same CPU before it
 * looks at another. A SYN was an attempt, which is counted and logged; anything else was none. What
 * only asks who listens, as sock_diag does, drops no packet and is not told of.
 *
 * Sees every packet that the machine drops: it leaves after two loads while no denial waits. Links
 * of tracing programs cannot be given another program, so a stub calls through an array
 * (ends.bpf.c).
 */
#include "lib/authz_report.h"
#include "lib/license.h"
#include "lib/segment.h"

static __always_inline bool is_segment_of(const struct segment *segment,
					  const struct verdict *verdict)
{
	return segment->source_port == verdict->source_port &&
	       segment->destination_port == verdict->port &&
	       same_address(segment->source, verdict->source) &&
	       same_address(segment->destination, verdict->destination);
}

SEC("tp_btf/kfree_skb")
int weft_drop(unsigned long long *ctx)
{
	const struct sk_buff *skb = (const struct sk_buff *)ctx[0];
	__u32 first = 0, reason = ctx[2];
	struct verdict verdict, *waiting;
	struct segment segment;

	waiting = bpf_map_lookup_elem(&denied, &first);
	if (!waiting || !waiting->reason)
		return 0;
	if (!read_segment(skb, &segment) || !is_segment_of(&segment, waiting))
		return 0;
	verdict = *waiting;
	waiting->reason = 0;
	/* TCP would have dropped it unseen. */
	if (reason == bpf_core_enum_value(enum skb_drop_reason, SKB_DROP_REASON_TCP_CSUM))
		return 0;
	if (!segment.begins) {
		count_reason(REASON_AUTHZ_STRAY);
		return 0;
	}
	count_reason(verdict.reason);
	report_verdict(&verdict);
	return 0;
}

SEC("tp_btf/kfree_skb")
int weft_on_drop(unsigned long long *ctx)
{
	bpf_tail_call(ctx, &on_drop, 0);
	return 0;
}
