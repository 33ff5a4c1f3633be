/* SPDX-License-Identifier: Apache-2.0 */
/* Owns a bounded flood of SYNs: frames with right checksums, from one address and all its ports,
 * sent on one interface for so many seconds. Knows nothing of weft. Says how many as JSON on
 * stdout.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define FIRST_PORT 1024
#define TTL	   64

struct frame {
	struct ethhdr ethernet;
	struct iphdr ip;
	struct tcphdr tcp;
} __attribute__((packed));

static void die(const char *what)
{
	fprintf(stderr, "syn: %s: %s\n", what, strerror(errno));
	exit(1);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static uint32_t add(uint32_t sum, const void *data, size_t bytes)
{
	const uint8_t *at = data;

	for (size_t i = 0; i + 1 < bytes; i += 2)
		sum += (uint32_t)(at[i] << 8 | at[i + 1]);
	return sum;
}

static uint16_t checksum(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons((uint16_t)~sum);
}

/* The frame but for its source port and what follows from that; returns the sum of all else. */
static uint32_t prepare(struct frame *frame, char *const *argv)
{
	uint8_t *mac = frame->ethernet.h_dest;
	uint32_t sum;

	if (sscanf(argv[2], "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &mac[0], &mac[1], &mac[2], &mac[3],
		   &mac[4], &mac[5]) != 6 ||
	    inet_pton(AF_INET, argv[3], &frame->ip.saddr) != 1 ||
	    inet_pton(AF_INET, argv[4], &frame->ip.daddr) != 1) {
		errno = EINVAL;
		die("addresses");
	}
	memcpy(frame->ethernet.h_source, "\2\0\0\0\0\1", ETH_ALEN);
	frame->ethernet.h_proto = htons(ETH_P_IP);
	frame->ip.version = 4;
	frame->ip.ihl = 5;
	frame->ip.tot_len = htons(sizeof(frame->ip) + sizeof(frame->tcp));
	frame->ip.ttl = TTL;
	frame->ip.protocol = IPPROTO_TCP;
	frame->ip.check = checksum(add(0, &frame->ip, sizeof(frame->ip)));
	frame->tcp.dest = htons((uint16_t)atoi(argv[5]));
	frame->tcp.doff = 5;
	frame->tcp.syn = 1;
	sum = add(0, &frame->ip.saddr, 8) + IPPROTO_TCP + sizeof(frame->tcp);
	return add(sum, &frame->tcp, sizeof(frame->tcp));
}

int main(int argc, char **argv)
{
	struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_halen = ETH_ALEN};
	struct frame frame = {0};
	uint64_t sent = 0, lost = 0;
	uint16_t port = FIRST_PORT;
	double start, end;
	uint32_t sum;
	int fd;

	if (argc != 7) {
		fputs("usage: syn INTERFACE MAC FROM TO PORT SECONDS\n", stderr);
		return 2;
	}
	sum = prepare(&frame, argv);
	fd = socket(AF_PACKET, SOCK_RAW, 0);
	to.sll_ifindex = (int)if_nametoindex(argv[1]);
	if (fd < 0 || to.sll_ifindex == 0)
		die(argv[1]);
	start = now();
	for (end = start + atof(argv[6]); now() < end;) {
		for (int i = 0; i < 64; i++) {
			frame.tcp.source = htons(port);
			frame.tcp.check = 0;
			frame.tcp.check = checksum(sum + port);
			port = (uint16_t)(port == UINT16_MAX ? FIRST_PORT : port + 1);
			if (sendto(fd, &frame, sizeof(frame), 0, (struct sockaddr *)&to,
				   sizeof(to)) == sizeof(frame))
				sent++;
			else if (errno == ENOBUFS)
				lost++;
			else
				die("sendto");
		}
	}
	printf("{\"sent\":%llu,\"lost\":%llu,\"seconds\":%.3f}\n", (unsigned long long)sent,
	       (unsigned long long)lost, now() - start);
	return 0;
}
