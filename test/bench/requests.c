/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the load of HTTP: requests of HTTP/1.1 over connections that stay, as fast as answers come
 * or so many a second. Knows nothing of weft. Each run ends by itself; the result is one JSON
 * object on stdout.
 *
 * At a rate, a request's time begins when it was due, whether a connection was free then or not:
 * who answers late does not make the clients ask less.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "latency.h"
#include "options.h"

#define MAX_WORKERS 1024
#define MAX_EVENTS  64
#define ANSWER_SIZE 4096

static const char request[] = "GET / HTTP/1.1\r\nHost: web\r\n\r\n";

struct worker {
	int fd;
	uint64_t due;
	size_t received;
	char answer[ANSWER_SIZE + 1];
};

struct run {
	struct latencies latencies;
	uint64_t measured; /* from here on */
	uint64_t next;	   /* due, at a rate */
	uint64_t every;
	struct worker *idle[MAX_WORKERS];
	unsigned int idles;
};

static struct worker workers[MAX_WORKERS];

static void die(const char *what)
{
	fprintf(stderr, "requests: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void open_connection(const struct options *options, int epoll, struct worker *worker)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = worker};

	worker->fd = socket(options->address.ss_family, SOCK_STREAM, 0);
	if (worker->fd < 0 || connect(worker->fd, (const struct sockaddr *)&options->address,
				      options->address_length) != 0)
		die("connect");
	if (setsockopt(worker->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int)) != 0)
		die("setsockopt");
	if (epoll_ctl(epoll, EPOLL_CTL_ADD, worker->fd, &event) != 0)
		die("epoll_ctl");
}

static void ask(struct worker *worker, uint64_t due)
{
	worker->due = due;
	worker->received = 0;
	if (send(worker->fd, request, sizeof(request) - 1, MSG_NOSIGNAL) != sizeof(request) - 1)
		die("send");
}

/* Whether the answer is whole. One that is none ends the program: it measures nothing. */
static bool is_whole(const struct worker *worker)
{
	const char *end = strstr(worker->answer, "\r\n\r\n");
	const char *length;

	if (!end)
		return false;
	length = strcasestr(worker->answer, "\r\ncontent-length:");
	if (strncmp(worker->answer, "HTTP/1.1 200", 12) != 0 || !length || length > end) {
		fprintf(stderr, "requests: unexpected answer: %s\n", worker->answer);
		exit(1);
	}
	return worker->received >=
	       (size_t)(end + 4 - worker->answer) + strtoul(length + 17, NULL, 10);
}

static void receive(const struct options *options, struct run *run, struct worker *worker)
{
	ssize_t n = recv(worker->fd, worker->answer + worker->received,
			 ANSWER_SIZE - worker->received, MSG_DONTWAIT);
	uint64_t now;

	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0)
		die("recv");
	worker->received += (size_t)n;
	worker->answer[worker->received] = 0;
	if (!is_whole(worker))
		return;
	now = now_ns();
	if (worker->due >= run->measured)
		record(&run->latencies, now - worker->due);
	if (options->rate > 0)
		run->idle[run->idles++] = worker;
	else
		ask(worker, now);
}

/* Asks what is due as far as connections are free; gives nanoseconds until something may be. */
static uint64_t ask_due(struct run *run, uint64_t now, uint64_t end)
{
	while (run->idles > 0 && run->next <= now) {
		ask(run->idle[--run->idles], run->next);
		run->next += run->every;
	}
	if (run->idles > 0 && run->next < end)
		return run->next > now ? run->next - now : 0;
	return end - now;
}

static void measure(const struct options *options, struct run *run)
{
	struct epoll_event events[MAX_EVENTS];
	int epoll = epoll_create1(0), i, n;
	uint64_t start, end, now, wait;
	unsigned int w;

	for (w = 0; w < options->workers; w++)
		open_connection(options, epoll, &workers[w]);
	start = now_ns();
	run->measured = start + (uint64_t)(options->warmup * 1e9);
	run->next = start;
	end = run->measured + (uint64_t)(options->seconds * 1e9);
	if (options->rate > 0)
		run->every = (uint64_t)(1e9 / options->rate);
	for (w = 0; w < options->workers; w++) {
		if (options->rate > 0)
			run->idle[run->idles++] = &workers[w];
		else
			ask(&workers[w], start);
	}
	while ((now = now_ns()) < end) {
		wait = options->rate > 0 ? ask_due(run, now, end) : end - now;
		n = epoll_pwait2(epoll, events, MAX_EVENTS,
				 &(struct timespec){.tv_sec = (time_t)(wait / 1000000000),
						    .tv_nsec = (long)(wait % 1000000000)},
				 NULL);
		for (i = 0; i < n; i++)
			receive(options, run, events[i].data.ptr);
	}
}

static const char usage[] = "usage: requests --address A --port P [options]\n"
			    "  --workers N   connections, 1-1024 (default 1)\n"
			    "  --seconds S   how long to measure, at most 3600 (default 3)\n"
			    "  --warmup S    not measured, before (default 0.2)\n"
			    "  --rate R      requests a second of all connections together "
			    "(default: as fast as answers come)\n";

int main(int argc, char **argv)
{
	struct options options;
	static struct run run;
	const struct latencies *latencies = &run.latencies;

	if (!parse_options(&options, argc, argv, "r", 0, MAX_WORKERS)) {
		fputs(usage, stderr);
		return 2;
	}
	measure(&options, &run);
	printf("{\"workers\":%u,\"seconds\":%.3f,\"count\":%llu,\"rate\":%.1f,"
	       "\"latencyUs\":{\"p50\":%.1f,\"p99\":%.1f,\"max\":%.1f}}\n",
	       options.workers, options.seconds, (unsigned long long)latencies->done,
	       (double)latencies->done / options.seconds, percentile_us(latencies, 0.5),
	       percentile_us(latencies, 0.99), (double)latencies->longest / 1000);
	return latencies->done > 0 ? 0 : 1;
}
