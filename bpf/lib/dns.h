/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Owns the way from a pod's resolver to the daemon's DNS proxy, which listens in the pod's own
 * network namespace. Its sockets end with the daemon, however that ends: where there are none the
 * call goes where it was going. Knows no names.
 */
#ifndef WEFT_DNS_H
#define WEFT_DNS_H

#include "hook.h"
#include <bpf/bpf_endian.h>

#define DNS_PORT      bpf_htons(53)
#define LOOPBACK_IPV4 bpf_htonl(0x7f000001)
#define LOOPBACK_IPV6 bpf_htonl(1) /* the last word */

/* Whether the proxy listens, and not somebody who takes what comes to any address. The socket is
 * that of UDP for TCP too: one process has both, and the guard would judge a question for TCP as if
 * it came from outside. */
static __always_inline bool is_proxied4(struct bpf_sock_addr *ctx)
{
	struct bpf_sock_tuple tuple = {};
	struct bpf_sock *proxy;
	bool is_own;

	tuple.ipv4.saddr = LOOPBACK_IPV4;
	tuple.ipv4.daddr = bpf_htonl(DNS_PROXY);
	tuple.ipv4.dport = bpf_htons(DNS_PROXY_PORT);
	proxy = bpf_sk_lookup_udp(ctx, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0);
	if (!proxy)
		return false;
	is_own = proxy->src_ip4 == bpf_htonl(DNS_PROXY);
	bpf_sk_release(proxy);
	return is_own;
}

static __always_inline bool is_proxied6(struct bpf_sock_addr *ctx)
{
	struct bpf_sock_tuple tuple = {};
	struct bpf_sock *proxy;
	bool is_own;

	tuple.ipv6.saddr[3] = LOOPBACK_IPV6;
	tuple.ipv6.daddr[3] = LOOPBACK_IPV6;
	tuple.ipv6.dport = bpf_htons(DNS_PROXY_PORT);
	proxy = bpf_sk_lookup_udp(ctx, &tuple, sizeof(tuple.ipv6), BPF_F_CURRENT_NETNS, 0);
	if (!proxy)
		return false;
	is_own = proxy->src_ip6[3] == LOOPBACK_IPV6;
	bpf_sk_release(proxy);
	return is_own;
}

static __always_inline bool is_set(const __be32 *address)
{
	return address[0] | address[1] | address[2] | address[3];
}

static __always_inline int lead_to_proxy(struct bpf_sock_addr *ctx, bool v6)
{
	const struct settings *current = get_settings();
	struct destination asked;

	if ((__be16)ctx->user_port != DNS_PORT || !current)
		return 0;
	read_address(ctx, v6, &asked);
	if (is_v4(asked.address)) {
		if (!current->dns_resolver || asked.address[3] != current->dns_resolver ||
		    !is_proxied4(ctx))
			return 0;
		set_v4(asked.address, bpf_htonl(DNS_PROXY));
	} else {
		if (!is_set(current->dns_resolver6) ||
		    !same_address(asked.address, current->dns_resolver6) || !is_proxied6(ctx))
			return 0;
		asked.address[0] = asked.address[1] = asked.address[2] = 0;
		asked.address[3] = LOOPBACK_IPV6;
	}
	write_address(ctx, v6, asked.address, bpf_htons(DNS_PROXY_PORT));
	return 1;
}

/* Leads a call for the resolver to the proxy of its family while that listens. Global functions:
 * verified once, on a stack of their own.
 */
__attribute__((noinline)) int ask_proxy4(struct bpf_sock_addr *ctx)
{
	return lead_to_proxy(ctx, false);
}

/* Of a socket of IPv6, which may ask either resolver. */
__attribute__((noinline)) int ask_proxy6(struct bpf_sock_addr *ctx)
{
	return lead_to_proxy(ctx, true);
}

/* Shows the resolver in the place of the proxy. Whether the address was the proxy's. */
static __always_inline bool show_resolver(struct bpf_sock_addr *ctx, bool v6)
{
	const struct settings *current = get_settings();
	struct destination shown;

	if ((__be16)ctx->user_port != bpf_htons(DNS_PROXY_PORT) || !current)
		return false;
	read_address(ctx, v6, &shown);
	if (is_v4(shown.address)) {
		if (shown.address[3] != bpf_htonl(DNS_PROXY) || !current->dns_resolver)
			return false;
		set_v4(shown.address, current->dns_resolver);
	} else {
		if (shown.address[0] | shown.address[1] | shown.address[2] ||
		    shown.address[3] != LOOPBACK_IPV6 || !is_set(current->dns_resolver6))
			return false;
		copy_address(shown.address, current->dns_resolver6);
	}
	write_address(ctx, v6, shown.address, DNS_PORT);
	return true;
}

#endif
