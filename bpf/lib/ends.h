/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Owns the end of a TCP connection: who talked to whom, its counters, its access log record. Knows
 * no hook: the same whether a callback or a tracepoint tells of it.
 *
 * Each end is told of once. A socket with MARK_FOLLOWED ends by its state callback, which takes the
 * marks away. Any other bears them until it is destroyed; what ends sooner (a reset, a disconnect)
 * is noted in its storage `ended`, since a tracing program cannot write the marks. Whoever writes
 * marks anew takes the note away, and what is noted of bytes that were counted while it was open.
 */
#ifndef WEFT_ENDS_H
#define WEFT_ENDS_H

#include "connections.h"
#include "node.h"
#include "socket.h"

/* Id of who opened a connection that this socket has accepted. */
static __always_inline __u32 name_peer(const struct tcp_sock *tcp)
{
	struct node_open open;

	read_remote(common_of(tcp), open.source);
	read_local(common_of(tcp), open.destination);
	open.source_port = remote_port(tcp);
	open.destination_port = local_port(tcp);
	return name_source(&open);
}

/* Who talks to whom as it can be told now, by the pod and the other's address: direction is one of
 * the two. False when the socket's namespace is not enrolled. */
static __always_inline bool find_parties(const struct tcp_sock *tcp, __u8 direction,
					 struct talk *parties)
{
	struct address_numbers owner;
	struct pod_numbers pod;
	__be32 address[4];

	if (!read_pod(netns_of(tcp), &pod))
		return false;
	__builtin_memset(parties, 0, sizeof(*parties));
	parties->direction = direction;
	if (direction == DIRECTION_INBOUND) {
		parties->source = name_peer(tcp);
		parties->destination = pod.workload;
		parties->service = pod.service;
		return true;
	}
	read_remote(common_of(tcp), address);
	read_owner(address, &owner);
	parties->source = pod.workload;
	parties->destination = owner.workload;
	return true;
}

/* The same of a connection that is remembered. */
static __always_inline void recall_parties(const struct connection *connection,
					   struct talk *parties)
{
	__builtin_memset(parties, 0, sizeof(*parties));
	parties->direction = connection->direction;
	parties->source = connection->source;
	parties->destination = connection->destination;
	parties->service = connection->service;
}

/* What has ended. */
struct ending {
	struct connection connection; /* where it was remembered, else zeros */
	struct talk parties;
	struct payload payload;
	__u32 state;  /* before the end, 0: not known */
	__u32 reason; /* enum reason when it was never established, else 0 */
};

/* False, counted, when the parties were forgotten; and when the socket is none of ours: others may
 * have their own use for what our marks are made of. */
static __always_inline bool read_ending(const struct tcp_sock *tcp, struct ending *ending)
{
	int mark = mark_of(tcp);
	struct pod_numbers pod;

	/* MPTCP does not say whether it is remembered: it is asked for. */
	if ((mark & MARK_REMEMBERED || is_mptcp(tcp)) &&
	    take_connection(cookie_of(tcp), &ending->connection)) {
		recall_parties(&ending->connection, &ending->parties);
		return true;
	}
	if (!(mark & MARK_REMEMBERED))
		return find_parties(tcp,
				    mark & MARK_INBOUND ? DIRECTION_INBOUND : DIRECTION_OUTBOUND,
				    &ending->parties);
	if (read_pod(netns_of(tcp), &pod))
		count_reason(REASON_CONNECTION_EVICTED);
	return false;
}

static __always_inline void record_ending(const struct tcp_sock *tcp, const struct ending *ending)
{
	struct connection_event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	const struct connection *connection = &ending->connection;

	if (!event) {
		count_reason(REASON_EVENT_DROPPED);
		return;
	}
	stamp_event(event);
	if (ending->parties.direction == DIRECTION_OUTBOUND) {
		read_local(common_of(tcp), event->source_address);
		read_remote(common_of(tcp), event->destination_address);
		event->source_port = local_port(tcp);
		event->destination_port = remote_port(tcp);
	} else {
		read_remote(common_of(tcp), event->source_address);
		read_local(common_of(tcp), event->destination_address);
		event->source_port = remote_port(tcp);
		event->destination_port = local_port(tcp);
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

/* Of a connection that closed, the bytes that nobody has counted while it was open. */
static __always_inline void count_ending(void *sk, struct ending *ending)
{
	struct counted_bytes *counted = bpf_sk_storage_get(&counted_bytes, sk, 0, 0);
	struct payload rest = ending->payload;

	if (counted) {
		rest.sent -= counted->sent;
		rest.received -= counted->received;
	}
	if (!ending->reason) {
		count_talk(&ending->parties, COUNT_CLOSED, rest.sent, rest.received);
		return;
	}
	count_reason(ending->reason);
	ending->parties.outcome = ending->reason == REASON_CONNECT_REFUSED    ? OUTCOME_CONNECT
				  : ending->reason == REASON_CONNECT_GIVEN_UP ? OUTCOME_GIVEN_UP
									      : OUTCOME_TIMEOUT;
	count_talk(&ending->parties, COUNT_FAILED, 0, 0);
}

/* Counts what of a connection was sent again or lost since the last time, where that is counted.
 * `goes_on`: it has not ended. Where there is no memory for the note, it is counted at the end. */
static __always_inline void count_new_losses(void *sk, const struct tcp_sock *tcp,
					     const struct talk *talk, bool goes_on)
{
	__u32 retransmits = tcp->total_retrans, lost = tcp->lost;
	struct counted_losses *counted;

	if (!(retransmits | lost) || !counts_pods())
		return;
	counted =
	    bpf_sk_storage_get(&counted_losses, sk, 0, goes_on ? BPF_SK_STORAGE_GET_F_CREATE : 0);
	if (counted) {
		retransmits -= counted->retransmits;
		lost -= counted->lost;
		counted->retransmits += retransmits;
		counted->lost += lost;
	}
	if ((counted || !goes_on) && (retransmits | lost))
		count_losses(talk, retransmits, lost);
}

/* As party_of. A global function: verified once. */
__attribute__((noinline)) __u32 find_party(__u32 workload)
{
	return party_of(&workload);
}

/* Notes who a connection is counted for, as of now, while open ones are told of one by one. */
static __always_inline struct watched *watch_connection(void *sk, const struct talk *talk)
{
	const struct settings *current = get_settings();
	struct watched *note;

	if (!current || !current->connection_metrics)
		return NULL;
	note = bpf_sk_storage_get(&watched, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!note || note->opened_ns)
		return note;
	note->opened_ns = bpf_ktime_get_ns();
	note->started_ns = note->opened_ns + current->clock_offset;
	note->source_party = find_party(talk->source);
	note->destination_party = find_party(talk->destination);
	note->service = talk->service;
	note->pod = talk->destination;
	return note;
}

/* The connection that a socket's marks speak of has ended: closed if it was ever established,
 * failed if not. What was remembered of it is forgotten. `state` is that of the socket before, 0
 * when nobody knows; only established ones end so. sk is the program's own pointer to the socket.
 */
static __always_inline void end_connection(void *sk, const struct tcp_sock *tcp, __u32 state)
{
	struct ending ending = {.state = state};

	if (!read_ending(tcp, &ending))
		return;
	ending.payload = payload_of(tcp);
	if (ending.parties.direction == DIRECTION_OUTBOUND &&
	    (state == BPF_TCP_SYN_SENT || state == BPF_TCP_SYN_RECV))
		ending.reason = failure_of(tcp);
	count_ending(sk, &ending);
	count_new_losses(sk, tcp, &ending.parties, false);
	if (access_log_enabled())
		record_ending(tcp, &ending);
}

/* Whether the end of the connection that a socket's marks speak of has been counted; sk is the
 * program's own pointer to the socket. */
static __always_inline bool is_ended(void *sk)
{
	return bpf_sk_storage_get(&ended, sk, 0, 0) != NULL;
}

/* Counts the end of a connection before its socket is destroyed, if it is not counted yet. Without
 * memory for the note that is left to the destruction. */
static __always_inline void end_early(void *sk, const struct tcp_sock *tcp)
{
	if (is_unfollowed(tcp) && !is_ended(sk) &&
	    bpf_sk_storage_get(&ended, sk, 0, BPF_SK_STORAGE_GET_F_CREATE))
		end_connection(sk, tcp, 0);
}

#endif
