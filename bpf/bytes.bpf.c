// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Iterator tcp, read inside a pod's namespace: count what open connections have sent and received
 * since the last time, and what of it was sent again or lost. Where settings say so it writes a
 * struct open_connection for each that is open for long.
 *
 * The kernel holds the socket's lock meanwhile, as it does where an end is counted: no byte is
 * counted twice, and none is left out. Where there is no memory for the note of what was counted,
 * the bytes are counted at the end.
 */
#include "lib/ends.h"
#include "lib/inbound.h"
#include "lib/license.h"

/* Who talks to whom, of a connection that goes on. */
static __always_inline bool find_talk(const struct tcp_sock *tcp, struct talk *talk)
{
	struct connection connection;
	int mark = mark_of(tcp);

	if ((mark & MARK_REMEMBERED || is_mptcp(tcp)) &&
	    read_connection(cookie_of(tcp), &connection)) {
		recall_parties(&connection, talk);
		return true;
	}
	if (mark & MARK_REMEMBERED)
		return false;
	return find_parties(tcp, mark & MARK_INBOUND ? DIRECTION_INBOUND : DIRECTION_OUTBOUND,
			    talk);
}

/* How long a connection is open that is told of. */
#define LONG_NS 5000000000ULL

/* Whether a connection was established and has not ended. */
static __always_inline bool is_open(__u32 state)
{
	return state != TCP_CLOSE && state != TCP_LISTEN && state != BPF_TCP_SYN_SENT &&
	       state != BPF_TCP_SYN_RECV && !is_mini(state);
}

/* Whether more is asked of connections than their bytes. */
static __always_inline bool wants_more(void)
{
	const struct settings *current = get_settings();

	return current && (current->workload_metrics || current->connection_metrics);
}

static __always_inline void count_new_bytes(struct sock_common *socket,
					    const struct payload *payload, const struct talk *talk)
{
	struct counted_bytes *counted =
	    bpf_sk_storage_get(&counted_bytes, socket, 0, BPF_SK_STORAGE_GET_F_CREATE);

	if (!counted)
		return;
	count_talk(talk, COUNT_BYTES, payload->sent - counted->sent,
		   payload->received - counted->received);
	counted->sent = payload->sent;
	counted->received = payload->received;
}

/* Without room for it the kernel shows the socket once more, when nothing of it is new. */
static __always_inline void tell_connection(struct seq_file *seq, const struct tcp_sock *tcp,
					    const struct watched *note, __u8 direction,
					    const struct payload *payload)
{
	struct open_connection open = {};
	struct connection_identity *identity = &open.identity;

	identity->started_ns = note->started_ns;
	identity->source_party = note->source_party;
	identity->destination_party = note->destination_party;
	identity->service = note->service;
	identity->pod = note->pod;
	identity->direction = direction;
	if (direction == DIRECTION_OUTBOUND) {
		read_local(common_of(tcp), identity->source_address);
		read_remote(common_of(tcp), identity->destination_address);
		identity->source_port = local_port(tcp);
		identity->destination_port = remote_port(tcp);
	} else {
		read_remote(common_of(tcp), identity->source_address);
		read_local(common_of(tcp), identity->destination_address);
		identity->source_port = remote_port(tcp);
		identity->destination_port = local_port(tcp);
	}
	open.sent_bytes = payload->sent;
	open.received_bytes = payload->received;
	open.retransmits = tcp->total_retrans;
	open.lost = tcp->lost;
	bpf_seq_write(seq, &open, sizeof(open));
}

SEC("iter/tcp")
int weft_count_bytes(struct bpf_iter__tcp *ctx)
{
	struct sock_common *socket = ctx->sk_common;
	const struct counted_bytes *counted;
	const struct tcp_sock *tcp;
	const struct watched *note;
	struct payload payload;
	struct talk talk;
	bool moved;

	if (!socket || !is_open(socket->skc_state))
		return 0;
	tcp = bpf_skc_to_tcp_sock(socket);
	if (!tcp || !mark_of(tcp) || is_ended(socket))
		return 0;
	payload = payload_of(tcp);
	counted = bpf_sk_storage_get(&counted_bytes, socket, 0, 0);
	moved = counted ? payload.sent != counted->sent || payload.received != counted->received
			: payload.sent || payload.received;
	if (!moved && !wants_more())
		return 0;
	if (!find_talk(tcp, &talk))
		return 0;
	if (moved)
		count_new_bytes(socket, &payload, &talk);
	count_new_losses(socket, tcp, &talk, true);
	note = watch_connection(socket, &talk);
	if (note && bpf_ktime_get_ns() - note->opened_ns >= LONG_NS)
		tell_connection(ctx->meta->seq, tcp, note, talk.direction, &payload);
	return 0;
}
