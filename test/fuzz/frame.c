// SPDX-License-Identifier: Apache-2.0
/* Owns what is claimed of the frame parser (bpf/lib/packet.h), compiled for user space: it reads
 * nothing beyond a frame, a SYN is what it is in the frame's bytes, fewer bytes never make another
 * answer, and no options, extension headers or VLAN tags hide a SYN. Knows no hook.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/packet.h"

#define MOST_BYTES 512

#define CLAIM(holds)                                                                               \
	do {                                                                                       \
		if (!(holds)) {                                                                    \
			fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #holds); \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

/* Reads a copy that ends where the frame does, so that whoever reads on is caught. */
static enum frame_kind read_exactly(const __u8 *frame, size_t size, struct syn *syn)
{
	__u8 *copy = malloc(size ? size : 1);
	enum frame_kind kind;

	CLAIM(copy);
	memcpy(copy, frame, size);
	memset(syn, 0xaa, sizeof(*syn));
	kind = read_frame(copy, copy + size, syn);
	free(copy);
	return kind;
}

/* What a plain SYN says stands where a plain frame has it. */
static void check_plain(const __u8 *frame, size_t size, const struct syn *syn)
{
	const size_t header = syn->v6 ? 40 : 20;
	const __u8 *ip = frame + syn->network, *tcp = ip + header;

	CLAIM(size >= syn->network + header + 20);
	CLAIM(ip[0] == (syn->v6 ? ip[0] & 0xf : 5) + (syn->v6 ? 0x60 : 0x40));
	CLAIM(ip[syn->v6 ? 6 : 9] == HEADER_TCP);
	if (syn->v6) {
		CLAIM(!memcmp(syn->source, ip + 8, 16) && !memcmp(syn->destination, ip + 24, 16));
	} else {
		CLAIM(!memcmp(&syn->source[3], ip + 12, 4));
		CLAIM(!memcmp(&syn->destination[3], ip + 16, 4));
	}
	CLAIM(!memcmp(&syn->source_port, tcp, 2) && !memcmp(&syn->destination_port, tcp + 2, 2));
	CLAIM((tcp[13] & (TCP_FLAG_SYN | TCP_FLAG_ACK | TCP_FLAG_RST)) == TCP_FLAG_SYN);
}

static void check_frame(const __u8 *frame, size_t size)
{
	struct syn whole, part;
	enum frame_kind kind = read_exactly(frame, size, &whole), less;

	if (kind == FRAME_SYN) {
		CLAIM(whole.network == 14 || whole.network == 18 || whole.network == 22);
		CLAIM(whole.v6 <= 1 && whole.plain <= 1);
		if (whole.plain)
			check_plain(frame, size, &whole);
	}
	for (size_t left = 0; left < size; left++) {
		less = read_exactly(frame, left, &part);
		CLAIM(less == FRAME_SHORT || less == kind);
		if (less == FRAME_SYN)
			CLAIM(!memcmp(&whole, &part, sizeof(whole)));
	}
}

/* ---- SYNs in every wrapping ---- */

/* Bytes that decide what is built; zeroes after their end. */
struct choices {
	const __u8 *at, *end;
};

static __u8 choose(struct choices *choices)
{
	return choices->at < choices->end ? *choices->at++ : 0;
}

static __u8 *put(__u8 *to, const void *bytes, size_t size)
{
	memcpy(to, bytes, size);
	return to + size;
}

static __u8 *put16(__u8 *to, unsigned value)
{
	const __u8 bytes[] = {value >> 8, value & 0xff};

	return put(to, bytes, sizeof(bytes));
}

static __u8 *put_tcp(__u8 *at)
{
	const __u8 tcp[20] = {0x9c, 0x40, 0x00, 0x50, 1, 2, 3, 4, 0, 0, 0, 0, 0x50, TCP_FLAG_SYN};

	return put(at, tcp, sizeof(tcp));
}

static __u8 *put_ipv4(__u8 *at, struct choices *choices)
{
	const unsigned words = choose(choices) % 11;
	const __u8 head[] = {0x45 + words,
			     0,
			     0,
			     40 + words * 4,
			     0,
			     0,
			     0x40,
			     0,
			     64,
			     HEADER_TCP,
			     0,
			     0,
			     10,
			     0,
			     0,
			     1,
			     10,
			     0,
			     0,
			     2};

	at = put(at, head, sizeof(head));
	for (unsigned i = 0; i < words * 4; i++)
		*at++ = choose(choices);
	return put_tcp(at);
}

/* A chain as RFC 8200 knows it: each kind once, destination options twice, no fragment but a whole
 * one. */
static __u8 *put_ipv6(__u8 *at, struct choices *choices)
{
	static const __u8 order[] = {HEADER_HOP_BY_HOP, HEADER_DESTINATION, HEADER_ROUTING,
				     HEADER_FRAGMENT,	HEADER_AH,	    HEADER_DESTINATION};
	const __u8 wanted = choose(choices);
	__u8 *start = at, *next = at + 6, *length = at + 4;

	memset(at, 0, 40);
	at[0] = 0x60;
	at[7] = 64;
	at[23] = 1;
	at[39] = 2;
	at += 40;
	for (unsigned i = 0; i < sizeof(order); i++) {
		const unsigned size = order[i] == HEADER_FRAGMENT ? 0 : choose(choices) % 4;
		/* AH counts in words of four bytes, two fewer than it has. */
		const unsigned bytes = order[i] == HEADER_AH ? (size + 2) * 4 : (size + 1) * 8;

		if (!(wanted & 1 << i))
			continue;
		*next = order[i];
		next = at;
		memset(at, 0, bytes);
		at[1] = size;
		for (unsigned j = 8; j < bytes; j++)
			at[j] = choose(choices);
		at += bytes;
	}
	*next = HEADER_TCP;
	at = put_tcp(at);
	put16(length, at - start - 40);
	return at;
}

static void check_wrapped(const __u8 *data, size_t size)
{
	struct choices choices = {.at = data, .end = data + size};
	const unsigned tags = choose(&choices) % (MAX_VLAN_TAGS + 1);
	const bool v6 = choose(&choices) & 1;
	__u8 frame[MOST_BYTES] = {0}, *at = frame + MAC_PAIR_BYTES;
	struct syn syn;

	for (unsigned i = 0; i < tags; i++) {
		at = put16(at, i + 1 < tags ? FRAME_PROVIDER : FRAME_VLAN);
		at = put16(at, choose(&choices));
	}
	at = put16(at, v6 ? FRAME_IPV6 : FRAME_IPV4);
	at = v6 ? put_ipv6(at, &choices) : put_ipv4(at, &choices);
	CLAIM(read_exactly(frame, at - frame, &syn) == FRAME_SYN);
	CLAIM(syn.source_port == bpf_htons(40000) && syn.destination_port == bpf_htons(80));
	CLAIM(syn.v6 == v6 && syn.network == 14 + 4 * tags && syn.sequence == 0x01020304);
	CLAIM(syn.source[3] == bpf_htonl(v6 ? 1 : 0x0a000001));
	check_frame(frame, at - frame);
}

int LLVMFuzzerTestOneInput(const __u8 *data, size_t size)
{
	if (size == 0 || size > MOST_BYTES)
		return 0;
	if (data[0] & 1)
		check_wrapped(data + 1, size - 1);
	else
		check_frame(data + 1, size - 1);
	return 0;
}
