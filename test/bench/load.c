/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the benches' load: a 64-byte echo server, and clients that count and time what they do.
 * Knows nothing of weft. Each run ends by itself; results are one JSON object on stdout.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#include "latency.h"
#include "options.h"

#define MESSAGE_BYTES 64
#define MAX_WORKERS   16384
#define MAX_EVENTS    64
/* Connections that hold() opens at a time: no more than a listener has room for. */
#define MAX_OPENING 256
/* Failures in a row after which a client gives up: nothing is there to be measured. */
#define MAX_FAILURES 1000

struct worker {
	int fd;
	bool sent;
	unsigned int received;
	uint64_t started;
};

struct result {
	struct latencies latencies;
	uint64_t failed;
	unsigned int failed_in_a_row;
	int last_error;
};

static void die(const char *what)
{
	fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void set_option(int fd, int level, int name)
{
	if (setsockopt(fd, level, name, &(int){1}, sizeof(int)) != 0)
		die("setsockopt");
}

static void watch(int epoll, int fd, uint32_t events, void *data)
{
	struct epoll_event event = {.events = events, .data.ptr = data};

	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0)
		die("epoll_ctl");
}

/* One for each connection, as far as the process may. */
static void allow_descriptors(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		die("getrlimit");
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
		die("setrlimit");
}

/* ---- server ---- */

static void accept_all(int epoll, int listener)
{
	int fd;

	while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
		set_option(fd, IPPROTO_TCP, TCP_NODELAY);
		watch(epoll, fd, EPOLLIN, (void *)(intptr_t)fd);
	}
	if (errno != EAGAIN && errno != ECONNABORTED)
		die("accept");
}

/* Answers byte for byte; closes when the client has, or on any error. */
static void echo(int fd)
{
	char buffer[MESSAGE_BYTES];
	ssize_t n = read(fd, buffer, sizeof(buffer));

	if (n > 0 && write(fd, buffer, (size_t)n) == n)
		return;
	if (n < 0 && errno == EAGAIN)
		return;
	close(fd);
}

static int serve(const struct options *options)
{
	uint64_t end = now_ns() + (uint64_t)(options->seconds * 1e9);
	int listener = socket(options->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
	int epoll = epoll_create1(0);
	struct epoll_event events[MAX_EVENTS];
	int i, n;

	if (listener < 0 || epoll < 0)
		die("socket");
	set_option(listener, SOL_SOCKET, SO_REUSEADDR);
	if (bind(listener, (const struct sockaddr *)&options->address, options->address_length) !=
	    0)
		die("bind");
	if (listen(listener, 4096) != 0)
		die("listen");
	watch(epoll, listener, EPOLLIN, (void *)(intptr_t)listener);
	while (now_ns() < end) {
		n = epoll_wait(epoll, events, MAX_EVENTS, 1000);
		for (i = 0; i < n; i++) {
			int fd = (int)(intptr_t)events[i].data.ptr;

			if (fd == listener)
				accept_all(epoll, listener);
			else
				echo(fd);
		}
	}
	return 0;
}

/* ---- client ---- */

static void fail(struct result *result, int error)
{
	result->failed++;
	result->failed_in_a_row++;
	result->last_error = error;
}

/* Where the next connection goes. */
static const struct sockaddr *next_address(const struct options *options)
{
	static struct sockaddr_storage next;
	struct sockaddr_in *v4 = (struct sockaddr_in *)&next;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&next;
	uint32_t *low = &v6->sin6_addr.s6_addr32[3];

	next = options->address;
	if (next.ss_family == AF_INET)
		low = &v4->sin_addr.s_addr;
	*low = htonl(ntohl(*low) + (uint32_t)random() % options->spread);
	return (const struct sockaddr *)&next;
}

/* Starts a connection; one that is refused within connect(2) is counted and tried again. */
static void begin(const struct options *options, int epoll, struct worker *worker,
		  struct result *result)
{
	while (result->failed_in_a_row < MAX_FAILURES) {
		const struct sockaddr *address = next_address(options);

		*worker = (struct worker){.started = now_ns()};
		worker->fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
		if (worker->fd < 0)
			die("socket");
		set_option(worker->fd, IPPROTO_TCP, TCP_NODELAY);
		if (connect(worker->fd, address, options->address_length) == 0 ||
		    errno == EINPROGRESS) {
			watch(epoll, worker->fd, EPOLLIN | EPOLLOUT | EPOLLET, worker);
			return;
		}
		fail(result, errno);
		close(worker->fd);
	}
}

/* Takes the worker's request one step on: 1 when its reply is complete, 0 to wait, -errno. */
static int advance(struct worker *worker)
{
	char buffer[MESSAGE_BYTES] = {0};
	ssize_t n;

	if (!worker->sent) {
		n = send(worker->fd, buffer, sizeof(buffer), MSG_NOSIGNAL);
		if (n < 0)
			return errno == EAGAIN || errno == ENOTCONN ? 0 : -errno;
		worker->sent = true;
	}
	n = recv(worker->fd, buffer, sizeof(buffer) - worker->received, 0);
	if (n < 0)
		return errno == EAGAIN ? 0 : -errno;
	if (n == 0)
		return -ECONNRESET;
	worker->received += (unsigned int)n;
	return worker->received == MESSAGE_BYTES;
}

/* Brings a worker as far as it goes now: through its reply, and on to its next request. */
static void drive(const struct options *options, int epoll, struct worker *worker,
		  uint64_t measured, struct result *result)
{
	int state;

	while ((state = advance(worker)) == 1) {
		uint64_t now = now_ns();

		result->failed_in_a_row = 0;
		if (now >= measured)
			record(&result->latencies, now - worker->started);
		if (!options->keep)
			break;
		*worker = (struct worker){.fd = worker->fd, .started = now};
	}
	if (state == 0)
		return;
	if (state < 0)
		fail(result, -state);
	close(worker->fd);
	begin(options, epoll, worker, result);
}

static void request(const struct options *options, struct result *result)
{
	static struct worker workers[MAX_WORKERS];
	uint64_t measured = now_ns() + (uint64_t)(options->warmup * 1e9);
	uint64_t end = measured + (uint64_t)(options->seconds * 1e9);
	struct epoll_event events[MAX_EVENTS];
	int epoll = epoll_create1(0);
	unsigned int w;
	int i, n;

	for (w = 0; w < options->workers; w++)
		begin(options, epoll, &workers[w], result);
	while (now_ns() < end && result->failed_in_a_row < MAX_FAILURES) {
		n = epoll_wait(epoll, events, MAX_EVENTS, 10);
		for (i = 0; i < n; i++)
			drive(options, epoll, events[i].data.ptr, measured, result);
	}
}

/* Opens the connections, says one thing on each, and keeps them until the time is over. */
static void hold(const struct options *options, struct result *result)
{
	static struct worker workers[MAX_WORKERS];
	uint64_t end = now_ns() + (uint64_t)(options->seconds * 1e9);
	struct epoll_event events[MAX_EVENTS];
	int epoll = epoll_create1(0);
	unsigned int begun = 0, held = 0;
	int i, n;

	while (now_ns() < end && held < options->workers) {
		while (begun < options->workers && begun - held < MAX_OPENING)
			begin(options, epoll, &workers[begun++], result);
		n = epoll_wait(epoll, events, MAX_EVENTS, 10);
		for (i = 0; i < n; i++) {
			struct worker *worker = events[i].data.ptr;
			uint64_t started = worker->started;
			int state = advance(worker);

			if (state < 0) {
				fprintf(stderr, "load: a connection to hold: %s\n",
					strerror(-state));
				exit(1);
			}
			if (state == 0)
				continue;
			record(&result->latencies, now_ns() - started);
			held++;
		}
	}
	printf("{\"held\":%u}\n", held);
	fflush(stdout);
	while (now_ns() < end)
		epoll_wait(epoll, events, MAX_EVENTS, 1000);
}

/* Connects and resets, one after the other: what is timed is connect(2), its handshake included. */
static void connect_only(const struct options *options, struct result *result)
{
	const struct linger reset = {.l_onoff = 1};
	uint64_t measured = now_ns() + (uint64_t)(options->warmup * 1e9);
	uint64_t end = measured + (uint64_t)(options->seconds * 1e9), started, done = 0;

	while (done < end && result->failed_in_a_row < MAX_FAILURES) {
		const struct sockaddr *address = next_address(options);
		int fd = socket(address->sa_family, SOCK_STREAM, 0);

		if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)) != 0)
			die("socket");
		started = now_ns();
		if (connect(fd, address, options->address_length) != 0) {
			fail(result, errno);
		} else {
			done = now_ns();
			result->failed_in_a_row = 0;
			if (done >= measured)
				record(&result->latencies, done - started);
		}
		close(fd);
	}
}

static void print(const struct options *options, const struct result *result, double seconds)
{
	const struct latencies *latencies = &result->latencies;
	struct rusage usage;
	double cpu;

	getrusage(RUSAGE_SELF, &usage);
	cpu = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000 +
	      (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1000;
	printf("{\"workers\":%u,\"seconds\":%.3f,\"count\":%llu,\"rate\":%.1f,\"failed\":%llu,"
	       "\"lastError\":\"%s\",\"cpuMs\":%.0f,\"latencyUs\":{\"p50\":%.1f,\"p90\":%.1f,"
	       "\"p99\":%.1f,\"p999\":%.1f,\"max\":%.1f}}\n",
	       options->workers, seconds, (unsigned long long)latencies->done,
	       (double)latencies->done / seconds, (unsigned long long)result->failed,
	       result->last_error != 0 ? strerrorname_np(result->last_error) : "", cpu,
	       percentile_us(latencies, 0.5), percentile_us(latencies, 0.9),
	       percentile_us(latencies, 0.99), percentile_us(latencies, 0.999),
	       (double)latencies->longest / 1000);
}

/* ---- command line ---- */

static const char usage[] =
    "usage: load server|crr|pingpong|hold|connect [options]\n"
    "  server     echoes 64-byte messages until the time is over\n"
    "  crr        connect, request, reply, close; again\n"
    "  pingpong   request and reply on connections that stay\n"
    "  hold       connections that stay, with one request each; says when all are there\n"
    "  connect    connect and reset; again, one at a time\n"
    "  --address A   to listen on or to connect to, IPv4 or IPv6 (default ::)\n"
    "  --port P      (default 9000)\n"
    "  --workers N   connections at a time, 1-16384 (default 1)\n"
    "  --seconds S   how long to serve or to measure, at most 3600 (default 3)\n"
    "  --warmup S    not measured, before (default 0.2)\n"
    "  --spread N    each connection to one of N addresses from that one on (default 1)\n";

int main(int argc, char **argv)
{
	struct options options;
	static struct result result;
	const char *mode = argc > 1 ? argv[1] : "";

	if (argc < 2 || !parse_options(&options, argc - 1, argv + 1, "n", 9000, MAX_WORKERS)) {
		fputs(usage, stderr);
		return 2;
	}
	allow_descriptors();
	if (strcmp(mode, "server") == 0)
		return serve(&options);
	options.keep = strcmp(mode, "pingpong") == 0;
	if (strcmp(mode, "connect") == 0) {
		connect_only(&options, &result);
	} else if (strcmp(mode, "hold") == 0) {
		hold(&options, &result);
	} else if (options.keep || strcmp(mode, "crr") == 0) {
		request(&options, &result);
	} else {
		fputs(usage, stderr);
		return 2;
	}
	print(&options, &result, options.seconds);
	return result.latencies.done > 0 ? 0 : 1;
}
