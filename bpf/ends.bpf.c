// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Tracepoints tcp_destroy_sock and tcp_send_reset: count the ends of TCP connections.
 *
 * They see every TCP socket of the machine; one that bears no mark of ours leaves after two loads.
 * Links of tracing programs cannot be given another program, so each has a stub behind it for ever,
 * which calls through an array: a swap is one update of that, and each end is seen by one
 * generation. While the array holds nothing, ends are not counted.
 */
#include "lib/ends.h"
#include "lib/license.h"

/* The socket goes. Its counters are still there, unless it was disconnected. */
SEC("tp_btf/tcp_destroy_sock")
int weft_destroy(unsigned long long *ctx)
{
	struct sock *sk = (struct sock *)ctx[0];
	const struct tcp_sock *tcp = bpf_skc_to_tcp_sock(sk);

	if (!tcp)
		return 0;
	if (is_unfollowed(tcp) && !is_ended(sk)) {
		end_connection(sk, tcp, 0);
		return 0;
	}
	/* A connect that failed before its SYN has left its place, and nothing else. */
	forget_connection(cookie_of(tcp));
	return 0;
}

/* The socket resets its connection. A disconnect, and a close with SO_LINGER 0, will zero its
 * counters next. */
SEC("tp_btf/tcp_send_reset")
int weft_reset(unsigned long long *ctx)
{
	struct sock *sk = (struct sock *)ctx[0];
	const struct tcp_sock *tcp;
	__u64 answered;

	/* Not of its type: the verifier of some kernels takes an skb for never NULL. */
	if (bpf_probe_read_kernel(&answered, sizeof(answered), &ctx[1]) || answered || !sk)
		return 0;
	tcp = bpf_skc_to_tcp_sock(sk);
	if (tcp)
		end_early(sk, tcp);
	return 0;
}

SEC("tp_btf/tcp_destroy_sock")
int weft_on_destroy(unsigned long long *ctx)
{
	bpf_tail_call(ctx, &on_destroy, 0);
	return 0;
}

SEC("tp_btf/tcp_send_reset")
int weft_on_reset(unsigned long long *ctx)
{
	bpf_tail_call(ctx, &on_reset, 0);
	return 0;
}
