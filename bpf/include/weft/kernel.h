/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Owns the few kernel types we read beyond the stable uapi. Fields are relocated at load time
 * (CO-RE), so offsets here mean nothing and no kernel headers are needed to build.
 */
#ifndef WEFT_KERNEL_H
#define WEFT_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <linux/types.h>

#define AF_INET	 2
#define AF_INET6 10

#define IPPROTO_TCP 6
#define IPPROTO_UDP 17

#define ECONNREFUSED 111

#define SOL_SOCKET   1
#define SO_REUSEPORT 15

/* ifindex of lo in every network namespace (LOOPBACK_IFINDEX of include/net/flow.h) */
#define LOOPBACK_IFINDEX 1

/* State of a connected socket of either protocol (enum of include/net/tcp_states.h). */
#define TCP_ESTABLISHED 1

/* A map as programs may read it: `(struct bpf_map *)&name`. */
struct bpf_map {
	__u32 max_entries;
} __attribute__((preserve_access_index));

struct net {
	__u64 net_cookie;
} __attribute__((preserve_access_index));

struct sock_common {
	unsigned char skc_state;
	unsigned long skc_flags;
	struct {
		struct net *net;
	} skc_net;
} __attribute__((preserve_access_index));

/* Bit of skc_flags: the peer's FIN came (enum sock_flags of include/net/sock.h). */
enum sock_flags {
	SOCK_DEAD,
	SOCK_DONE,
};

struct kernfs_node {
	__u64 id;
} __attribute__((preserve_access_index));

struct cgroup {
	int level;
	struct kernfs_node *kn;
	struct cgroup *ancestors[0]; /* since 6.1 */
} __attribute__((preserve_access_index));

struct sock_cgroup_data {
	struct cgroup *cgroup;
} __attribute__((preserve_access_index));

struct sock {
	int sk_err;
	struct sock_common __sk_common;
	struct sock_cgroup_data sk_cgrp_data; /* the cgroup that the socket was made in */
} __attribute__((preserve_access_index));

struct minmax_sample {
	__u32 t;
	__u32 v;
} __attribute__((preserve_access_index));

struct minmax {
	struct minmax_sample s[3];
} __attribute__((preserve_access_index));

struct tcp_sock {
	__u64 bytes_sent;
	__u64 bytes_retrans;
	__u64 bytes_received;
	__u32 srtt_us; /* eighths of a microsecond */
	__u32 total_retrans;
	__u32 lost;
	struct minmax rtt_min;
} __attribute__((preserve_access_index));

#endif
