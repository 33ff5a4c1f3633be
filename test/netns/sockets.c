/* SPDX-License-Identifier: Apache-2.0 */
/* Owns what tests do with sockets and Node cannot: one command a line in, one answer a line out.
 * Knows no mesh.
 *
 *   open N udp|tcp|mptcp 4|6 [shared|only]   new socket N; shared: SO_REUSEPORT, only: IPV6_V6ONLY
 *   bind N PORT [HOST]        connect N HOST PORT      disconnect N (connect to AF_UNSPEC)
 *   send N               sendto N HOST PORT       recv N MILLISECONDS ("text address port")
 *   peer N               own N                    close N               listen N
 *   accept N M (of N, as socket M)               begin N HOST PORT (connect, not waiting)
 *   shutdown N (for sending)                     linger N (SO_LINGER 0: close resets)
 *   options N (every packet with IPv4 options, or an IPv6 extension header)
 *   defer N (a listener hears of a connection with its first data only)
 *   many N HOST PORT (two datagrams by sendmmsg)
 *   from N HOST PORT OWN (a datagram with IP_PKTINFO)
 *   fast N HOST PORT (MSG_FASTOPEN)   eager N (TCP_FASTOPEN_CONNECT)   transparent N
 *   ring N HOST PORT [polled]     ringto N HOST PORT [polled] (connect and sendto by io_uring;
 *   polled: done by a thread of the kernel. "no io_uring: ERROR" where that is not to be had)
 *   ringzc N HOST PORT [polled]   sends by io_uring without copying, on a connected socket
 *   zerocopy N (SO_ZEROCOPY)   waits N (what it does waits for its end again, after begin)
 *   leave 0 PATH (the process goes to another network namespace; its sockets stay)
 *   churn COUNT HOST PORT   COUNT new UDP sockets send one datagram each and are closed
 *
 * An answer is `ok`, what was asked for, or the name of the error.
 */
#define _GNU_SOURCE /* strerrorname_np */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ring.h"

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

#define SOCKETS 1024

static int sockets[SOCKETS];

static const char *error_name(void)
{
	return strerrorname_np(errno) ? strerrorname_np(errno) : "unknown error";
}

static void say(int result)
{
	puts(result < 0 ? error_name() : "ok");
}

static int set_options(int fd)
{
	/* Four bytes of no operation; a header of destination options that holds padding only. */
	const unsigned char nothing[] = {1, 1, 1, 1}, padding[] = {0, 0, 1, 4, 0, 0, 0, 0};
	struct sockaddr_storage own;
	socklen_t length = sizeof(own);

	if (getsockname(fd, (struct sockaddr *)&own, &length))
		return -1;
	if (own.ss_family == AF_INET6)
		return setsockopt(fd, IPPROTO_IPV6, IPV6_DSTOPTS, padding, sizeof(padding));
	return setsockopt(fd, IPPROTO_IP, IP_OPTIONS, nothing, sizeof(nothing));
}

/* The address in the family of the socket, IPv4 as mapped one in an IPv6 socket. */
static socklen_t address_of(int fd, const char *host, const char *port, struct sockaddr_storage *to)
{
	struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_V4MAPPED}, *found;
	socklen_t length = sizeof(*to);

	if (getsockname(fd, (struct sockaddr *)to, &length))
		return 0;
	hints.ai_family = to->ss_family;
	if (getaddrinfo(host, port, &hints, &found))
		return 0;
	length = found->ai_addrlen;
	memcpy(to, found->ai_addr, length);
	freeaddrinfo(found);
	return length;
}

static void print_address(const struct sockaddr_storage *address)
{
	char text[INET6_ADDRSTRLEN];
	const struct sockaddr_in *v4 = (const void *)address;
	const struct sockaddr_in6 *v6 = (const void *)address;

	if (address->ss_family == AF_INET6)
		printf("%s %u\n", inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof(text)),
		       ntohs(v6->sin6_port));
	else
		printf("%s %u\n", inet_ntop(AF_INET, &v4->sin_addr, text, sizeof(text)),
		       ntohs(v4->sin_port));
}

static int open_socket(char **words, int count)
{
	int family = count > 3 && words[3][0] == '6' ? AF_INET6 : AF_INET;
	int type = count > 2 && !strcmp(words[2], "udp") ? SOCK_DGRAM : SOCK_STREAM;
	int protocol = count > 2 && !strcmp(words[2], "mptcp") ? IPPROTO_MPTCP : 0;
	int on = 1, fd = socket(family, type, protocol);

	/* A server may come back to its port at once. */
	if (type == SOCK_STREAM)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (fd >= 0 && count > 4 && !strcmp(words[4], "only"))
		return setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) ? -1 : fd;
	if (fd >= 0 && count > 4 && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)))
		return -1;
	return fd;
}

static void receive(int fd, int milliseconds)
{
	struct pollfd poller = {.fd = fd, .events = POLLIN};
	struct sockaddr_storage from = {};
	socklen_t length = sizeof(from);
	char text[256];
	ssize_t got;

	if (poll(&poller, 1, milliseconds) == 0) {
		puts("TIMEOUT");
		return;
	}
	got = recvfrom(fd, text, sizeof(text) - 1, MSG_DONTWAIT, (struct sockaddr *)&from, &length);
	if (got < 0) {
		say(-1);
		return;
	}
	text[got] = 0;
	text[strcspn(text, "\n")] = 0;
	printf("%s ", text);
	print_address(&from);
}

static void churn(int count, const char *host, const char *port)
{
	int family = strchr(host, ':') ? AF_INET6 : AF_INET;
	struct sockaddr_storage to;

	for (int i = 0; i < count; i++) {
		int fd = socket(family, SOCK_DGRAM, 0);
		socklen_t length = address_of(fd, host, port, &to);

		if (fd < 0 || sendto(fd, "x", 1, 0, (struct sockaddr *)&to, length) < 0) {
			say(-1);
			close(fd);
			return;
		}
		close(fd);
	}
	puts("ok");
}

/* Ways to send other than send and sendto; false: it is none of them. */
static bool send_otherwise(char **words, int fd)
{
	struct iovec data = {.iov_base = "question\n", .iov_len = 9};
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(struct in_pktinfo))];
	} control = {};
	struct in_pktinfo own = {};
	struct sockaddr_storage to = {};
	struct mmsghdr both[2] = {};
	struct msghdr message = {.msg_name = &to, .msg_iov = &data, .msg_iovlen = 1};
	const char *command = words[0];

	if (strcmp(command, "many") && strcmp(command, "from") && strcmp(command, "fast"))
		return false;
	message.msg_namelen = address_of(fd, words[2], words[3], &to);
	if (!strcmp(command, "many")) {
		both[0].msg_hdr = both[1].msg_hdr = message;
		say(sendmmsg(fd, both, 2, 0) == 2 ? 0 : -1);
	} else if (!strcmp(command, "from")) {
		inet_pton(AF_INET, words[4], &own.ipi_spec_dst);
		control.header.cmsg_level = IPPROTO_IP;
		control.header.cmsg_type = IP_PKTINFO;
		control.header.cmsg_len = CMSG_LEN(sizeof(own));
		memcpy(CMSG_DATA(&control.header), &own, sizeof(own));
		message.msg_control = &control;
		message.msg_controllen = sizeof(control);
		say((int)sendmsg(fd, &message, 0));
	} else {
		say((int)sendmsg(fd, &message, MSG_FASTOPEN | MSG_NOSIGNAL));
	}
	return true;
}

/* Connects, or sends, by io_uring. */
static void ring(char **words, int fd)
{
	struct sockaddr_storage to = {};
	struct iovec text = {.iov_base = "question\n", .iov_len = 9};
	struct msghdr message = {.msg_name = &to, .msg_iov = &text, .msg_iovlen = 1};
	struct io_uring_sqe request = {.fd = fd};
	int result;

	message.msg_namelen = address_of(fd, words[2], words[3], &to);
	if (!strcmp(words[0], "ring")) {
		request.opcode = IORING_OP_CONNECT;
		request.addr = (unsigned long)&to;
		request.off = message.msg_namelen;
	} else if (!strcmp(words[0], "ringzc")) {
		request.opcode = IORING_OP_SEND_ZC;
		request.addr = (unsigned long)text.iov_base;
		request.len = (unsigned int)text.iov_len;
	} else {
		request.opcode = IORING_OP_SENDMSG;
		request.addr = (unsigned long)&message;
	}
	result = through_ring(&request, !strcmp(words[4], "polled"));
	if (result == -2)
		printf("no io_uring: %s\n", error_name());
	else
		say(result);
}

/* Commands that make sockets, end them, or lead them somewhere; false: it is none of them. */
static bool open_or_end(char **words, int count, unsigned int number, int fd)
{
	const struct linger reset = {.l_onoff = 1};
	const int seconds = 30, on = 1;
	struct sockaddr_storage address = {};
	socklen_t length = sizeof(address);
	const char *command = words[0];

	if (!strcmp(command, "open")) {
		say(sockets[number % SOCKETS] = open_socket(words, count));
	} else if (!strcmp(command, "accept")) {
		say(sockets[(unsigned int)atoi(words[2]) % SOCKETS] = accept(fd, NULL, NULL));
	} else if (!strcmp(command, "bind")) {
		if (count > 3)
			length = address_of(fd, words[3], words[2], &address);
		else
			getsockname(fd, (struct sockaddr *)&address, &length);
		((struct sockaddr_in *)&address)->sin_port = htons((uint16_t)atoi(words[2]));
		say(bind(fd, (struct sockaddr *)&address, length));
	} else if (!strcmp(command, "connect")) {
		length = address_of(fd, words[2], words[3], &address);
		say(connect(fd, (struct sockaddr *)&address, length));
	} else if (!strcmp(command, "begin")) {
		length = address_of(fd, words[2], words[3], &address);
		fcntl(fd, F_SETFL, O_NONBLOCK);
		say(connect(fd, (struct sockaddr *)&address, length));
	} else if (!strcmp(command, "disconnect")) {
		say(connect(fd, (struct sockaddr *)&address, sizeof(address)));
	} else if (!strcmp(command, "listen")) {
		say(listen(fd, 16));
	} else if (!strcmp(command, "shutdown")) {
		say(shutdown(fd, SHUT_WR));
	} else if (!strcmp(command, "defer")) {
		say(setsockopt(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &seconds, sizeof(seconds)));
	} else if (!strcmp(command, "options")) {
		say(set_options(fd));
	} else if (!strcmp(command, "eager")) {
		say(setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &on, sizeof(on)));
	} else if (!strcmp(command, "zerocopy")) {
		say(setsockopt(fd, SOL_SOCKET, SO_ZEROCOPY, &on, sizeof(on)));
	} else if (!strcmp(command, "waits")) {
		say(fcntl(fd, F_SETFL, 0));
	} else if (!strcmp(command, "transparent")) {
		say(setsockopt(fd, IPPROTO_IP, IP_TRANSPARENT, &on, sizeof(on)));
	} else if (!strcmp(command, "leave")) {
		say(setns(open(words[2], O_RDONLY | O_CLOEXEC), CLONE_NEWNET));
	} else if (!strcmp(command, "linger")) {
		say(setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)));
	} else if (!strcmp(command, "close")) {
		say(close(fd));
	} else {
		return false;
	}
	return true;
}

static void obey(char **words, int count)
{
	const char *command = words[0];
	unsigned int number = count > 1 ? (unsigned int)atoi(words[1]) : 0;
	struct sockaddr_storage address = {};
	socklen_t length = sizeof(address);
	int fd = number < SOCKETS ? sockets[number] : -1;

	if (open_or_end(words, count, number, fd) || send_otherwise(words, fd))
		return;
	if (!strcmp(command, "send")) {
		say((int)send(fd, "question\n", 9, MSG_NOSIGNAL));
	} else if (!strcmp(command, "sendto")) {
		length = address_of(fd, words[2], words[3], &address);
		say((int)sendto(fd, "question\n", 9, 0, (struct sockaddr *)&address, length));
	} else if (!strcmp(command, "recv")) {
		receive(fd, atoi(words[2]));
	} else if (!strcmp(command, "peer") || !strcmp(command, "own")) {
		int failed = command[0] == 'p'
				 ? getpeername(fd, (struct sockaddr *)&address, &length)
				 : getsockname(fd, (struct sockaddr *)&address, &length);
		if (failed)
			say(-1);
		else
			print_address(&address);
	} else if (!strncmp(command, "ring", 4)) {
		ring(words, fd);
	} else if (!strcmp(command, "churn")) {
		churn((int)number, words[2], words[3]);
	} else {
		puts("unknown command");
	}
}

int main(void)
{
	char line[256], *words[8];

	setvbuf(stdout, NULL, _IOLBF, 0);
	while (fgets(line, sizeof(line), stdin)) {
		int count = 0;

		for (char *word = strtok(line, " \n"); word && count < 8;
		     word = strtok(NULL, " \n"))
			words[count++] = word;
		for (int i = count; i < 8; i++)
			words[i] = "";
		if (count > 0)
			obey(words, count);
	}
	return 0;
}
