// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Owns a good program and, after it, one that the verifier refuses after a long walk.
 * Must not be repaired.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, __u64);
} values SEC(".maps");

SEC("xdp")
int good(struct xdp_md *ctx) {
  return XDP_PASS;
}

SEC("xdp")
int unchecked_pointer(struct xdp_md *ctx) {
  __u64 sum = 0;

  for (__u32 key = 0; key < 500; key++) {
    __u64 *value = bpf_map_lookup_elem(&values, &key);

    if (value)
      sum += *value;
  }
  __u32 last = 500;
  __u64 *value = bpf_map_lookup_elem(&values, &last);
  return sum + *value;
}

char _license[] SEC("license") = "Dual BSD/GPL";
