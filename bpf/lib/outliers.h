/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Owns the telling of endpoints that fail, and of those that were reached again: what the daemon
 * sets aside is its decision. Knows no hook.
 *
 * Only TCP that a service has routed counts. A connection fails once: when its first SYN is not
 * answered in time, or when it ends before that. Where nothing fails, a success costs one look at
 * the clock; what cannot be told is not counted, and sets nothing aside.
 */
#ifndef WEFT_OUTLIERS_H
#define WEFT_OUTLIERS_H

#include "connections.h"
#include "socket.h"

/* Failures in a row, of the first source and of the others, that are told of each; after that one
 * in TOLD_PAUSE_NS. */
#define TOLD_EACH     32
#define TOLD_PAUSE_NS 100000000ULL

/* For so long after a failure successes are looked up: longer than anything is set aside.
 * daemon/enforce/outliers.ts forgets sooner. */
#define INTEREST_NS (15 * 60 * 1000000000ULL)

static __always_inline bool tells_outliers(void)
{
	const struct settings *current = get_settings();

	return current && current->outliers;
}

static __always_inline void name_endpoint(const struct tcp_sock *tcp,
					  const struct connection *connection,
					  struct endpoint_event *event)
{
	__builtin_memset(event, 0, sizeof(*event));
	event->source = netns_of(tcp);
	event->service = connection->service;
	event->endpoint.workload = connection->destination;
	event->endpoint.port = remote_port(tcp);
	read_remote(common_of(tcp), event->endpoint.address);
	read_local(common_of(tcp), event->source_address);
	event->source_port = local_port(tcp);
}

/* Counts a failed connect, and tells of it. A global function, as the next: verified once. */
__attribute__((noinline)) int tell_failure(struct endpoint_event *event)
{
	struct failing_endpoint fresh = {}, *counted;
	__u64 never = 0, *last;
	__u32 first = 0, *count;

	/* Never so: the verifier asks. */
	if (!event)
		return 0;
	/* Linux 6.1 takes keys from the program's own stack only. */
	struct witness_key witness = {.netns = event->source, .service = event->service};
	struct endpoint_key endpoint = event->endpoint;

	event->time_ns = bpf_ktime_get_ns();
	counted = bpf_map_lookup_elem(&failing, &endpoint);
	if (!counted) {
		fresh.first = event->source;
		bpf_map_update_elem(&failing, &endpoint, &fresh, BPF_NOEXIST);
		counted = bpf_map_lookup_elem(&failing, &endpoint);
	}
	last = bpf_map_lookup_elem(&last_failure, &first);
	if (!counted || !last)
		return 0;
	*last = bpf_ktime_get_coarse_ns();
	bpf_map_update_elem(&witnesses, &witness, &never, BPF_NOEXIST);
	count = counted->first == event->source ? &counted->by_first : &counted->by_others;
	if (__sync_fetch_and_add(count, 1) >= TOLD_EACH &&
	    event->time_ns - counted->told_ns < TOLD_PAUSE_NS)
		return 0;
	counted->told_ns = event->time_ns;
	bpf_ringbuf_output(&endpoint_events, event, sizeof(*event), 0);
	return 0;
}

/* A connect has succeeded while some fail. */
__attribute__((noinline)) int tell_success(struct endpoint_event *event)
{
	__u64 *reached;
	bool is_news;

	if (!event)
		return 0;
	struct witness_key witness = {.netns = event->source, .service = event->service};
	struct endpoint_key endpoint = event->endpoint;

	event->time_ns = bpf_ktime_get_ns();
	reached = bpf_map_lookup_elem(&witnesses, &witness);
	is_news = reached && !*reached;
	if (reached)
		*reached = event->time_ns;
	if (!bpf_map_lookup_elem(&failing, &endpoint)) {
		if (is_news)
			bpf_ringbuf_output(&endpoint_events, event, sizeof(*event), 0);
		return 0;
	}
	/* While nobody has heard of it the next success tells. */
	if (!bpf_ringbuf_output(&endpoint_events, event, sizeof(*event), 0))
		bpf_map_delete_elem(&failing, &endpoint);
	return 0;
}

/* Whether an error of a socket that connects speaks of the way or the endpoint. Others are the
 * node's own: closed by an operator, no memory. */
static __always_inline bool blames_endpoint(int error)
{
	return error == ECONNREFUSED || error == ETIMEDOUT || error == EHOSTUNREACH ||
	       error == ENETUNREACH;
}

/* A connect that is remembered has failed, by this error. */
static __always_inline void note_failure(const struct tcp_sock *tcp, int error)
{
	struct connection connection;
	struct endpoint_event event;

	if (!blames_endpoint(error) || !tells_outliers() ||
	    !read_connection(cookie_of(tcp), &connection) || !connection.routed)
		return;
	name_endpoint(tcp, &connection, &event);
	event.error = error;
	tell_failure(&event);
}

/* A connect has ended without success. One whose SYN was sent again was told of then. */
static __always_inline void note_end(const struct tcp_sock *tcp)
{
	if (!tcp->total_retrans)
		note_failure(tcp, ((const struct sock *)tcp)->sk_err);
}

static __always_inline void note_success(const struct tcp_sock *tcp,
					 const struct connection *connection)
{
	struct endpoint_event event;
	__u32 first = 0;
	const __u64 *last;

	if (!connection->routed)
		return;
	last = bpf_map_lookup_elem(&last_failure, &first);
	if (!last || !*last || bpf_ktime_get_coarse_ns() - *last > INTEREST_NS)
		return;
	name_endpoint(tcp, connection, &event);
	tell_success(&event);
}

#endif
