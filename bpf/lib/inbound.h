/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Owns what an iterator reads of a pod's TCP socket: its connection as the pod sees it, and whether
 * the guard was asked for it. Knows no verdict.
 */
#ifndef WEFT_INBOUND_H
#define WEFT_INBOUND_H

#include "authz.h"
#include "socket.h"

struct bpf_iter_meta {
	struct seq_file *seq;
} __attribute__((preserve_access_index));

struct bpf_iter__tcp {
	struct bpf_iter_meta *meta;
	struct sock_common *sk_common;
} __attribute__((preserve_access_index));

/* Addresses, ports and state. */
static __always_inline void read_inbound(const struct sock_common *socket, struct verdict *verdict)
{
	verdict->state = socket->skc_state;
	read_remote(socket, verdict->source);
	read_local(socket, verdict->destination);
	verdict->source_port = socket->skc_dport;
	verdict->port = bpf_htons(socket->skc_num);
}

/* What stands for a connection before it is one, and after: no whole socket, and nothing may take
 * it for one. */
static __always_inline bool is_mini(__u32 state)
{
	return state == TCP_NEW_SYN_RECV || state == TCP_TIME_WAIT;
}

/* Such a one says nothing of the way it came, other than by its addresses. */
static __always_inline bool is_of_itself(const struct verdict *verdict)
{
	const __be32 *source = verdict->source;

	return same_address(source, verdict->destination) ||
	       (is_v4(source) && bpf_ntohl(source[3]) >> 24 == 127);
}

/* Whether the guard was asked for it: an inbound connection, or the handshake of one, that did not
 * come over lo. The memory of a connection does not say who opened it. */
static __always_inline bool was_judged(struct sock_common *socket, const struct verdict *verdict)
{
	const struct tcp_sock *tcp;

	if (is_mini(verdict->state))
		return !is_of_itself(verdict);
	if (verdict->state == TCP_LISTEN || verdict->state == TCP_CLOSE)
		return false;
	tcp = bpf_skc_to_tcp_sock(socket);
	return tcp && mark_of(tcp) & MARK_INBOUND &&
	       ((const struct sock *)tcp)->sk_rx_dst_ifindex != LOOPBACK_IFINDEX;
}

#endif
