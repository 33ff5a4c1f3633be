/* SPDX-License-Identifier: Apache-2.0 */
/* Owns a connection's beginning in fragments: sends one SYN cut in two and says what came of it.
 * Knows no mesh.
 *
 *   pieces 4|6 FROM TO PORT      prints `accepted` (SYN, ACK), `refused` (RST) or `silence`
 *
 * IPv4 is cut inside the TCP header, after ports and sequence number. IPv6 may not be cut there
 * (RFC 8200 4.5: the first fragment has all headers), and is cut inside the options.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SOURCE_PORT 40404
#define WAIT_MS	    3000
#define V4_CUT	    8
#define V6_CUT	    24

/* A TCP header with twelve bytes of options that do nothing. */
struct segment {
	struct tcphdr tcp;
	uint8_t options[12];
};

struct piece4 {
	struct iphdr ip;
	uint8_t bytes[sizeof(struct segment)];
} __attribute__((packed));

struct piece6 {
	struct ip6_hdr ip;
	struct ip6_frag fragment;
	uint8_t bytes[sizeof(struct segment)];
} __attribute__((packed));

static int die(const char *what)
{
	fprintf(stderr, "pieces: %s: %s\n", what, strerror(errno));
	return 1;
}

static uint32_t add(uint32_t sum, const void *data, size_t bytes)
{
	const uint8_t *at = data;

	for (size_t i = 0; i + 1 < bytes; i += 2)
		sum += (uint32_t)(at[i] << 8 | at[i + 1]);
	return sum;
}

static void prepare(struct segment *segment, const void *from, const void *to, size_t address,
		    uint16_t port)
{
	uint32_t sum;

	memset(segment, 0, sizeof(*segment));
	memset(segment->options, TCPOPT_NOP, sizeof(segment->options));
	segment->tcp.source = htons(SOURCE_PORT);
	segment->tcp.dest = htons(port);
	segment->tcp.doff = sizeof(*segment) / 4;
	segment->tcp.syn = 1;
	segment->tcp.window = htons(1024);
	sum = add(add(0, from, address), to, address) + IPPROTO_TCP + sizeof(*segment);
	sum = add(sum, segment, sizeof(*segment));
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	segment->tcp.check = htons((uint16_t)~sum);
}

/* The kernel fills in the checksum, and the length in its own way. */
static int send4(int fd, const struct sockaddr_in *from, const struct sockaddr_in *to,
		 const struct segment *segment, size_t start, size_t end)
{
	struct piece4 piece = {.ip = {.version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_TCP}};

	piece.ip.id = htons(4711);
	piece.ip.frag_off = htons(start / 8 | (end < sizeof(*segment) ? IP_MF : 0));
	piece.ip.saddr = from->sin_addr.s_addr;
	piece.ip.daddr = to->sin_addr.s_addr;
	memcpy(piece.bytes, (const uint8_t *)segment + start, end - start);
	return sendto(fd, &piece, sizeof(piece.ip) + end - start, 0, (const struct sockaddr *)to,
		      sizeof(*to)) < 0;
}

static int send6(int fd, const struct sockaddr_in6 *from, const struct sockaddr_in6 *to,
		 const struct segment *segment, size_t start, size_t end)
{
	struct sockaddr_in6 there = *to;
	struct piece6 piece = {0};

	piece.ip.ip6_vfc = 6 << 4;
	piece.ip.ip6_plen = htons((uint16_t)(sizeof(piece.fragment) + end - start));
	piece.ip.ip6_nxt = IPPROTO_FRAGMENT;
	piece.ip.ip6_hlim = 64;
	piece.ip.ip6_src = from->sin6_addr;
	piece.ip.ip6_dst = to->sin6_addr;
	piece.fragment.ip6f_nxt = IPPROTO_TCP;
	piece.fragment.ip6f_offlg =
	    htons((uint16_t)start) | (end < sizeof(*segment) ? IP6F_MORE_FRAG : 0);
	piece.fragment.ip6f_ident = htonl(4711);
	memcpy(piece.bytes, (const uint8_t *)segment + start, end - start);
	there.sin6_port = 0;
	return sendto(fd, &piece, sizeof(piece) - sizeof(piece.bytes) + end - start, 0,
		      (struct sockaddr *)&there, sizeof(there)) < 0;
}

/* What the first segment to our port is. */
static const char *hear(int fd, int family)
{
	uint8_t packet[256];

	for (;;) {
		struct pollfd waiting = {.fd = fd, .events = POLLIN};
		struct tcphdr tcp;
		size_t header;
		ssize_t size;

		if (poll(&waiting, 1, WAIT_MS) <= 0)
			return "silence";
		size = recv(fd, packet, sizeof(packet), 0);
		header = family == AF_INET ? sizeof(struct iphdr) : 0;
		if (size < (ssize_t)(header + sizeof(tcp)))
			continue;
		memcpy(&tcp, packet + header, sizeof(tcp));
		if (tcp.dest == htons(SOURCE_PORT))
			return tcp.rst ? "refused" : "accepted";
	}
}

int main(int argc, char **argv)
{
	int family = argc == 5 && !strcmp(argv[1], "6") ? AF_INET6 : AF_INET;
	struct sockaddr_in from4 = {.sin_family = AF_INET}, to4 = from4;
	struct sockaddr_in6 from6 = {.sin6_family = AF_INET6}, to6 = from6;
	struct segment segment;
	int sending, hearing, failed;

	if (argc != 5) {
		fputs("usage: pieces 4|6 FROM TO PORT\n", stderr);
		return 2;
	}
	sending = socket(family, SOCK_RAW, IPPROTO_RAW);
	hearing = socket(family, SOCK_RAW, IPPROTO_TCP);
	if (sending < 0 || hearing < 0)
		return die("socket");
	if (family == AF_INET) {
		if (inet_pton(family, argv[2], &from4.sin_addr) != 1 ||
		    inet_pton(family, argv[3], &to4.sin_addr) != 1)
			return die("address");
		prepare(&segment, &from4.sin_addr, &to4.sin_addr, 4, (uint16_t)atoi(argv[4]));
		failed = send4(sending, &from4, &to4, &segment, 0, V4_CUT) ||
			 send4(sending, &from4, &to4, &segment, V4_CUT, sizeof(segment));
	} else {
		if (inet_pton(family, argv[2], &from6.sin6_addr) != 1 ||
		    inet_pton(family, argv[3], &to6.sin6_addr) != 1)
			return die("address");
		prepare(&segment, &from6.sin6_addr, &to6.sin6_addr, 16, (uint16_t)atoi(argv[4]));
		failed = send6(sending, &from6, &to6, &segment, 0, V6_CUT) ||
			 send6(sending, &from6, &to6, &segment, V6_CUT, sizeof(segment));
	}
	if (failed)
		return die("sendto");
	puts(hear(hearing, family));
	return 0;
}
