// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Owns records of connections that there never were, written as fast as they are asked for: more
 * than a machine can open connections. Knows no hook and no map but the ring.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "weft/types.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* In its place the one that weftd reads. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} events SEC(".maps");

/* The packet: a record to write, and how many there was no room for. */
struct record_case {
	struct connection_event event;
	__u64 dropped;
};

/* Writes the record, of now and of another port. */
SEC("xdp")
int test_record(struct xdp_md *ctx)
{
	struct record_case *packet = (void *)(long)ctx->data;
	struct connection_event *event;

	if ((void *)(packet + 1) > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event) {
		packet->dropped++;
		return XDP_DROP;
	}
	__builtin_memcpy(event, &packet->event, sizeof(*event));
	event->time_ns = bpf_ktime_get_ns();
	event->source_port = bpf_get_prandom_u32();
	bpf_ringbuf_submit(event, 0);
	return XDP_PASS;
}
