/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Owns what is done with addresses: 16 bytes in network order, IPv4 as ::ffff:a.b.c.d. Knows no map
 * and no helper of the kernel, so that user space can compile it as well.
 */
#ifndef WEFT_ADDRESS_H
#define WEFT_ADDRESS_H

#include <linux/types.h>
#include <stdbool.h>
#include <bpf/bpf_endian.h>

#define V4_MAPPED_PREFIX bpf_htonl(0xffff)

static __always_inline void set_v4(__be32 *address, __be32 v4)
{
	address[0] = 0;
	address[1] = 0;
	address[2] = V4_MAPPED_PREFIX;
	address[3] = v4;
}

/* IPv4 in the form that sockets of IPv6 know it by. */
static __always_inline bool is_v4(const __be32 *address)
{
	return !address[0] && !address[1] && address[2] == V4_MAPPED_PREFIX;
}

static __always_inline void copy_address(__be32 *to, const __be32 *from)
{
	to[0] = from[0];
	to[1] = from[1];
	to[2] = from[2];
	to[3] = from[3];
}

static __always_inline bool same_address(const __be32 *a, const __be32 *b)
{
	return a[3] == b[3] && a[2] == b[2] && a[1] == b[1] && a[0] == b[0];
}

#endif
