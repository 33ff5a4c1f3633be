/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Owns the reading of a TCP segment out of the kernel's own packet, once TCP has seen it. Knows no
 * map and no hook.
 */
#ifndef WEFT_SEGMENT_H
#define WEFT_SEGMENT_H

#include "flow.h"
#include <bpf/bpf_core_read.h>
#include <linux/if_ether.h>
#include <linux/tcp.h>

/* Where the two addresses stand in a header: RFC 791 3.1, RFC 8200 3. */
#define IPV4_ADDRESSES 12
#define IPV6_ADDRESSES 8

struct segment {
	__be32 source[4];
	__be32 destination[4];
	__be16 source_port;
	__be16 destination_port;
	bool begins; /* SYN without ACK */
};

static __always_inline bool read_addresses_v4(const unsigned char *header, struct segment *segment)
{
	__be32 pair[2];

	if (bpf_probe_read_kernel(pair, sizeof(pair), header + IPV4_ADDRESSES))
		return false;
	set_v4(segment->source, pair[0]);
	set_v4(segment->destination, pair[1]);
	return true;
}

static __always_inline bool read_addresses_v6(const unsigned char *header, struct segment *segment)
{
	return !bpf_probe_read_kernel(segment->source, 16, header + IPV6_ADDRESSES) &&
	       !bpf_probe_read_kernel(segment->destination, 16, header + IPV6_ADDRESSES + 16);
}

/* False when the packet is not of IP, or its headers cannot be read. That it is TCP is for the
 * caller to know. */
static __always_inline bool read_segment(const struct sk_buff *skb, struct segment *segment)
{
	const unsigned char *header = skb->head + skb->network_header;
	struct tcphdr tcp;

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		if (!read_addresses_v4(header, segment))
			return false;
	} else if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		if (!read_addresses_v6(header, segment))
			return false;
	} else {
		return false;
	}
	if (bpf_probe_read_kernel(&tcp, sizeof(tcp), skb->head + skb->transport_header))
		return false;
	segment->source_port = tcp.source;
	segment->destination_port = tcp.dest;
	segment->begins = tcp.syn && !tcp.ack;
	return true;
}

#endif
