/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Owns the way from a pod's resolver to the daemon's DNS proxy, which listens in the pod's own
 * network namespace. Its sockets end with the daemon, however that ends: where there are none the
 * call goes where it was going. Knows no names.
 */
#ifndef WEFT_DNS_H
#define WEFT_DNS_H

#include "flow.h"
#include <bpf/bpf_endian.h>

#define DNS_PORT      bpf_htons(53)
#define LOOPBACK_IPV4 bpf_htonl(0x7f000001)

/* The cluster's resolver as pods ask for it, as the hooks see it; 0: nobody proxies. */
static __always_inline __u32 dns_resolver(void)
{
	const struct settings *current = get_settings();

	return current ? current->dns_resolver : 0;
}

/* Leads a call for the resolver to the proxy while somebody listens there. A global function:
 * verified once, on a stack of its own.
 */
__attribute__((noinline)) int ask_proxy(struct bpf_sock_addr *ctx)
{
	struct bpf_sock_tuple tuple = {};
	struct bpf_sock *proxy;
	__u32 resolver;

	if ((__be16)ctx->user_port != DNS_PORT)
		return 0;
	resolver = dns_resolver();
	if (!resolver || ctx->user_ip4 != resolver)
		return 0;
	tuple.ipv4.saddr = LOOPBACK_IPV4;
	tuple.ipv4.daddr = bpf_htonl(DNS_PROXY);
	tuple.ipv4.dport = bpf_htons(DNS_PROXY_PORT);
	/* Of UDP for TCP too: one process has both, and the guard would judge a question for TCP as
	 * if it came from outside. */
	proxy = bpf_sk_lookup_udp(ctx, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0);
	if (!proxy)
		return 0;
	bpf_sk_release(proxy);
	ctx->user_ip4 = bpf_htonl(DNS_PROXY);
	ctx->user_port = bpf_htons(DNS_PROXY_PORT);
	return 1;
}

/* Shows the resolver in the place of the proxy. Whether the address was the proxy's. */
static __always_inline bool show_resolver(struct bpf_sock_addr *ctx)
{
	__u32 resolver;

	if (ctx->user_ip4 != bpf_htonl(DNS_PROXY) ||
	    (__be16)ctx->user_port != bpf_htons(DNS_PROXY_PORT))
		return false;
	resolver = dns_resolver();
	if (resolver) {
		ctx->user_ip4 = resolver;
		ctx->user_port = DNS_PORT;
	}
	return true;
}

#endif
