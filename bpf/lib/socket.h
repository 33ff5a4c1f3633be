/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Owns the reading of a TCP socket as the kernel has it: its ends, its namespace, its marks, its
 * payload. Knows no map and no hook.
 */
#ifndef WEFT_SOCKET_H
#define WEFT_SOCKET_H

#include "flow.h"
#include "mark.h"
#include <bpf/bpf_core_read.h>

static __always_inline int mark_of(const struct tcp_sock *tcp)
{
	return tcp->bpf_sock_ops_cb_flags & MARK_ANY;
}

/* A subflow of an MPTCP socket. */
static __always_inline bool is_mptcp(const struct tcp_sock *tcp)
{
	return bpf_core_field_exists(struct tcp_sock, is_mptcp) && tcp->is_mptcp;
}

/* Whether the socket bears the marks of a connection that was established, and whose end no
 * callback tells of. */
static __always_inline bool is_unfollowed(const struct tcp_sock *tcp)
{
	return mark_of(tcp) && !(tcp->bpf_sock_ops_cb_flags & MARK_FOLLOWED);
}

static __always_inline const struct sock_common *common_of(const struct tcp_sock *tcp)
{
	return (const struct sock_common *)tcp;
}

/* 0: nobody has asked for it, so that nothing is remembered by it. */
static __always_inline __u64 cookie_of(const struct tcp_sock *tcp)
{
	return common_of(tcp)->skc_cookie.counter;
}

static __always_inline __u64 netns_of(const struct tcp_sock *tcp)
{
	return common_of(tcp)->skc_net.net->net_cookie;
}

/* Of a disconnected socket 0, and the remote one still there. */
static __always_inline void read_local(const struct sock_common *common, __be32 *address)
{
	if (common->skc_family == AF_INET6)
		copy_address(address, common->skc_v6_rcv_saddr.in6_u.u6_addr32);
	else
		set_v4(address, common->skc_rcv_saddr);
}

static __always_inline void read_remote(const struct sock_common *common, __be32 *address)
{
	if (common->skc_family == AF_INET6)
		copy_address(address, common->skc_v6_daddr.in6_u.u6_addr32);
	else
		set_v4(address, common->skc_daddr);
}

/* Also when the port has been given back. */
static __always_inline __be16 local_port(const struct tcp_sock *tcp)
{
	return ((const struct inet_sock *)tcp)->inet_sport;
}

static __always_inline __be16 remote_port(const struct tcp_sock *tcp)
{
	return common_of(tcp)->skc_dport;
}

struct payload {
	__u64 sent;
	__u64 received;
};

/* Payload bytes of the connection so far, without retransmissions and without the peer's FIN,
 * which tcp_data_queue counts as a received byte. */
static __always_inline struct payload payload_of(const struct tcp_sock *tcp)
{
	unsigned long flags = common_of(tcp)->skc_flags;
	struct payload payload = {
	    .sent = tcp->bytes_sent - tcp->bytes_retrans,
	    .received = tcp->bytes_received,
	};

	if (payload.received && flags & (1UL << bpf_core_enum_value(enum sock_flags, SOCK_DONE)))
		payload.received--;
	return payload;
}

#endif
