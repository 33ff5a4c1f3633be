// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Long-lived maps as a weft of another version might have made them: fields in another order,
 * narrower, not there yet, or there no more. No program.
 */
#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>
#include <weft/consts.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct pod_info {
	__u32 colour; /* there no more */
	__u8 netns[NETNS_PATH_BYTES];
	__u8 name[POD_NAME_BYTES];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, struct pod_info);
} pod_info SEC(".maps");

struct settings {
	__u64 host_netns;
	__u32 authz_off;
	__u32 access_log;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct settings);
} settings SEC(".maps");

struct node_open {
	__be16 source_port;
	__be16 destination_port;
	__be32 destination[4];
	__be32 source[4];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct node_open);
	__type(value, __u32);
} node_opens SEC(".maps");

struct connection {
	__u32 service;
	__u32 destination;
	__u32 source;
	__u8 routed;
	__u8 direction;
	__be16 original_port;
	__be32 original_address[4];
	__u64 socket;
	__u64 opened_ns;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, struct connection);
} connections SEC(".maps");

struct traffic_key {
	__u8 outcome;
	__u8 direction;
	__u16 pad;
	__u32 service;
	__u32 destination_party;
	__u32 source_party;
};

struct traffic {
	__u32 failed; /* wider since */
	__u32 pad;
	__u64 closed;
	__u64 opened;
	__u64 used_ns;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct traffic_key);
	__type(value, struct traffic);
} traffic SEC(".maps");

struct label_key {
	__u32 id;
	__u32 kind;
};

struct label_text {
	__u8 text[LABEL_TEXT_BYTES];
	__u32 bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct label_key);
	__type(value, struct label_text);
} labels SEC(".maps");

/* There was no kind: nothing says which hit a count is of. */
struct policy_hit_key {
	__u32 policy;
	__u32 destination_party;
};

struct counter {
	__u64 count;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct policy_hit_key);
	__type(value, struct counter);
} policy_hits SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 40);
	__type(key, __u32);
	__type(value, struct counter);
} reasons SEC(".maps");
