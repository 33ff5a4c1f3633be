// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Hook sk_lookup, one link an enrolled network namespace: authorize a connection's first SYN.
 *
 * Each link has a stub of its own in front, which writes the cookie of its pod into `guarded` and
 * comes here by a tail call through `guards`; where that fails the stub drops, unless weft is
 * disabled. Asked for whatever finds no established socket: SYNs, the ACK of a SYN cookie, and
 * stray segments of connections that are gone. When something is missing: denied, which TCP answers
 * with RST. Datagrams are not subject to policy; the pod talking to itself over lo is not either.
 */
#include "lib/authz_report.h"
#include "lib/license.h"

SEC("sk_lookup")
int weft_guard(struct bpf_sk_lookup *ctx)
{
	struct verdict verdict = {};
	const struct guarded_pod *pod;
	__u32 first = 0;

	if (ctx->protocol != IPPROTO_TCP) {
		count_reason(REASON_AUTHZ_NOT_TCP);
		return SK_PASS;
	}
	if (ctx->ingress_ifindex == LOOPBACK_IFINDEX) {
		count_reason(REASON_AUTHZ_LOOPBACK);
		return SK_PASS;
	}
	pod = bpf_map_lookup_elem(&guarded, &first);
	if (!pod)
		return SK_DROP;
	if (ctx->family == AF_INET6) {
		CTX_COPY_V6(verdict.source, ctx->remote_ip6);
		CTX_COPY_V6(verdict.destination, ctx->local_ip6);
	} else {
		set_v4(verdict.source, ctx->remote_ip4);
		set_v4(verdict.destination, ctx->local_ip4);
	}
	verdict.source_port = ctx->remote_port;
	verdict.port = bpf_htons(ctx->local_port);
	return authorize(pod->cookie, &verdict) ? SK_PASS : SK_DROP;
}
