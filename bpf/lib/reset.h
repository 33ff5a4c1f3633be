/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Owns the RST that answers a SYN which a hook refuses: its IP and TCP headers. Knows no frame and
 * no hook, and uses no helper of the kernel.
 */
#ifndef WEFT_RESET_H
#define WEFT_RESET_H

#include "packet.h"

#define RESET_HOPS    64
#define IPV4_PLAIN    0x45   /* version 4, five words */
#define IPV4_NO_PARTS 0x4000 /* do not fragment */

struct ipv4_reset {
	struct ipv4_header ip;
	struct tcp_header tcp;
};

struct ipv6_reset {
	struct ipv6_header ip;
	struct tcp_header tcp;
};

/* What lies in the place of a SYN's IP header, and of all that follows it. */
union reset {
	struct ipv4_reset v4;
	struct ipv6_reset v6;
	__u32 words[sizeof(struct ipv6_reset) / 4];
};

static __always_inline __u32 reset_size(const struct syn *syn)
{
	return syn->v6 ? sizeof(struct ipv6_reset) : sizeof(struct ipv4_reset);
}

/* Adds up words as they lie in memory, for a checksum. */
static __always_inline __u64 add_words(__u64 sum, const __u32 *words, int count)
{
	for (int i = 0; i < count; i++)
		sum += words[i];
	return sum;
}

/* The sum of ones' complement, in the byte order of what was added; not complemented. */
static __always_inline __u16 fold_sum(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* Of the pseudo header; addresses of IPv4 add the same as mapped ones, but for the prefix. */
static __always_inline __u64 sum_pseudo_header(const struct syn *syn)
{
	int first = syn->v6 ? 0 : 3;
	__u64 sum = bpf_htonl(HEADER_TCP) + (__u64)bpf_htonl(sizeof(struct tcp_header));

	for (int i = 0; i < 4; i++) {
		if (i < first)
			continue;
		sum += syn->source[i];
		sum += syn->destination[i];
	}
	return sum;
}

static __always_inline void set_tcp_reset(const struct syn *syn, bool partial,
					  struct tcp_header *tcp)
{
	__u64 pseudo = sum_pseudo_header(syn);

	*tcp = (struct tcp_header){
	    .source_port = syn->destination_port,
	    .destination_port = syn->source_port,
	    .acknowledged = bpf_htonl(syn->sequence + 1 + syn->payload),
	    .words = sizeof(*tcp) / 4 << 4,
	    .flags = TCP_FLAG_RST | TCP_FLAG_ACK,
	};
	if (partial)
		tcp->check = fold_sum(pseudo);
	else
		tcp->check = ~fold_sum(add_words(pseudo, (const __u32 *)tcp, sizeof(*tcp) / 4));
}

/* The RST to a plain SYN; reset_size() says how much of it is used. `partial`: whoever sends it
 * adds the sum of the segment to that of the pseudo header. */
static __always_inline void build_reset(const struct syn *syn, bool partial, union reset *reset)
{
	struct ipv4_header *v4 = &reset->v4.ip;
	struct ipv6_header *v6 = &reset->v6.ip;

	if (syn->v6) {
		*v6 = (struct ipv6_header){
		    .version_flow = bpf_htonl(0x60000000),
		    .length = bpf_htons(sizeof(struct tcp_header)),
		    .next = HEADER_TCP,
		    .hops = RESET_HOPS,
		};
		copy_address(v6->source, syn->destination);
		copy_address(v6->destination, syn->source);
		set_tcp_reset(syn, partial, &reset->v6.tcp);
		return;
	}
	*v4 = (struct ipv4_header){
	    .version_words = IPV4_PLAIN,
	    .length = bpf_htons(sizeof(struct ipv4_reset)),
	    .fragment = bpf_htons(IPV4_NO_PARTS),
	    .hops = RESET_HOPS,
	    .protocol = HEADER_TCP,
	    .source = syn->destination[3],
	    .destination = syn->source[3],
	};
	v4->check = ~fold_sum(add_words(0, (const __u32 *)v4, sizeof(*v4) / 4));
	set_tcp_reset(syn, partial, &reset->v4.tcp);
}

#endif
