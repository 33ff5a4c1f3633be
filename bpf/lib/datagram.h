/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Owns the memory of datagram flows: which backend a socket uses for what it asked for, and as
 * whose answer a backend's datagram is shown. Knows no decision of routing.
 *
 * A flow lies in the storage of its socket and goes with it. The kernel runs the hooks of one UDP
 * socket one after the other, with the socket locked, so nothing here needs a lock of its own.
 */
#ifndef WEFT_DATAGRAM_H
#define WEFT_DATAGRAM_H

#include "route.h"

/* Units of struct flow's asked_at (about a millisecond): a question that waited longer is lost. */
#define ANSWER_SHIFT 20
#define ANSWER_WAIT  1000

static __always_inline bool is_asked(const struct flow *flow, const struct destination *destination)
{
	return flow->run && flow->asked_port == destination->port &&
	       same_address(flow->asked, destination->address);
}

static __always_inline bool is_from(const struct flow *flow, const struct destination *source)
{
	return flow->run && flow->backend_port == source->port &&
	       same_address(flow->backend, source->address);
}

static __always_inline __u32 coarse_time(void)
{
	return (__u32)(bpf_ktime_get_coarse_ns() >> ANSWER_SHIFT);
}

/* The socket's flow to this destination, NULL when there is none. */
static __always_inline struct flow *find_flow(struct flows *flows,
					      const struct destination *destination)
{
	for (__u32 i = 0; i < SOCKET_FLOWS; i++) {
		if (is_asked(&flows->flow[i], destination))
			return &flows->flow[i];
	}
	return NULL;
}

/* How much rather than to others with its backend an answer belongs to the flow, 0: it does not.
 * Questions are answered in their order; what nobody asked for belongs to the latest. `sent` is
 * that of the flows. A global function: verified once, or its paths multiply in the loop around it.
 */
__attribute__((noinline)) __u64 answer_rank(const struct flow *flow,
					    const struct destination *source, __u32 sent, __u32 now)
{
	__u32 age;

	/* Never so: the verifier asks. */
	if (!flow || !source)
		return 0;
	age = sent - flow->order;
	if (!is_from(flow, source))
		return 0;
	if (flow->flags & FLOW_WAITS && now - flow->asked_at < ANSWER_WAIT)
		return 2ULL << 32 | age;
	return 1ULL << 32 | (__u32)~age;
}

/* The flow that a datagram from this source belongs to, NULL for none. */
static __always_inline struct flow *find_answered(struct flows *flows,
						  const struct destination *source)
{
	__u32 now = coarse_time(), found = 0;
	__u64 best = 0;

	for (__u32 i = 0; i < SOCKET_FLOWS; i++) {
		__u64 rank = answer_rank(&flows->flow[i], source, flows->sent, now);

		if (rank > best) {
			best = rank;
			found = i;
		}
	}
	return best ? &flows->flow[found & (SOCKET_FLOWS - 1)] : NULL;
}

/* The flow that the socket is connected to, NULL when that is none of ours. */
static __always_inline struct flow *find_peer(struct flows *flows, const struct destination *peer)
{
	return is_from(&flows->flow[0], peer) ? &flows->flow[0] : NULL;
}

/* Notes that a pod has a connected datagram socket, for the sweep of those whose backend leaves. */
static __always_inline void note_connected(__u64 netns)
{
	__u32 routed = CONNECTED_ROUTED;

	if (bpf_map_lookup_elem(&connected_pods, &netns))
		return;
	/* Not over what another CPU may have noted of a refused socket meanwhile. */
	if (bpf_map_update_elem(&connected_pods, &netns, &routed, BPF_NOEXIST) &&
	    !bpf_map_lookup_elem(&connected_pods, &netns))
		count_reason(REASON_STORAGE_FULL);
}

/* Room for one more flow: a free place, or that of the flow asked longest ago. The first is kept
 * for what the socket is connected to. */
static __always_inline struct flow *make_flow(struct flows *flows)
{
	struct flow *oldest = &flows->flow[1];

	for (__u32 i = 1; i < SOCKET_FLOWS; i++) {
		struct flow *flow = &flows->flow[i];

		if (!flow->run)
			return flow;
		if ((__s32)(flow->order - oldest->order) < 0)
			oldest = flow;
	}
	return oldest;
}

struct slot_search {
	struct destination backend;
	__u32 first_slot;
	bool found;
};

static long match_slot(__u32 column, struct slot_search *search)
{
	__u32 index = search->first_slot + column;
	const struct slot *slot = bpf_map_lookup_elem(&slots, &index);

	if (!slot || slot->primary.port != search->backend.port ||
	    !same_address(slot->primary.address, search->backend.address))
		return 0;
	search->found = true;
	return 1;
}

/* Whether the flow's backend is still one of the frontend's. Each backend is the primary of a
 * column of its own, so a changed run is walked once; then the flow knows the new run. */
static __always_inline bool is_eligible(struct flow *flow, const struct target *target)
{
	struct slot_search search = {.first_slot = target->first_slot};

	if (!target->slots || flow->flags & FLOW_REFUSED)
		return false;
	if (flow->run == target->run)
		return true;
	copy_address(search.backend.address, flow->backend);
	search.backend.port = flow->backend_port;
	bpf_loop(target->slots, match_slot, &search, 0);
	if (search.found)
		flow->run = target->run;
	return search.found;
}

static __always_inline void set_flow(struct flow *flow, const struct destination *destination,
				     const struct route *route, __u32 flags)
{
	copy_address(flow->asked, destination->address);
	copy_address(flow->backend, route->backend->address);
	flow->asked_port = destination->port;
	flow->backend_port = route->backend->port;
	flow->run = route->run;
	flow->flags = flags;
}

/* Notes that something is sent to the flow's backend now. */
static __always_inline void touch_flow(struct flows *flows, struct flow *flow)
{
	flow->order = ++flows->sent;
	flow->asked_at = coarse_time();
	flow->flags |= FLOW_WAITS;
}

#endif
