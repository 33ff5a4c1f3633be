/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Owns what a connection to a waypoint owes it: a header that says where the connection was going,
 * before the first byte. Knows neither routes nor what the header looks like.
 *
 * The connect hook notes the destination at the socket. When the connection is established, and
 * nothing has been written, the socket goes into `pending`: from there on whatever it sends first
 * passes a program, which puts the header before it (waypoint.bpf.c). With its first segment it
 * leaves the map and is plain TCP again. What could send bytes past the header is refused when it
 * connects, or cut off before a segment leaves.
 */
#ifndef WEFT_WAYPOINT_H
#define WEFT_WAYPOINT_H

#include "flow.h"
#include "route.h"
#include "socket.h"

static __always_inline struct original *original_of(void *sk)
{
	return bpf_sk_storage_get(&originals, sk, 0, 0);
}

/* Whether data is to leave with the SYN. */
static __always_inline bool opens_fast(const struct tcp_sock *tcp)
{
	const struct tcp_fastopen_request *request = tcp->fastopen_req;

	return request && request->data;
}

/* Hook connect: notes where the connection was going. 0, or why it cannot go to a waypoint: enum
 * reason. A global function: verified once, not with all that comes before it. */
__attribute__((noinline)) int choose_waypoint(struct bpf_sock_addr *ctx,
					      const struct destination *destination)
{
	const struct settings *current = get_settings();
	const struct tcp_sock *tcp = bpf_skc_to_tcp_sock(ctx->sk);
	struct original *original;

	if (!destination || !current || current->waypoint_protocol == WAYPOINT_NONE)
		return REASON_NO_WAYPOINT;
	if (!tcp || is_mptcp(tcp))
		return REASON_WAYPOINT_SOCKET;
	if (opens_fast(tcp))
		return REASON_WAYPOINT_FAST;
	original = bpf_sk_storage_get(&originals, ctx->sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!original)
		return REASON_WAYPOINT_FULL;
	copy_address(original->address, destination->address);
	original->port = destination->port;
	original->state = HEADER_CHOSEN;
	return 0;
}

/* Hook connect: what the socket was led to before is of no meaning now. */
static __always_inline void forget_waypoint(struct bpf_sock_addr *ctx)
{
	struct original *original = original_of(ctx->sk);

	if (original)
		original->state = HEADER_NONE;
}

/* Nothing may leave any more: there is no route by way of lo, and TCP gives up soon. */
static __always_inline void cut_off(struct bpf_sock_ops *ctx, struct original *original,
				    __u32 reason)
{
	char lo[] = "lo";
	int milliseconds = 1;

	original->state = HEADER_NONE;
	count_reason(reason);
	bpf_setsockopt(ctx, SOL_SOCKET, SO_BINDTODEVICE, lo, sizeof(lo));
	bpf_setsockopt(ctx, IPPROTO_TCP, TCP_USER_TIMEOUT, &milliseconds, sizeof(milliseconds));
}

/* A SYN is about to leave. `enrolled`: what was chosen still holds. */
__attribute__((noinline)) int owe_header(struct bpf_sock_ops *ctx, int enrolled)
{
	struct bpf_sock *sk = ctx->sk;
	struct original *original = sk ? original_of(sk) : NULL;
	const struct tcp_sock *tcp;

	if (!original || original->state == HEADER_NONE)
		return 0;
	tcp = bpf_skc_to_tcp_sock(sk);
	if (!tcp || !enrolled || opens_fast(tcp)) {
		cut_off(ctx, original, REASON_WAYPOINT_CUT);
		return 0;
	}
	/* The hook of connect says so each time. */
	if (original->state != HEADER_CHOSEN) {
		original->state = HEADER_NONE;
		return 0;
	}
	original->first_seq = tcp->write_seq + 1;
	original->socket = bpf_get_socket_cookie(ctx);
	original->state = HEADER_OWED;
	return 0;
}

/* The connection is established. 1: its segments are to be told of, until it has sent one. */
__attribute__((noinline)) int await_first_byte(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct original *original = sk ? original_of(sk) : NULL;
	const struct tcp_sock *tcp;

	if (!original || original->state != HEADER_OWED)
		return 0;
	tcp = bpf_skc_to_tcp_sock(sk);
	/* What was written while it connected would go as it is. */
	if (!tcp || ((const struct sock *)tcp)->sk_write_pending ||
	    tcp->write_seq != original->first_seq) {
		cut_off(ctx, original, REASON_WAYPOINT_CUT);
		return 0;
	}
	if (bpf_sock_hash_update(ctx, &pending, &original->socket, BPF_ANY)) {
		cut_off(ctx, original, REASON_WAYPOINT_FULL);
		return 0;
	}
	count_reason(REASON_WAYPOINT_WAITS);
	return 1;
}

/* TCP is about to make a segment, or to see how long one may be. */
__attribute__((noinline)) int follow_segment(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct original *original = sk ? original_of(sk) : NULL;
	const struct tcp_sock *tcp = sk ? bpf_skc_to_tcp_sock(sk) : NULL;
	__u64 socket;

	if (!original || !tcp)
		return 0;
	if (tcp->write_seq == original->first_seq) {
		/* TCP takes the header with the first bytes, or nothing for want of memory; then
		 * the kernel would not ask the program again for the next ones. */
		if (original->state == HEADER_MADE)
			original->state = HEADER_OFFERED;
		else if (original->state == HEADER_OFFERED)
			cut_off(ctx, original, REASON_WAYPOINT_CUT);
		return 0;
	}
	socket = original->socket;
	if (original->state == HEADER_OWED)
		cut_off(ctx, original, REASON_WAYPOINT_CUT);
	original->state = HEADER_NONE;
	bpf_map_delete_elem(&pending, &socket);
	bpf_sock_ops_cb_flags_set(ctx,
				  ctx->bpf_sock_ops_cb_flags & ~BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG);
	return 0;
}

#endif
