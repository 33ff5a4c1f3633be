/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Owns what the early hooks share: which SYNs are for a pod, and the refusal of those that its
 * verdict denies. Knows neither frames nor answers.
 *
 * They come before the guard of sk_lookup and never instead: a SYN that they admit, or leave alone,
 * is judged there if it ends in the pod. They alone see what the pod's namespace forwards, and they
 * see it before any translation there, with the pod's own address and port.
 */
#ifndef WEFT_EARLY_H
#define WEFT_EARLY_H

#include "authz_report.h"
#include "packet.h"

/* Whether an address is that of the pod's workload. */
static __always_inline bool is_owned(__u64 cookie, const __be32 *address)
{
	struct address_numbers owner;
	struct pod_numbers pod;

	return read_owner(address, &owner) && !(owner.flags & ADDRESS_REMOTE_NETWORK) &&
	       read_pod(cookie, &pod) && pod.workload && pod.workload == owner.workload;
}

/* Whether this network namespace forwards, and would not forward this: it is for the namespace.
 * Where nothing is forwarded, the guard sees all that gets anywhere. `ctx`: of the hook. */
static __always_inline bool is_delivered(void *ctx, __u32 ifindex, const struct syn *syn)
{
	struct bpf_fib_lookup route = {
	    .family = syn->v6 ? AF_INET6 : AF_INET,
	    .l4_protocol = IPPROTO_TCP,
	    .sport = syn->source_port,
	    .dport = syn->destination_port,
	    .ifindex = ifindex,
	};

	if (syn->v6) {
		copy_address(route.ipv6_src, syn->source);
		copy_address(route.ipv6_dst, syn->destination);
	} else {
		route.ipv4_src = syn->source[3];
		route.ipv4_dst = syn->destination[3];
	}
	return bpf_fib_lookup(ctx, &route, sizeof(route), 0) == BPF_FIB_LKUP_RET_NOT_FWDED;
}

/* Judges a SYN to a pod. 1: it is denied, and that has been told. A global function, so that its
 * stack is not the hook's. */
__attribute__((noinline)) int refuse_early(const struct syn *syn, __u64 cookie, __u32 hook)
{
	struct verdict verdict = {};

	/* Never so: the verifier asks. */
	if (!syn)
		return 1;
	copy_address(verdict.source, syn->source);
	copy_address(verdict.destination, syn->destination);
	verdict.source_port = syn->source_port;
	verdict.port = syn->destination_port;
	verdict.early = hook;
	judge(cookie, &verdict);
	if (verdict.allowed)
		return 0;
	count_reason(hook == EARLY_TC ? REASON_TC_DENIED : REASON_XDP_DENIED);
	report_early(&verdict);
	return 1;
}

#endif
