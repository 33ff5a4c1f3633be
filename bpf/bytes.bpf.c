// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Iterator tcp, read inside a pod's namespace: count what open connections have sent and received
 * since the last time.
 *
 * The kernel holds the socket's lock meanwhile, as it does where an end is counted: no byte is
 * counted twice, and none is left out. Where there is no memory for the note of what was counted,
 * the bytes are counted at the end.
 */
#include "lib/ends.h"
#include "lib/inbound.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

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

/* Whether a connection was established and has not ended. */
static __always_inline bool is_open(__u32 state)
{
	return state != TCP_CLOSE && state != TCP_LISTEN && state != BPF_TCP_SYN_SENT &&
	       state != BPF_TCP_SYN_RECV && !is_mini(state);
}

SEC("iter/tcp")
int weft_count_bytes(struct bpf_iter__tcp *ctx)
{
	struct sock_common *socket = ctx->sk_common;
	struct counted_bytes *counted;
	const struct tcp_sock *tcp;
	struct payload payload;
	struct talk talk;

	if (!socket || !is_open(socket->skc_state))
		return 0;
	tcp = bpf_skc_to_tcp_sock(socket);
	if (!tcp || !mark_of(tcp) || is_ended(socket))
		return 0;
	payload = payload_of(tcp);
	counted = bpf_sk_storage_get(&counted_bytes, socket, 0, 0);
	if (counted && payload.sent == counted->sent && payload.received == counted->received)
		return 0;
	if (!payload.sent && !payload.received)
		return 0;
	if (!find_talk(tcp, &talk))
		return 0;
	if (!counted)
		counted =
		    bpf_sk_storage_get(&counted_bytes, socket, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!counted)
		return 0;
	count_talk(&talk, COUNT_BYTES, payload.sent - counted->sent,
		   payload.received - counted->received);
	counted->sent = payload.sent;
	counted->received = payload.received;
	return 0;
}
