// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Hook sockops: count TCP connections when they open and fail, and when they close where no
 * tracepoint tells of it.
 *
 * Enrolled pods' connections bear a mark on their socket; every other socket leaves after a lookup.
 * Callbacks that nobody asked for leave on the first comparison. When something is missing the
 * connection is not counted, and that is counted. Nothing here can hold a connection up but one to
 * a waypoint that could not be told where it was going: it is cut off.
 */
#include "lib/ends.h"
#include "lib/license.h"
#include "lib/outliers.h"
#include "lib/waypoint.h"

/* Return value of sockops programs: the kernel ignores it for the callbacks used here. */
#define DONE 1

static __always_inline const struct tcp_sock *socket_of(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *sk = ctx->sk;

	return sk ? bpf_skc_to_tcp_sock(sk) : NULL;
}

/* Writes all flags, since a socket may bear marks of an earlier life: connected before, or born of
 * a listener that was once a client. */
static __always_inline void set_marks(struct bpf_sock_ops *ctx, int marks)
{
	struct bpf_sock *sk = ctx->sk;
	int former = ctx->bpf_sock_ops_cb_flags & MARK_ANY;

	if (former && sk) {
		bpf_sk_storage_delete(&ended, sk);
		bpf_sk_storage_delete(&counted_bytes, sk);
		bpf_sk_storage_delete(&counted_losses, sk);
		bpf_sk_storage_delete(&watched, sk);
	}
	if (former || marks)
		bpf_sock_ops_cb_flags_set(ctx, marks);
}

/* The marks of an established connection: none that costs anything with each segment. A line of the
 * access log tells the state before the end, which only the callback knows. */
static __always_inline int established(const struct tcp_sock *tcp, int mark)
{
	const struct settings *current = get_settings();

	if (is_mptcp(tcp))
		mark &= ~MARK_REMEMBERED;
	if (current && current->ends_traced && !current->access_log)
		return mark;
	return mark | MARK_FOLLOWED;
}

/* The socket bears its marks. */
static __always_inline void count_opened(struct bpf_sock_ops *ctx, const struct talk *parties)
{
	struct bpf_sock *sk = ctx->sk;

	count_talk(parties, COUNT_OPENED, 0, 0);
	if (sk)
		watch_connection(sk, parties);
}

/* A SYN is about to leave. The connect hook has remembered what cannot be found again. */
static __always_inline int on_syn(struct bpf_sock_ops *ctx)
{
	struct pod_numbers pod;
	bool enrolled = read_pod(bpf_get_netns_cookie(ctx), &pod);
	__u32 probe;

	owe_header(ctx, enrolled);
	if (!enrolled)
		set_marks(ctx, 0);
	else if (find_place(bpf_get_socket_cookie(ctx), &probe))
		set_marks(ctx, MARK_OUTBOUND | MARK_REMEMBERED | MARK_FOLLOWED);
	else
		set_marks(ctx, MARK_OUTBOUND | MARK_FOLLOWED);
	return DONE;
}

static __always_inline int on_active_established(struct bpf_sock_ops *ctx)
{
	int mark = ctx->bpf_sock_ops_cb_flags & MARK_ANY;
	struct connection connection = {};
	struct talk parties;
	const struct tcp_sock *tcp;
	struct connection *place;
	int waits = await_first_byte(ctx) ? BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG : 0;
	__u32 probe;
	__u64 socket;

	if (!(mark & MARK_OUTBOUND))
		return DONE;
	tcp = socket_of(ctx);
	if (!tcp)
		return DONE;
	bpf_sock_ops_cb_flags_set(ctx, established(tcp, mark) | waits);
	if (mark & MARK_REMEMBERED) {
		socket = bpf_get_socket_cookie(ctx);
		place = find_place(socket, &probe);
		if (place && access_log_enabled())
			place->opened_ns = bpf_ktime_get_ns();
		if (!place || !read_place(place, socket, &connection)) {
			count_reason(REASON_CONNECTION_EVICTED);
			return DONE;
		}
		recall_parties(&connection, &parties);
		count_opened(ctx, &parties);
		note_success(tcp, &connection);
		return DONE;
	}
	if (find_parties(tcp, DIRECTION_OUTBOUND, &parties))
		count_opened(ctx, &parties);
	return DONE;
}

static __always_inline int on_passive_established(struct bpf_sock_ops *ctx)
{
	struct connection connection = {.direction = DIRECTION_INBOUND};
	const struct tcp_sock *tcp = socket_of(ctx);
	int mark = MARK_INBOUND;
	struct talk parties;

	if (!tcp || !find_parties(tcp, DIRECTION_INBOUND, &parties)) {
		set_marks(ctx, 0);
		return DONE;
	}
	/* The node's own socket may be gone, and with it who it was, before this one is closed. */
	if (parties.source == WORKLOAD_NODE || access_log_enabled()) {
		connection.source = parties.source;
		connection.destination = parties.destination;
		connection.service = parties.service;
		connection.opened_ns = bpf_ktime_get_ns();
		connection.socket = bpf_get_socket_cookie(ctx);
		if (remember_connection(&connection))
			mark |= MARK_REMEMBERED;
	}
	set_marks(ctx, established(tcp, mark));
	count_opened(ctx, &parties);
	return DONE;
}

/* What the socket is from now on has no end. */
static __always_inline int on_listen(struct bpf_sock_ops *ctx)
{
	const struct tcp_sock *tcp = socket_of(ctx);
	struct bpf_sock *sk = ctx->sk;

	if (tcp && sk)
		end_early(sk, tcp);
	set_marks(ctx, 0);
	return DONE;
}

static __always_inline int on_closed(struct bpf_sock_ops *ctx, __u32 old_state)
{
	const struct tcp_sock *tcp = socket_of(ctx);
	struct bpf_sock *sk = ctx->sk;

	if (!tcp || !sk || !mark_of(tcp) || old_state == BPF_TCP_LISTEN)
		return DONE;
	if (old_state == BPF_TCP_SYN_SENT && mark_of(tcp) & MARK_REMEMBERED)
		note_end(tcp);
	end_connection(sk, tcp, old_state);
	set_marks(ctx, 0);
	return DONE;
}

/* A timer of the socket has run out; `earlier` times before. Of established connections nobody
 * asks: the mark that they bear calls for it. */
static __always_inline int on_timeout(struct bpf_sock_ops *ctx, __u32 earlier)
{
	const struct tcp_sock *tcp;

	if (earlier || ctx->state != BPF_TCP_SYN_SENT ||
	    !(ctx->bpf_sock_ops_cb_flags & MARK_REMEMBERED))
		return DONE;
	tcp = socket_of(ctx);
	if (tcp)
		note_failure(tcp, ETIMEDOUT);
	return DONE;
}

SEC("sockops")
int weft_sockops(struct bpf_sock_ops *ctx)
{
	follow_node(ctx);
	switch (ctx->op) {
	case BPF_SOCK_OPS_STATE_CB:
		if (ctx->args[1] != BPF_TCP_CLOSE)
			return DONE;
		return on_closed(ctx, ctx->args[0]);
	case BPF_SOCK_OPS_HDR_OPT_LEN_CB:
		follow_segment(ctx);
		return DONE;
	case BPF_SOCK_OPS_TCP_CONNECT_CB:
		return on_syn(ctx);
	case BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB:
		return on_active_established(ctx);
	case BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB:
		return on_passive_established(ctx);
	case BPF_SOCK_OPS_TCP_LISTEN_CB:
		return on_listen(ctx);
	case BPF_SOCK_OPS_RTO_CB:
		return on_timeout(ctx, ctx->args[0]);
	}
	return DONE;
}
