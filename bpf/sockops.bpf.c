// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Hook sockops: count TCP connections when they open, close and fail; write access log records.
 *
 * Enrolled pods' connections bear a mark on their socket; every other socket leaves after a lookup.
 * Callbacks that nobody asked for leave on the first comparison. When something is missing the
 * connection is not counted, and that is counted; nothing here can hold a connection up.
 */
#include "lib/connections.h"
#include "lib/mark.h"
#include "lib/node.h"
#include <bpf/bpf_core_read.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Return value of sockops programs: the kernel ignores it for the callbacks used here. */
#define DONE 1

static __always_inline void read_local(const struct bpf_sock_ops *ctx, __be32 *address)
{
	if (ctx->family == AF_INET6) {
		CTX_COPY_V6(address, ctx->local_ip6);
	} else {
		set_v4(address, ctx->local_ip4);
	}
}

static __always_inline void read_remote(const struct bpf_sock_ops *ctx, __be32 *address)
{
	if (ctx->family == AF_INET6) {
		CTX_COPY_V6(address, ctx->remote_ip6);
	} else {
		set_v4(address, ctx->remote_ip4);
	}
}

static __always_inline int mark_of(const struct bpf_sock_ops *ctx)
{
	return ctx->bpf_sock_ops_cb_flags & MARK_ANY;
}

/* Writes all flags, since a socket may bear marks of an earlier life: connected before, or born of
 * a listener that was once a client. */
static __always_inline void set_mark(struct bpf_sock_ops *ctx, int mark)
{
	if (mark)
		bpf_sock_ops_cb_flags_set(ctx, mark | BPF_SOCK_OPS_STATE_CB_FLAG);
	else if (mark_of(ctx))
		bpf_sock_ops_cb_flags_set(ctx, 0);
}

static __always_inline bool find_pod(struct bpf_sock_ops *ctx, struct pod_numbers *pod)
{
	return read_pod(bpf_get_netns_cookie(ctx), pod);
}

/* Id of the workload that a pod has connected to, 0: unknown. */
static __always_inline __u32 name_remote(const struct bpf_sock_ops *ctx)
{
	struct address_numbers owner;
	__be32 address[4];

	read_remote(ctx, address);
	read_owner(address, &owner);
	return owner.workload;
}

/* Who talks to whom, for counting and the log; `connection` where it is remembered. False when it
 * cannot be told: the service was forgotten, which is counted, or the pod is enrolled no more. */
static __always_inline bool read_parties(struct bpf_sock_ops *ctx, int mark, bool remembered,
					 const struct connection *connection,
					 struct traffic_key *parties)
{
	struct pod_numbers pod;

	__builtin_memset(parties, 0, sizeof(*parties));
	parties->direction = mark & MARK_INBOUND ? DIRECTION_INBOUND : DIRECTION_OUTBOUND;
	if (remembered) {
		parties->direction = connection->direction;
		parties->source = connection->source;
		parties->destination = connection->destination;
		parties->service = connection->service;
		return true;
	}
	if (mark & MARK_REMEMBERED) {
		count_reason(REASON_CONNECTION_EVICTED);
		return false;
	}
	if (!find_pod(ctx, &pod))
		return false;
	if (mark & MARK_INBOUND) {
		parties->source = name_peer(ctx);
		parties->destination = pod.workload;
		parties->service = pod.service;
	} else {
		parties->source = pod.workload;
		parties->destination = name_remote(ctx);
	}
	return true;
}

static __always_inline void count_opened(const struct traffic_key *parties)
{
	struct traffic *counters = get_traffic(parties);

	if (counters)
		__sync_fetch_and_add(&counters->opened, 1);
}

/* A SYN is about to leave. The connect hook has remembered what cannot be found again. */
static __always_inline int on_connect(struct bpf_sock_ops *ctx)
{
	struct pod_numbers pod;
	__u32 probe;

	if (!find_pod(ctx, &pod))
		set_mark(ctx, 0);
	else if (find_place(bpf_get_socket_cookie(ctx), &probe))
		set_mark(ctx, MARK_OUTBOUND | MARK_REMEMBERED);
	else
		set_mark(ctx, MARK_OUTBOUND);
	return DONE;
}

static __always_inline int on_active_established(struct bpf_sock_ops *ctx)
{
	struct connection connection = {};
	struct traffic_key parties;
	struct connection *place;
	bool remembered = false;
	int mark = mark_of(ctx);
	__u32 probe;
	__u64 socket;

	if (!(mark & MARK_OUTBOUND))
		return DONE;
	if (mark & MARK_REMEMBERED) {
		socket = bpf_get_socket_cookie(ctx);
		place = find_place(socket, &probe);
		if (place && access_log_enabled())
			place->opened_ns = bpf_ktime_get_ns();
		remembered = place && read_place(place, socket, &connection);
	}
	if (read_parties(ctx, mark, remembered, &connection, &parties))
		count_opened(&parties);
	return DONE;
}

static __always_inline int on_passive_established(struct bpf_sock_ops *ctx)
{
	struct connection connection = {.direction = DIRECTION_INBOUND};
	struct traffic_key parties;

	if (!read_parties(ctx, MARK_INBOUND, false, &connection, &parties)) {
		set_mark(ctx, 0);
		return DONE;
	}
	count_opened(&parties);
	set_mark(ctx, MARK_INBOUND);
	/* The node's own socket may be gone, and with it who it was, before this one is closed. */
	if (parties.source != WORKLOAD_NODE && !access_log_enabled())
		return DONE;
	connection.source = parties.source;
	connection.destination = parties.destination;
	connection.service = parties.service;
	connection.opened_ns = bpf_ktime_get_ns();
	connection.socket = bpf_get_socket_cookie(ctx);
	if (remember_connection(&connection))
		set_mark(ctx, MARK_INBOUND | MARK_REMEMBERED);
	return DONE;
}

struct payload {
	__u64 sent;
	__u64 received;
};

/* Payload bytes of the connection so far, without retransmissions and without the peer's FIN,
 * which tcp_data_queue counts as a received byte. */
static __always_inline struct payload payload_of(const struct tcp_sock *tcp)
{
	unsigned long flags = ((const struct sock_common *)tcp)->skc_flags;
	struct payload payload = {
	    .sent = tcp->bytes_sent - tcp->bytes_retrans,
	    .received = tcp->bytes_received,
	};

	if (payload.received && flags & (1UL << bpf_core_enum_value(enum sock_flags, SOCK_DONE)))
		payload.received--;
	return payload;
}

/* What has ended. */
struct ending {
	struct traffic_key parties;
	struct payload payload;
	__u32 state;  /* before the end */
	__u32 reason; /* enum reason when it was never established, else 0 */
};

static __always_inline void record(struct bpf_sock_ops *ctx, const struct connection *connection,
				   const struct tcp_sock *tcp, const struct ending *ending)
{
	struct connection_event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	__be16 remote_port = (__be16)(ctx->remote_port >> 16);
	__be16 local_port = bpf_htons(ctx->local_port);

	if (!event) {
		count_reason(REASON_EVENT_DROPPED);
		return;
	}
	stamp_event(event);
	if (ending->parties.direction == DIRECTION_OUTBOUND) {
		read_local(ctx, event->source_address);
		read_remote(ctx, event->destination_address);
		event->source_port = local_port;
		event->destination_port = remote_port;
	} else {
		read_remote(ctx, event->source_address);
		read_local(ctx, event->destination_address);
		event->source_port = remote_port;
		event->destination_port = local_port;
	}
	if (connection->routed) {
		copy_address(event->original_address, connection->original_address);
		event->original_port = connection->original_port;
	} else {
		copy_address(event->original_address, event->destination_address);
		event->original_port = event->destination_port;
	}
	event->kind = ending->reason ? EVENT_FAILED : EVENT_CLOSED;
	event->reason = ending->reason;
	event->direction = ending->parties.direction;
	if (connection->opened_ns)
		event->duration_ns = event->time_ns - connection->opened_ns;
	event->sent_bytes = ending->payload.sent;
	event->received_bytes = ending->payload.received;
	event->source = ending->parties.source;
	event->destination = ending->parties.destination;
	event->service = ending->parties.service;
	event->state = ending->state;
	event->srtt_us = tcp->srtt_us >> 3;
	/* ~0 stands for no sample yet (tcp_init_sock). */
	event->min_rtt_us = tcp->rtt_min.s[0].v == ~0U ? 0 : tcp->rtt_min.s[0].v;
	event->retransmits = tcp->total_retrans;
	event->lost = tcp->lost;
	bpf_ringbuf_submit(event, 0);
}

/* Why a connect came to nothing: the socket's error tells whose doing it was. */
static __always_inline __u32 failure_of(const struct tcp_sock *tcp)
{
	int error = ((const struct sock *)tcp)->sk_err;

	if (!error)
		return REASON_CONNECT_GIVEN_UP;
	return error == ECONNREFUSED ? REASON_CONNECT_REFUSED : REASON_CONNECT_TIMED_OUT;
}

static __always_inline void count_ending(struct ending *ending)
{
	struct traffic *counters;

	if (ending->reason) {
		count_reason(ending->reason);
		ending->parties.outcome = ending->reason == REASON_CONNECT_REFUSED ? OUTCOME_CONNECT
					  : ending->reason == REASON_CONNECT_GIVEN_UP
					      ? OUTCOME_GIVEN_UP
					      : OUTCOME_TIMEOUT;
	}
	counters = get_traffic(&ending->parties);
	if (!counters)
		return;
	if (ending->reason) {
		__sync_fetch_and_add(&counters->failed, 1);
		return;
	}
	__sync_fetch_and_add(&counters->closed, 1);
	__sync_fetch_and_add(&counters->sent_bytes, ending->payload.sent);
	__sync_fetch_and_add(&counters->received_bytes, ending->payload.received);
}

/* The connection has ended: closed if it was ever established, failed if not. */
static __always_inline int on_closed(struct bpf_sock_ops *ctx, __u32 old_state)
{
	struct connection connection = {};
	struct bpf_sock *sk = ctx->sk;
	bool logged = access_log_enabled(), remembered = false;
	struct ending ending = {.state = old_state};
	int mark = mark_of(ctx);
	struct tcp_sock *tcp;

	if (!sk || !mark || old_state == BPF_TCP_LISTEN)
		return DONE;
	tcp = bpf_skc_to_tcp_sock(sk);
	if (!tcp)
		return DONE;
	if (mark & MARK_REMEMBERED)
		remembered = take_connection(bpf_get_socket_cookie(ctx), &connection);
	if (read_parties(ctx, mark, remembered, &connection, &ending.parties)) {
		ending.payload = payload_of(tcp);
		if (ending.parties.direction == DIRECTION_OUTBOUND &&
		    (old_state == BPF_TCP_SYN_SENT || old_state == BPF_TCP_SYN_RECV))
			ending.reason = failure_of(tcp);
		count_ending(&ending);
		if (logged)
			record(ctx, &connection, tcp, &ending);
	}
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
	case BPF_SOCK_OPS_TCP_CONNECT_CB:
		return on_connect(ctx);
	case BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB:
		return on_active_established(ctx);
	case BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB:
		return on_passive_established(ctx);
	}
	return DONE;
}
