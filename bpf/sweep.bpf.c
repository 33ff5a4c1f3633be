// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Iterators tcp and udp, read inside a pod's namespace: close what must not go on after a change.
 *
 * Both write a struct swept_socket for each socket that has to go, and close it where the kernel
 * has bpf_sock_destroy (Linux 6.5); elsewhere the daemon does, by what is written. A socket is
 * written before anything is done to it: where there is no room, the kernel shows it once more.
 */
#include "lib/authz_report.h"
#include "lib/datagram.h"
#include "lib/inbound.h"
#include "lib/license.h"
#include <linux/inet_diag.h>

struct bpf_iter__udp {
	struct bpf_iter_meta *meta;
	struct udp_sock *udp_sk;
} __attribute__((preserve_access_index));

extern int bpf_sock_destroy(struct sock_common *sock) __ksym __weak;

_Static_assert(sizeof(((struct swept_socket *)0)->request) == sizeof(struct inet_diag_req_v2),
	       "a request has its place");

/* Names a socket to SOCK_DESTROY. One of IPv6 that talks IPv4 is found as one of IPv4. */
static __always_inline void name_socket(struct sock_common *socket, __u8 protocol,
					struct inet_diag_req_v2 *request)
{
	__u64 cookie = bpf_get_socket_cookie(socket);
	struct inet_diag_sockid *id = &request->id;

	request->sdiag_protocol = protocol;
	request->sdiag_family = AF_INET6;
	read_remote(socket, id->idiag_dst);
	read_local(socket, id->idiag_src);
	if (is_v4(id->idiag_dst)) {
		request->sdiag_family = AF_INET;
		id->idiag_dst[0] = id->idiag_dst[3];
		id->idiag_src[0] = id->idiag_src[3];
	}
	id->idiag_dport = socket->skc_dport;
	id->idiag_sport = bpf_htons(socket->skc_num);
	id->idiag_if = socket->skc_bound_dev_if;
	id->idiag_cookie[0] = (__u32)cookie;
	id->idiag_cookie[1] = cookie >> 32;
}

/* False: there is no room. */
static __always_inline bool write_socket(struct seq_file *seq, struct sock_common *socket,
					 __u8 protocol, bool closed)
{
	struct swept_socket swept = {.closed = closed, .state = socket->skc_state};

	name_socket(socket, protocol, (struct inet_diag_req_v2 *)swept.request);
	return !bpf_seq_write(seq, &swept, sizeof(swept));
}

/* ---- connections whose verdict is a denial by now ---- */

/* Judges as the guard did when it began. A handshake that goes is no denial yet: what comes of it
 * is refused, and counted then. So is who comes back from the port of a connection that has ended:
 * the memory of that would answer first, and not refuse. */
SEC("iter/tcp")
int weft_sweep_tcp(struct bpf_iter__tcp *ctx)
{
	struct sock_common *socket = ctx->sk_common, *again;
	struct verdict verdict = {};
	bool closes;

	if (!socket)
		return 0;
	read_inbound(socket, &verdict);
	if (!was_judged(socket, &verdict))
		return 0;
	judge(socket->skc_net.net->net_cookie, &verdict);
	if (verdict.allowed)
		return 0;
	closes = bpf_sock_destroy && !is_mini(verdict.state);
	if (!write_socket(ctx->meta->seq, socket, IPPROTO_TCP, closes))
		return 0;
	if (is_mini(verdict.state))
		return 0;
	count_reason(verdict.reason);
	verdict.dry_run_chunks = 0;
	report_verdict(&verdict);
	/* Read anew: the verifier wants to see this very pointer checked. */
	again = ctx->sk_common;
	if (bpf_sock_destroy && again)
		bpf_sock_destroy(again);
	return 0;
}

/* ---- connected datagram sockets whose backend has left its service ---- */

static __always_inline bool goes_on(struct flow *flow, __u64 netns)
{
	const struct target *target;
	struct destination asked = {.port = flow->asked_port};
	struct pod_numbers pod;
	struct find find;

	if (is_disabled())
		return true;
	copy_address(asked.address, flow->asked);
	read_pod(netns, &pod);
	target = find_frontend(&asked, pod.namespace, &find);
	return target && is_eligible(flow, target);
}

/* The application sees an error and connects anew. Sockets without a flow of ours are not touched.
 */
SEC("iter/udp")
int weft_sweep_udp(struct bpf_iter__udp *ctx)
{
	struct sock_common *socket = (struct sock_common *)ctx->udp_sk, *again;
	struct flows *own;

	if (!socket)
		return 0;
	own = bpf_sk_storage_get(&flows, socket, 0, 0);
	if (!own || !(own->flow[0].flags & FLOW_PEER))
		return 0;
	/* Its connect has passed the hook and is not done: what the hook has noted counts. */
	if (socket->skc_state != TCP_ESTABLISHED) {
		note_connected(socket->skc_net.net->net_cookie);
		return 0;
	}
	if (goes_on(&own->flow[0], socket->skc_net.net->net_cookie)) {
		note_connected(socket->skc_net.net->net_cookie);
		return 0;
	}
	if (!write_socket(ctx->meta->seq, socket, IPPROTO_UDP, bpf_sock_destroy))
		return 0;
	again = (struct sock_common *)ctx->udp_sk;
	if (bpf_sock_destroy && again)
		bpf_sock_destroy(again);
	return 0;
}

/* ---- connections that owe a waypoint their header, and have had no answer ---- */

/* Read when weft goes: nothing would put the header before what the application says later. */
SEC("iter/tcp")
int weft_sweep_owing(struct bpf_iter__tcp *ctx)
{
	struct sock_common *socket = ctx->sk_common, *again;
	struct original *original;

	if (!socket || socket->skc_state != BPF_TCP_SYN_SENT)
		return 0;
	original = bpf_sk_storage_get(&originals, socket, 0, 0);
	if (!original || original->state != HEADER_OWED)
		return 0;
	if (!write_socket(ctx->meta->seq, socket, IPPROTO_TCP, bpf_sock_destroy))
		return 0;
	again = ctx->sk_common;
	if (bpf_sock_destroy && again)
		bpf_sock_destroy(again);
	return 0;
}
