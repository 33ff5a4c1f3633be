// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Iterator udp, read inside a pod's namespace: closes connected datagram sockets whose backend has
 * left its service, so that the application sees an error and connects anew.
 *
 * Writes one byte for each such socket: 1 closed, 0 left alone because the kernel has no
 * bpf_sock_destroy (Linux 6.5). Sockets without a flow of ours are not touched.
 */
#include "lib/datagram.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct bpf_iter_meta {
	struct seq_file *seq;
} __attribute__((preserve_access_index));

struct bpf_iter__udp {
	struct bpf_iter_meta *meta;
	struct udp_sock *udp_sk;
} __attribute__((preserve_access_index));

extern int bpf_sock_destroy(struct sock_common *sock) __ksym __weak;

static __always_inline bool goes_on(struct flow *flow)
{
	const struct target *target;
	struct destination asked = {.port = flow->asked_port};

	copy_address(asked.address, flow->asked);
	target = find_frontend(&asked);
	return target && is_eligible(flow, target);
}

SEC("iter/udp")
int weft_sweep_udp(struct bpf_iter__udp *ctx)
{
	struct sock_common *socket = (struct sock_common *)ctx->udp_sk, *again;
	__u8 closed = 0;
	struct flows *own;
	__u64 cookie;

	if (!socket || socket->skc_state != TCP_ESTABLISHED)
		return 0;
	own = bpf_sk_storage_get(&flows, socket, 0, 0);
	if (!own || !(own->flow[0].flags & FLOW_PEER))
		return 0;
	if (goes_on(&own->flow[0])) {
		cookie = socket->skc_net.net->net_cookie;
		note_connected(cookie);
		return 0;
	}
	/* Read anew: the verifier wants to see this very pointer checked. */
	again = (struct sock_common *)ctx->udp_sk;
	if (bpf_sock_destroy && again) {
		bpf_sock_destroy(again);
		closed = 1;
	}
	bpf_seq_write(ctx->meta->seq, &closed, sizeof(closed));
	return 0;
}
