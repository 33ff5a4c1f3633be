// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Hook XDP, one link an interface, of enrolled network namespaces or of the node: drop the SYNs
 * that policies deny before the kernel makes anything of them.
 *
 * Each link has a stub of its own in front, which writes the cookie of its pod into `guarded` (0 on
 * an interface of the node, where the destination says whose a SYN is) and comes here by a tail
 * call through `early_xdp`; where that fails the stub drops. Only SYNs are judged; a denial is
 * dropped, or answered with RST where the operator says so. When something is missing: denied; what
 * is for no pod of this node passes, and the guard judges all that ends in one.
 */
#include "lib/early.h"
#include "lib/license.h"
#include "lib/reset.h"

/* What a frame is: enum frame_kind. A global function, as others here: the verifier follows the
 * ways through it once, and not on to the end of the hook. */
__attribute__((noinline)) int read_packet(struct xdp_md *ctx, struct syn *syn)
{
	/* Never so: the verifier asks. */
	if (!syn)
		return FRAME_BAD;
	return read_frame((void *)(long)ctx->data, (void *)(long)ctx->data_end, syn);
}

/* The pod of this node at the destination: its cookie, 0 when there is none. */
static __always_inline __u64 find_destination(const struct syn *syn)
{
	struct address_numbers owner;
	const __u64 *found;
	__u64 cookie;

	if (!read_owner(syn->destination, &owner))
		return 0;
	found = bpf_map_lookup_elem(&workload_pods, &owner.workload);
	if (!found)
		return 0;
	cookie = *(const volatile __u64 *)found;
	/* The element may have become another workload's, or be half written. */
	return is_owned(cookie, syn->destination) ? cookie : 0;
}

/* The pod that a SYN is for: its cookie, 0 when it is for none that is judged here. */
__attribute__((noinline)) __u64 find_pod_of(struct xdp_md *ctx, const struct syn *syn, __u64 cookie)
{
	if (!syn)
		return 0;
	if (!cookie)
		return find_destination(syn);
	if (is_owned(cookie, syn->destination) || is_delivered(ctx, ctx->ingress_ifindex, syn))
		return cookie;
	return 0;
}

/* Puts a RST in the place of a SYN. `at` is where its IP header begins. False: it has no room. */
static __always_inline bool write_reset(struct xdp_md *ctx, const struct syn *syn, __u32 at,
					const union reset *reset)
{
	__u8 *frame = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u8 first[MAC_PAIR_BYTES / 2];

	if (frame + MAC_PAIR_BYTES > end)
		return false;
	__builtin_memcpy(first, frame, sizeof(first));
	__builtin_memcpy(frame, frame + sizeof(first), sizeof(first));
	__builtin_memcpy(frame + sizeof(first), first, sizeof(first));
	frame += at;
	if (syn->v6) {
		if (frame + sizeof(reset->v6) > end)
			return false;
		__builtin_memcpy(frame, &reset->v6, sizeof(reset->v6));
		return true;
	}
	if (frame + sizeof(reset->v4) > end)
		return false;
	__builtin_memcpy(frame, &reset->v4, sizeof(reset->v4));
	return true;
}

/* Makes the SYN the RST to it. */
__attribute__((noinline)) int answer(struct xdp_md *ctx, const struct syn *syn)
{
	union reset reset = {};
	__u32 at, size;

	if (!syn)
		return XDP_DROP;
	/* Tells the verifier what it has forgotten. */
	at = syn->network & 31;
	size = at + reset_size(syn);
	build_reset(syn, false, &reset);
	if (bpf_xdp_adjust_tail(ctx, (int)size - (int)bpf_xdp_get_buff_len(ctx)) ||
	    !write_reset(ctx, syn, at, &reset))
		return XDP_DROP;
	return XDP_TX;
}

SEC("xdp")
int weft_xdp(struct xdp_md *ctx)
{
	const struct settings *current = get_settings();
	const struct guarded_pod *pod;
	struct syn syn = {};
	__u32 first = 0;
	__u64 cookie;
	int kind;

	if (is_disabled())
		return XDP_PASS;
	pod = bpf_map_lookup_elem(&guarded, &first);
	if (!pod)
		return XDP_DROP;
	cookie = pod->cookie;
	kind = read_packet(ctx, &syn);
	if (kind == FRAME_PASS)
		return XDP_PASS;
	if (kind != FRAME_SYN) {
		count_reason(REASON_EARLY_UNREADABLE);
		return XDP_DROP;
	}
	cookie = find_pod_of(ctx, &syn, cookie);
	if (!cookie) {
		count_reason(REASON_EARLY_PASSED);
		return XDP_PASS;
	}
	if (!refuse_early(&syn, cookie, EARLY_XDP))
		return XDP_PASS;
	return syn.plain && current && current->xdp_reset ? answer(ctx, &syn) : XDP_DROP;
}
