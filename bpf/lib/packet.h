/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Owns the reading of Ethernet frames: whether one begins a TCP connection, and which. Knows no
 * hook, no map and no helper of the kernel, so that user space can compile it as well.
 *
 * What cannot be followed is not passed: headers that contradict each other, a chain of IPv6
 * headers longer than any that is meant to be, a fragment that begins inside the TCP header.
 */
#ifndef WEFT_PACKET_H
#define WEFT_PACKET_H

#include "address.h"

#define FRAME_IPV4     0x0800
#define FRAME_IPV6     0x86dd
#define FRAME_VLAN     0x8100
#define FRAME_PROVIDER 0x88a8 /* the outer of two VLAN tags */
#define MAX_VLAN_TAGS  2
#define MAC_PAIR_BYTES 12

#define HEADER_HOP_BY_HOP  0
#define HEADER_TCP	   6
#define HEADER_ROUTING	   43
#define HEADER_FRAGMENT	   44
#define HEADER_AH	   51
#define HEADER_DESTINATION 60
/* Each kind once, destination options twice: what RFC 8200 knows. */
#define MAX_EXTENSIONS 6

#define IPV4_MORE_FRAGMENTS 0x2000
#define IPV4_OFFSET	    0x1fff /* in units of eight bytes */
#define IPV6_OFFSET	    0xfff8

#define TCP_FLAG_SYN 0x02
#define TCP_FLAG_RST 0x04
#define TCP_FLAG_ACK 0x10

struct vlan_tag {
	__be16 tag;
	__be16 type; /* of what follows */
};

struct ipv4_header {
	__u8 version_words; /* four bits each */
	__u8 service;
	__be16 length; /* of the packet, 0: longer than can be said */
	__be16 id;
	__be16 fragment;
	__u8 hops;
	__u8 protocol;
	__be16 check;
	__be32 source;
	__be32 destination;
};

struct ipv6_header {
	__be32 version_flow;
	__be16 length; /* of what follows, 0: longer than can be said */
	__u8 next;
	__u8 hops;
	__be32 source[4];
	__be32 destination[4];
};

/* What all extension headers begin with; the last field is a fragment's alone. */
struct ipv6_extension {
	__u8 next;
	__u8 size;
	__be16 fragment;
};

struct tcp_header {
	__be16 source_port;
	__be16 destination_port;
	__be32 sequence;
	__be32 acknowledged;
	__u8 words; /* the upper four bits */
	__u8 flags;
	__be16 window;
	__be16 check;
	__be16 urgent;
};

enum frame_kind {
	FRAME_PASS,  /* it begins no TCP connection */
	FRAME_SYN,   /* it begins one: struct syn says which */
	FRAME_SHORT, /* the bytes at hand end before that is known */
	FRAME_BAD,   /* not to be passed */
};

/* A TCP segment with SYN and without ACK. Addresses as everywhere: 16 bytes, IPv4 mapped. */
struct syn {
	__be32 source[4];
	__be32 destination[4];
	__be16 source_port;
	__be16 destination_port;
	__u32 sequence; /* host order */
	__u32 payload;	/* bytes; of a plain one */
	__u16 network;	/* offset of the IP header in the frame: 14, 18 or 22 */
	__u8 v6;	/* 1: IPv6 */
	__u8 plain;	/* 1: whole, no options of IP, no extension headers: it can be answered */
};

/* What is left of a frame. */
struct cursor {
	const __u8 *at;
	const __u8 *end;
};

/* SYN without ACK. */
static __always_inline bool begins_connection(const struct tcp_header *tcp)
{
	return (tcp->flags & (TCP_FLAG_SYN | TCP_FLAG_ACK)) == TCP_FLAG_SYN;
}

/* Reads the TCP header. `left`: bytes of the packet from there on; `offset`: where the fragment
 * begins in what was fragmented. */
static __always_inline enum frame_kind read_tcp(const struct cursor *cursor, __u32 left,
						__u32 offset, struct syn *syn)
{
	const struct tcp_header *tcp = (const void *)cursor->at;
	__u32 size;

	if (offset)
		return offset < sizeof(*tcp) ? FRAME_BAD : FRAME_PASS;
	if (left < sizeof(*tcp))
		return FRAME_BAD;
	if (cursor->at + sizeof(*tcp) > cursor->end)
		return FRAME_SHORT;
	if (!begins_connection(tcp))
		return FRAME_PASS;
	size = (tcp->words >> 4) * 4;
	if (size < sizeof(*tcp) || size > left)
		return FRAME_BAD;
	syn->source_port = tcp->source_port;
	syn->destination_port = tcp->destination_port;
	syn->sequence = bpf_ntohl(tcp->sequence);
	syn->payload = left - size;
	/* Nobody answers a RST. */
	if (tcp->flags & TCP_FLAG_RST)
		syn->plain = 0;
	return FRAME_SYN;
}

static __always_inline enum frame_kind read_ipv4(struct cursor *cursor, struct syn *syn)
{
	const struct ipv4_header *ip = (const void *)cursor->at;
	__u32 header, length, fragment;

	if (cursor->at + sizeof(*ip) > cursor->end)
		return FRAME_SHORT;
	header = (ip->version_words & 0xf) * 4;
	length = bpf_ntohs(ip->length);
	if (ip->version_words >> 4 != 4 || header < sizeof(*ip) || (length && length < header))
		return FRAME_BAD;
	if (ip->protocol != HEADER_TCP)
		return FRAME_PASS;
	fragment = bpf_ntohs(ip->fragment);
	set_v4(syn->source, ip->source);
	set_v4(syn->destination, ip->destination);
	syn->v6 = 0;
	syn->plain =
	    length && header == sizeof(*ip) && !(fragment & (IPV4_MORE_FRAGMENTS | IPV4_OFFSET));
	cursor->at += header;
	return read_tcp(cursor, length ? length - header : ~0U, (fragment & IPV4_OFFSET) * 8, syn);
}

#define EXTENSIONS                                                                                 \
	(1ULL << HEADER_HOP_BY_HOP | 1ULL << HEADER_ROUTING | 1ULL << HEADER_FRAGMENT |            \
	 1ULL << HEADER_AH | 1ULL << HEADER_DESTINATION)

static __always_inline bool is_extension(__u32 header)
{
	return header < 64 && EXTENSIONS >> header & 1;
}

/* All bits set where two numbers below 2^31 are equal, none where they are not: without a branch,
 * for the kernel's verifier follows both ways of each, and so on for each header that may follow.
 */
static __always_inline __u32 equal_mask(__u32 a, __u32 b)
{
	__u32 sign = (a ^ b) | -(a ^ b), mask;

	/* Else the compiler sees what is meant, and compares. */
	__asm__ volatile("" : "+r"(sign));
	mask = ~(__u32)((__s32)sign >> 31);
	__asm__ volatile("" : "+r"(mask));
	return mask;
}

/* Steps over an extension header: FRAME_SYN when it was whole. */
static __always_inline enum frame_kind skip_extension(struct cursor *cursor, __u32 *header,
						      __u32 *left, __u32 *offset)
{
	const struct ipv6_extension *extension = (const void *)cursor->at;
	__u32 fragment, authentication, size;

	if (cursor->at + sizeof(*extension) > cursor->end)
		return FRAME_SHORT;
	fragment = equal_mask(*header, HEADER_FRAGMENT);
	authentication = equal_mask(*header, HEADER_AH);
	*offset = bpf_ntohs(extension->fragment) & IPV6_OFFSET & fragment;
	/* Words of eight bytes behind the first; of AH, of four behind the first two. */
	size = (extension->size & ~fragment) + 1 + (authentication & 1);
	size *= 8 - (authentication & 4);
	/* 2056 at most, which the verifier does not see. */
	__asm__ volatile("" : "+r"(size));
	size &= 0xffc;
	if (size > *left)
		return FRAME_BAD;
	*header = extension->next;
	*left -= size;
	cursor->at += size;
	return FRAME_SYN;
}

static __always_inline enum frame_kind read_ipv6(struct cursor *cursor, struct syn *syn)
{
	const struct ipv6_header *ip = (const void *)cursor->at;
	__u32 left, offset = 0;
	enum frame_kind kind;
	__u32 header;

	if (cursor->at + sizeof(*ip) > cursor->end)
		return FRAME_SHORT;
	if (*cursor->at >> 4 != 6)
		return FRAME_BAD;
	copy_address(syn->source, ip->source);
	copy_address(syn->destination, ip->destination);
	header = ip->next;
	left = bpf_ntohs(ip->length);
	syn->v6 = 1;
	syn->plain = left && !is_extension(header);
	if (!left)
		left = ~0U;
	cursor->at += sizeof(*ip);
	/* What follows a fragment that is not the first is no header. */
	for (int i = 0; i < MAX_EXTENSIONS && is_extension(header) && !offset; i++) {
		kind = skip_extension(cursor, &header, &left, &offset);
		if (kind != FRAME_SYN)
			return kind;
	}
	if (header == HEADER_TCP)
		return read_tcp(cursor, left, offset, syn);
	return is_extension(header) && !offset ? FRAME_BAD : FRAME_PASS;
}

/* Says what the frame from `data` to `end` is, which begins with its Ethernet header. Of a
 * FRAME_SYN all of `syn` is set; else none of it means anything. Reads nothing beyond `end`; a
 * frame of which more bytes can be had should be asked about again with these when it is
 * FRAME_SHORT, and not be passed when there are none. To a group of hosts nobody connects: such
 * frames pass. */
static __always_inline enum frame_kind read_frame(const void *data, const void *end,
						  struct syn *syn)
{
	struct cursor cursor = {.at = data, .end = end};
	const struct vlan_tag *tag;
	__be16 type;

	if (cursor.at + MAC_PAIR_BYTES + sizeof(type) > cursor.end)
		return FRAME_SHORT;
	if (*cursor.at & 1)
		return FRAME_PASS;
	type = *(const __be16 *)(cursor.at + MAC_PAIR_BYTES);
	cursor.at += MAC_PAIR_BYTES + sizeof(type);
	syn->network = MAC_PAIR_BYTES + sizeof(type);
	for (int i = 0; i < MAX_VLAN_TAGS; i++) {
		if (type != bpf_htons(FRAME_VLAN) && type != bpf_htons(FRAME_PROVIDER))
			break;
		tag = (const void *)cursor.at;
		if (cursor.at + sizeof(*tag) > cursor.end)
			return FRAME_SHORT;
		type = tag->type;
		cursor.at += sizeof(*tag);
		syn->network += sizeof(*tag);
	}
	if (type == bpf_htons(FRAME_IPV4))
		return read_ipv4(&cursor, syn);
	if (type == bpf_htons(FRAME_IPV6))
		return read_ipv6(&cursor, syn);
	if (type == bpf_htons(FRAME_VLAN) || type == bpf_htons(FRAME_PROVIDER))
		return FRAME_BAD;
	return FRAME_PASS;
}

#endif
