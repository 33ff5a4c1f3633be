/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Owns the reading of a TCP segment out of the kernel's own packet, once TCP has seen it. Knows no
 * map and no hook.
 */
#ifndef WEFT_SEGMENT_H
#define WEFT_SEGMENT_H

#include "packet.h"
#include <weft/kernel.h>
#include <bpf/bpf_core_read.h>

struct segment {
	__be32 source[4];
	__be32 destination[4];
	__be16 source_port;
	__be16 destination_port;
	bool begins; /* SYN without ACK */
};

static __always_inline bool read_addresses_v4(const unsigned char *header, struct segment *segment)
{
	struct ipv4_header ip;

	if (bpf_probe_read_kernel(&ip, sizeof(ip), header))
		return false;
	set_v4(segment->source, ip.source);
	set_v4(segment->destination, ip.destination);
	return true;
}

static __always_inline bool read_addresses_v6(const unsigned char *header, struct segment *segment)
{
	struct ipv6_header ip;

	if (bpf_probe_read_kernel(&ip, sizeof(ip), header))
		return false;
	copy_address(segment->source, ip.source);
	copy_address(segment->destination, ip.destination);
	return true;
}

/* False when the packet is not of IP, or its headers cannot be read. That it is TCP is for the
 * caller to know. */
static __always_inline bool read_segment(const struct sk_buff *skb, struct segment *segment)
{
	const unsigned char *header = skb->head + skb->network_header;
	struct tcp_header tcp;

	if (skb->protocol == bpf_htons(FRAME_IPV4)) {
		if (!read_addresses_v4(header, segment))
			return false;
	} else if (skb->protocol == bpf_htons(FRAME_IPV6)) {
		if (!read_addresses_v6(header, segment))
			return false;
	} else {
		return false;
	}
	if (bpf_probe_read_kernel(&tcp, sizeof(tcp), skb->head + skb->transport_header))
		return false;
	segment->source_port = tcp.source_port;
	segment->destination_port = tcp.destination_port;
	segment->begins = begins_connection(&tcp);
	return true;
}

#endif
