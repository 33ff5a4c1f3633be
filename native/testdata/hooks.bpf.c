// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Owns a pair of programs for each hook that the addon attaches to: one lets pass, one refuses.
 * Must not know the maps of weft.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

/* 0 -> network namespace cookie of the last connect seen by connect_record */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} cookie SEC(".maps");

/* 0 -> packets seen by xdp_count */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} packets SEC(".maps");

/* Programs that a stub calls by their index. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u32);
} mains SEC(".maps");

/* 0 -> when the last run of xdp_linger began and, once it is over, ended; nanoseconds */
struct lingering {
	__u64 began;
	__u64 ended;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct lingering);
} lingering SEC(".maps");

SEC("cgroup/connect4")
int connect_record(struct bpf_sock_addr *ctx)
{
	__u32 zero = 0;
	__u64 *seen = bpf_map_lookup_elem(&cookie, &zero);

	if (seen)
		*seen = bpf_get_netns_cookie(ctx);
	return 1;
}

SEC("cgroup/connect4")
int connect_refuse(struct bpf_sock_addr *ctx)
{
	return 0;
}

SEC("sk_lookup")
int lookup_pass(struct bpf_sk_lookup *ctx)
{
	return SK_PASS;
}

SEC("sk_lookup")
int lookup_drop(struct bpf_sk_lookup *ctx)
{
	return SK_DROP;
}

SEC("sk_lookup")
int lookup_drop_81(struct bpf_sk_lookup *ctx)
{
	return ctx->local_port == 81 ? SK_DROP : SK_PASS;
}

SEC("xdp")
int xdp_count(struct xdp_md *ctx)
{
	__u32 zero = 0;
	__u64 *seen = bpf_map_lookup_elem(&packets, &zero);

	if (seen)
		__sync_fetch_and_add(seen, 1);
	return XDP_PASS;
}

#define LINGER_NS 300000000

static long is_over(__u32 index, void *began)
{
	return bpf_ktime_get_ns() - *(__u64 *)began > LINGER_NS;
}

/* Runs for 300 ms. */
SEC("xdp")
int xdp_linger(struct xdp_md *ctx)
{
	__u32 zero = 0;
	__u64 began = bpf_ktime_get_ns();
	struct lingering *lingers = bpf_map_lookup_elem(&lingering, &zero);

	if (!lingers)
		return XDP_ABORTED;
	lingers->ended = 0;
	lingers->began = began;
	/* At most 2^23 calls each: 8 of them are more than enough. */
	for (int i = 0; i < 8; i++)
		bpf_loop(1 << 23, is_over, &began, 0);
	lingers->ended = bpf_ktime_get_ns();
	return XDP_PASS;
}

/* Writes 0xab over the first byte and takes off the last four. */
SEC("xdp")
int xdp_edit(struct xdp_md *ctx)
{
	__u8 *data = (void *)(long)ctx->data;
	__u8 *end = (void *)(long)ctx->data_end;

	if (data + 1 > end)
		return XDP_ABORTED;
	*data = 0xab;
	if (bpf_xdp_adjust_tail(ctx, -4))
		return XDP_ABORTED;
	return XDP_TX;
}

/* 0 -> TCP sockets that tcp_count has seen destroyed */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} destroyed SEC(".maps");

SEC("tp_btf/tcp_destroy_sock")
int tcp_count(unsigned long long *ctx)
{
	__u32 zero = 0;
	__u64 *seen = bpf_map_lookup_elem(&destroyed, &zero);

	if (seen)
		__sync_fetch_and_add(seen, 1);
	return 0;
}

char _license[] SEC("license") = "Dual BSD/GPL";
