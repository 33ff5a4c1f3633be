// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Hook sk_lookup, one link an enrolled network namespace: authorize a connection's first SYN.
 *
 * Runs only for packets that find no established socket, so data and replies never come here.
 * When something is missing: denied, which TCP answers with RST. Datagrams are not subject to
 * policy; the pod talking to itself over lo is not either.
 */
#include "lib/authz.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

SEC("sk_lookup")
int weft_guard(struct bpf_sk_lookup *ctx)
{
	struct inbound inbound = {};

	if (ctx->protocol != IPPROTO_TCP) {
		count_reason(REASON_AUTHZ_NOT_TCP);
		return SK_PASS;
	}
	if (ctx->ingress_ifindex == LOOPBACK_IFINDEX) {
		count_reason(REASON_AUTHZ_LOOPBACK);
		return SK_PASS;
	}
	if (ctx->family == AF_INET6) {
		CTX_COPY_V6(inbound.source, ctx->remote_ip6);
		CTX_COPY_V6(inbound.destination, ctx->local_ip6);
	} else {
		set_v4(inbound.source, ctx->remote_ip4);
		set_v4(inbound.destination, ctx->local_ip4);
	}
	inbound.source_port = ctx->remote_port;
	inbound.port = bpf_htons(ctx->local_port);
	return authorize(&inbound) ? SK_PASS : SK_DROP;
}
