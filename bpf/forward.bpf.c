// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Hook tc (tcx ingress), one link an interface of an enrolled network namespace: refuse the SYNs
 * that its policies deny before the namespace delivers or forwards them.
 *
 * Each link has the stub of its pod in front, which writes the pod's cookie into the packet's cb
 * and comes here by a tail call through `early_tc`; where that fails the stub drops. Only SYNs are
 * judged; a denial is a RST, and without one where the SYN has anything between IP and TCP. Frames
 * for other hosts pass, which the namespace ignores or bridges. When something is missing: denied.
 */
#include <linux/if_packet.h>
#include <linux/pkt_cls.h>
#include "lib/early.h"
#include "lib/license.h"
#include "lib/reset.h"

/* To whatever else hangs there: TCX_NEXT. */
#define PASS_ON TC_ACT_UNSPEC

/* Headers beyond so many bytes are not followed. */
#define HEADER_BYTES 256

/* What a packet is, as far as the kernel has it in one piece: enum frame_kind. A global function,
 * as others here: the verifier follows the ways through it once, and not on to the end of the hook.
 */
__attribute__((noinline)) int read_packet(struct __sk_buff *skb, struct syn *syn)
{
	/* Never so: the verifier asks. */
	if (!syn)
		return FRAME_BAD;
	return read_frame((void *)(long)skb->data, (void *)(long)skb->data_end, syn);
}

/* Reads the headers of a packet, wherever the kernel has them. */
static __always_inline int read_headers(struct __sk_buff *skb, struct syn *syn)
{
	int kind = read_packet(skb, syn);

	if (kind != FRAME_SHORT || skb->len <= skb->data_end - skb->data)
		return kind;
	if (bpf_skb_pull_data(skb, skb->len < HEADER_BYTES ? skb->len : HEADER_BYTES))
		return kind;
	return read_packet(skb, syn);
}

/* Whether the checksum of the segment is left to the device that sends the packet: then the kernel
 * does not change it with the content. */
static __always_inline bool is_partial(struct __sk_buff *skb, __u32 check)
{
	__be16 before, after;

	if (bpf_skb_load_bytes(skb, check, &before, sizeof(before)) ||
	    bpf_l4_csum_replace(skb, check, 0, bpf_htons(1), sizeof(before)) ||
	    bpf_skb_load_bytes(skb, check, &after, sizeof(after)))
		return false;
	return before == after;
}

/* Makes the SYN the RST to it, and sends that back. */
__attribute__((noinline)) int answer(struct __sk_buff *skb, const struct syn *syn)
{
	__u8 macs[MAC_PAIR_BYTES], swapped[MAC_PAIR_BYTES];
	union reset reset = {};
	__u32 size, check;

	if (!syn)
		return TC_ACT_SHOT;
	size = reset_size(syn);
	check =
	    syn->network + size - sizeof(struct tcp_header) + offsetof(struct tcp_header, check);
	build_reset(syn, is_partial(skb, check), &reset);
	if (bpf_skb_load_bytes(skb, 0, macs, sizeof(macs)) ||
	    bpf_skb_change_tail(skb, syn->network + size, 0))
		return TC_ACT_SHOT;
	__builtin_memcpy(swapped, macs + sizeof(macs) / 2, sizeof(macs) / 2);
	__builtin_memcpy(swapped + sizeof(macs) / 2, macs, sizeof(macs) / 2);
	if (bpf_skb_store_bytes(skb, 0, swapped, sizeof(swapped), 0))
		return TC_ACT_SHOT;
	if (syn->v6 ? bpf_skb_store_bytes(skb, syn->network, &reset, sizeof(reset.v6),
					  BPF_F_RECOMPUTE_CSUM)
		    : bpf_skb_store_bytes(skb, syn->network, &reset, sizeof(reset.v4),
					  BPF_F_RECOMPUTE_CSUM))
		return TC_ACT_SHOT;
	return bpf_redirect(skb->ifindex, 0);
}

/* 1 when the pod of this cookie is to judge it. */
__attribute__((noinline)) int is_for_pod(struct __sk_buff *skb, const struct syn *syn, __u64 cookie)
{
	if (!syn)
		return 1;
	return is_owned(cookie, syn->destination) || is_delivered(skb, skb->ifindex, syn);
}

SEC("tc")
int weft_forward(struct __sk_buff *skb)
{
	__u64 cookie = skb->cb[0] | (__u64)skb->cb[1] << 32;
	struct syn syn = {};
	int kind;

	if (skb->pkt_type != PACKET_HOST || is_disabled())
		return PASS_ON;
	kind = read_headers(skb, &syn);
	if (kind == FRAME_PASS)
		return PASS_ON;
	if (kind != FRAME_SYN) {
		count_reason(REASON_EARLY_UNREADABLE);
		return TC_ACT_SHOT;
	}
	if (!is_for_pod(skb, &syn, cookie)) {
		count_reason(REASON_EARLY_PASSED);
		return PASS_ON;
	}
	if (!refuse_early(&syn, cookie, EARLY_TC))
		return PASS_ON;
	return syn.plain ? answer(skb, &syn) : TC_ACT_SHOT;
}
