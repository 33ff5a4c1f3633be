// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Owns a good program and, after it, one that the verifier refuses after a long walk.
 * Must not be repaired.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, __u64);
} values SEC(".maps");

SEC("xdp")
int good(struct xdp_md *ctx)
{
	return XDP_PASS;
}

SEC("xdp")
int unchecked_pointer(struct xdp_md *ctx)
{
	__u64 sum = 0;

#pragma clang loop unroll(full)
	for (int i = 0; i < 2000; i++)
		sum = sum * 31 + bpf_get_prandom_u32();
	__u32 last = 500;
	__u64 *value = bpf_map_lookup_elem(&values, &last);
	return sum + *value;
}

char _license[] SEC("license") = "Dual BSD/GPL";
