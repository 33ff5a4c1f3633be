// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Owns iterators that print: TCP sockets of a namespace, entries of a map.
 * Must not know the kernel's headers: the few fields read are relocated.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define RELOCATED __attribute__((preserve_access_index))

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
} RELOCATED;

struct sock_common {
	unsigned short skc_family;
	__u16 skc_num;
	volatile unsigned char skc_state;
} RELOCATED;

struct bpf_iter__tcp {
	struct bpf_iter_meta *meta;
	struct sock_common *sk_common;
} RELOCATED;

struct bpf_iter__bpf_map_elem {
	struct bpf_iter_meta *meta;
	void *key;
	void *value;
} RELOCATED;

/* Target of `entries`. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 20000);
	__type(key, __u32);
	__type(value, __u32);
} numbers SEC(".maps");

/* One line a socket: state and local port. */
SEC("iter/tcp")
int sockets(struct bpf_iter__tcp *ctx)
{
	struct sock_common *socket = ctx->sk_common;

	if (socket)
		BPF_SEQ_PRINTF(ctx->meta->seq, "%d %d\n", socket->skc_state, socket->skc_num);
	return 0;
}

/* Each entry's key and value, 8 bytes. */
SEC("iter/bpf_map_elem")
int entries(struct bpf_iter__bpf_map_elem *ctx)
{
	__u32 *key = ctx->key;
	__u32 *value = ctx->value;

	if (key && value) {
		bpf_seq_write(ctx->meta->seq, key, sizeof(*key));
		bpf_seq_write(ctx->meta->seq, value, sizeof(*value));
	}
	return 0;
}

char _license[] SEC("license") = "Dual BSD/GPL";
