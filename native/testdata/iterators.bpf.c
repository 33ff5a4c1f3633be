// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Owns iterators that print: TCP sockets of a network namespace, tasks.
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

struct task_struct {
	__u32 pid;
} RELOCATED;

struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
} RELOCATED;

#define WORDS_PER_TASK 1024

/* One line a socket: state and local port. */
SEC("iter/tcp")
int sockets(struct bpf_iter__tcp *ctx)
{
	struct sock_common *socket = ctx->sk_common;

	if (socket)
		BPF_SEQ_PRINTF(ctx->meta->seq, "%d %d\n", socket->skc_state, socket->skc_num);
	return 0;
}

/* 4096 bytes for each thread: its number, then 1 to 1023. */
SEC("iter/task")
int tasks(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	__u32 word;

	if (!task)
		return 0;
	word = task->pid;
	for (int i = 1; i <= WORDS_PER_TASK; i++) {
		bpf_seq_write(ctx->meta->seq, &word, sizeof(word));
		word = i;
	}
	return 0;
}

char _license[] SEC("license") = "Dual BSD/GPL";
