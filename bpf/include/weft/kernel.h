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

#define IPPROTO_TCP   6
#define IPPROTO_UDP   17
#define IPPROTO_MPTCP 262

#define EOPNOTSUPP   95
#define ENETUNREACH  101
#define ETIMEDOUT    110
#define ECONNREFUSED 111
#define EHOSTUNREACH 113

#define SOL_SOCKET	 1
#define SO_REUSEPORT	 15
#define SO_BINDTODEVICE	 25
#define TCP_USER_TIMEOUT 18

/* Of task_struct.flags (include/linux/sched.h). */
#define PF_KTHREAD 0x00200000

/* ifindex of lo in every network namespace (LOOPBACK_IFINDEX of include/net/flow.h) */
#define LOOPBACK_IFINDEX 1

/* States of sockets (enum of include/net/tcp_states.h); UDP knows the first and TCP_CLOSE. */
#define TCP_ESTABLISHED	 1
#define TCP_SYN_SENT	 2
#define TCP_TIME_WAIT	 6
#define TCP_CLOSE	 7
#define TCP_LISTEN	 10
#define TCP_NEW_SYN_RECV 12

/* A map as programs may read it: `(struct bpf_map *)&name`. */
struct bpf_map {
	__u32 max_entries;
} __attribute__((preserve_access_index));

struct net {
	__u64 net_cookie;
} __attribute__((preserve_access_index));

struct in6_addr {
	union {
		__be32 u6_addr32[4];
	} in6_u;
} __attribute__((preserve_access_index));

struct sock_common {
	__be32 skc_daddr;
	__be32 skc_rcv_saddr;
	__be16 skc_dport; /* 0: not connected, or disconnected */
	__u16 skc_num;	  /* local port, host order */
	unsigned short skc_family;
	unsigned char skc_state;
	unsigned char skc_ipv6only : 1;
	int skc_bound_dev_if;
	unsigned long skc_flags;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
	struct {
		__s64 counter;
	} skc_cookie; /* 0: nobody has asked for it yet */
	struct {
		struct net *net;
	} skc_net;
} __attribute__((preserve_access_index));

/* Bit of skc_flags: the peer's FIN came (enum sock_flags of include/net/sock.h). */
enum sock_flags {
	SOCK_DEAD,
	SOCK_DONE,
	SOCK_ZEROCOPY,
};

struct task_struct {
	unsigned int flags;
} __attribute__((preserve_access_index));

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
	int sk_rx_dst_ifindex;		      /* where its packets come in */
	int sk_write_pending;		      /* writers that wait for the connection */
} __attribute__((preserve_access_index));

struct inet_sock {
	__be16 inet_sport;
} __attribute__((preserve_access_index));

struct minmax_sample {
	__u32 t;
	__u32 v;
} __attribute__((preserve_access_index));

struct minmax {
	struct minmax_sample s[3];
} __attribute__((preserve_access_index));

struct tcp_fastopen_request {
	void *data; /* what is to go with the SYN */
} __attribute__((preserve_access_index));

struct tcp_sock {
	__u32 write_seq; /* of the next byte that the application writes */
	struct tcp_fastopen_request *fastopen_req;
	__u64 bytes_sent;
	__u64 bytes_retrans;
	__u64 bytes_received;
	__u32 srtt_us; /* eighths of a microsecond */
	__u32 total_retrans;
	__u32 lost;
	struct minmax rtt_min;
	__u8 bpf_sock_ops_cb_flags;
	_Bool is_mptcp; /* where the kernel was built with it */
} __attribute__((preserve_access_index));

struct sk_buff {
	__be16 protocol;
	__u16 network_header; /* offsets from head */
	__u16 transport_header;
	unsigned char *head;
} __attribute__((preserve_access_index));

/* Why the kernel drops a packet (since 5.17). */
enum skb_drop_reason {
	SKB_DROP_REASON_TCP_CSUM,
};

struct mptcp_sock {
	struct sock *first; /* its first subflow */
} __attribute__((preserve_access_index));

#endif
