/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Owns the recognition of connections that the node itself opens: by the socket, never by an
 * address. Knows no verdict.
 *
 * A socket is the node's when it was made in the host's network namespace and outside the pods'
 * cgroup. What the node forwards or masquerades has no such socket. An entry lives as long as its
 * socket, so that nobody can come after it with the same address and port; an entry that could
 * not be made is a connection judged like any other.
 */
#ifndef WEFT_NODE_H
#define WEFT_NODE_H

#include "flow.h"
#include "word.h"
#include <bpf/bpf_core_read.h>

/* Whether a process of the node itself has opened this connection. */
static __always_inline bool opened_by_node(const struct node_open *open)
{
	return bpf_map_lookup_elem(&node_opens, open);
}

/* Id of who opened a connection: the workload of this network at the source's address, or the node.
 */
static __always_inline __u32 name_source(const struct node_open *open)
{
	struct address_numbers owner;

	if (read_owner(open->source, &owner) && !(owner.flags & ADDRESS_REMOTE_NETWORK))
		return owner.workload;
	return opened_by_node(open) ? WORKLOAD_NODE : WORKLOAD_UNKNOWN;
}

/* Cgroups above one that are looked at, from the root on. */
#define CGROUP_LEVELS 16

/* Whether the socket was made by a process below the pods' cgroup: a pod on the host's network. */
static __always_inline bool is_of_pod(const struct settings *current, struct sock *sk)
{
	struct cgroup *group, *above;
	const void *ancestors;
	int level;

	if (!current->pods_cgroup)
		return false;
	group = BPF_CORE_READ(sk, sk_cgrp_data.cgroup);
	/* Without a cgroup nothing says that it is not a pod's. */
	if (!group)
		return true;
	level = BPF_CORE_READ(group, level);
	ancestors = (const void *)group + bpf_core_field_offset(struct cgroup, ancestors);
	for (int i = 0; i < CGROUP_LEVELS && i <= level; i++) {
		if (bpf_probe_read_kernel(&above, sizeof(above), ancestors + i * sizeof(above)))
			return true;
		if (BPF_CORE_READ(above, kn, id) == current->pods_cgroup)
			return true;
	}
	return false;
}

static __always_inline void read_open(const struct bpf_sock_ops *ctx, struct node_open *open)
{
	if (ctx->family == AF_INET6) {
		CTX_COPY_V6(open->source, ctx->local_ip6);
		CTX_COPY_V6(open->destination, ctx->remote_ip6);
	} else {
		set_v4(open->source, ctx->local_ip4);
		set_v4(open->destination, ctx->remote_ip4);
	}
	open->source_port = bpf_htons(ctx->local_port);
	open->destination_port = (__be16)(ctx->remote_port >> 16);
}

/* Hook sockops, every callback: remembers a connection of the node before its SYN is built, and
 * forgets it when the socket is closed. */
static __always_inline void follow_node(struct bpf_sock_ops *ctx)
{
	bool opens = ctx->op == BPF_SOCK_OPS_TCP_CONNECT_CB;
	const struct settings *current;
	struct node_open open;
	__u32 one = 1;
	struct bpf_sock *sk;
	struct tcp_sock *tcp;

	if (!opens && !(ctx->op == BPF_SOCK_OPS_STATE_CB && ctx->args[1] == BPF_TCP_CLOSE))
		return;
	current = get_settings();
	if (!current || !current->host_netns || bpf_get_netns_cookie(ctx) != current->host_netns)
		return;
	read_open(ctx, &open);
	if (!opens) {
		bpf_map_delete_elem(&node_opens, &open);
		return;
	}
	sk = ctx->sk;
	tcp = sk ? bpf_skc_to_tcp_sock(sk) : NULL;
	if (!tcp || is_of_pod(current, (struct sock *)tcp))
		return;
	/* Without the callback at its end the entry would outlive the socket. */
	if (!bpf_sock_ops_cb_flags_set(ctx,
				       ctx->bpf_sock_ops_cb_flags | BPF_SOCK_OPS_STATE_CB_FLAG))
		bpf_map_update_elem(&node_opens, &open, &one, BPF_ANY);
}

#endif
