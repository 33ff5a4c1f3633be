// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Hook sockops: count TCP connections when they open, close and fail; write access log records.
 *
 * Only enrolled pods' connections are remembered; every other socket leaves after one lookup.
 * Callbacks that nobody asked for leave on the first comparison. When something is missing the
 * connection is not counted, and that is counted; nothing here can hold a connection up.
 */
#include "lib/flow.h"
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

static __always_inline struct connection *find_connection(struct bpf_sock_ops *ctx)
{
	__u64 socket = bpf_get_socket_cookie(ctx);

	return bpf_map_lookup_elem(&connections, &socket);
}

static __always_inline struct traffic *traffic_of(const struct connection *connection, __u8 outcome)
{
	struct traffic_key key = {
	    .source = connection->source,
	    .destination = connection->destination,
	    .service = connection->service,
	    .direction = connection->direction,
	    .outcome = outcome,
	};

	return get_traffic(&key);
}

static __always_inline void opened(struct connection *connection)
{
	struct traffic *counters = traffic_of(connection, OUTCOME_OK);

	connection->opened_ns = bpf_ktime_get_ns();
	if (counters)
		counters->opened++;
}

/* A SYN is about to leave. The connect hook has remembered the connections of pods. */
static __always_inline int on_connect(struct bpf_sock_ops *ctx)
{
	if (find_connection(ctx))
		bpf_sock_ops_cb_flags_set(ctx, BPF_SOCK_OPS_STATE_CB_FLAG);
	return DONE;
}

static __always_inline int on_active_established(struct bpf_sock_ops *ctx)
{
	struct connection *connection = find_connection(ctx);

	if (connection)
		opened(connection);
	return DONE;
}

static __always_inline int on_passive_established(struct bpf_sock_ops *ctx)
{
	__u64 cookie = bpf_get_netns_cookie(ctx);
	const struct pod *pod = bpf_map_lookup_elem(&pods, &cookie);
	struct connection connection = {.direction = DIRECTION_INBOUND};
	__u64 socket;

	if (!pod)
		return DONE;
	connection.source = name_peer(ctx);
	connection.destination = pod->workload.number;
	connection.service = pod->service.number;
	opened(&connection);
	socket = bpf_get_socket_cookie(ctx);
	if (bpf_map_update_elem(&connections, &socket, &connection, BPF_ANY)) {
		count_reason(REASON_STORAGE_FULL);
		return DONE;
	}
	bpf_sock_ops_cb_flags_set(ctx, BPF_SOCK_OPS_STATE_CB_FLAG);
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

static __always_inline void record(struct bpf_sock_ops *ctx, const struct connection *connection,
				   const struct tcp_sock *tcp, const struct payload *payload,
				   __u32 state)
{
	struct connection_event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	__be16 remote_port = (__be16)(ctx->remote_port >> 16);
	__be16 local_port = bpf_htons(ctx->local_port);

	if (!event) {
		count_reason(REASON_EVENT_DROPPED);
		return;
	}
	stamp_event(event);
	if (connection->direction == DIRECTION_OUTBOUND) {
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
	event->kind = connection->opened_ns ? EVENT_CLOSED : EVENT_FAILED;
	event->reason = connection->opened_ns ? 0 : REASON_CONNECT_FAILED;
	event->direction = connection->direction;
	event->duration_ns = connection->opened_ns ? event->time_ns - connection->opened_ns : 0;
	event->sent_bytes = payload->sent;
	event->received_bytes = payload->received;
	event->source = connection->source;
	event->destination = connection->destination;
	event->service = connection->service;
	event->state = state;
	event->srtt_us = tcp->srtt_us >> 3;
	/* ~0 stands for no sample yet (tcp_init_sock). */
	event->min_rtt_us = tcp->rtt_min.s[0].v == ~0U ? 0 : tcp->rtt_min.s[0].v;
	event->retransmits = tcp->total_retrans;
	event->lost = tcp->lost;
	bpf_ringbuf_submit(event, 0);
}

/* The connection has ended: closed if it was ever established, failed if not. */
static __always_inline int on_closed(struct bpf_sock_ops *ctx, __u32 old_state)
{
	__u64 socket = bpf_get_socket_cookie(ctx);
	struct connection *connection = bpf_map_lookup_elem(&connections, &socket);
	struct bpf_sock *sk = ctx->sk;
	struct payload payload;
	struct traffic *counters;
	struct tcp_sock *tcp;

	if (!sk || !connection)
		return DONE;
	tcp = bpf_skc_to_tcp_sock(sk);
	if (!tcp)
		return DONE;
	payload = payload_of(tcp);
	counters = traffic_of(connection, connection->opened_ns ? OUTCOME_OK : OUTCOME_CONNECT);
	if (counters && connection->opened_ns) {
		counters->closed++;
		counters->sent_bytes += payload.sent;
		counters->received_bytes += payload.received;
	} else if (counters) {
		counters->failed++;
	}
	if (!connection->opened_ns)
		count_reason(REASON_CONNECT_FAILED);
	if (access_log_enabled())
		record(ctx, connection, tcp, &payload, old_state);
	bpf_map_delete_elem(&connections, &socket);
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
