// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Hooks of the maps `pending` and `kicks`: put the header before the first bytes to a waypoint, and
 * carry the daemon's kick into a connection that waits silently.
 *
 * What a connection sends while it is in `pending` passes weft_push_header, with the socket locked;
 * "nothing sent yet" is read from TCP itself, so that a kick and the application cannot both send
 * the header. When something is missing nothing is sent: EACCES.
 */
#include "lib/license.h"
#include "lib/waypoint.h"
#include <bpf/bpf_core_read.h>

/* PROXY protocol, version 2, command PROXY, of a TCP connection. */
#define PROXY_SIGNATURE                                                                            \
	{                                                                                          \
		0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a             \
	}
#define PROXY_COMMAND 0x21
#define PROXY_TCP4    0x11
#define PROXY_TCP6    0x21

struct proxy_start {
	__u8 signature[12];
	__u8 command;
	__u8 family;
	__be16 length; /* of what follows */
};

struct proxy_v4 {
	struct proxy_start start;
	__be32 source;
	__be32 destination;
	__be16 source_port;
	__be16 destination_port;
};

struct proxy_v6 {
	struct proxy_start start;
	__be32 source[4];
	__be32 destination[4];
	__be16 source_port;
	__be16 destination_port;
};

/* Kmesh's: type 1 with the address and port, then the end. */
#define KMESH_ADDRESS 0x01
#define KMESH_END     0xfe

struct kmesh_v4 {
	__u8 type;
	__be32 length;
	__be32 address;
	__be16 port;
	__u8 end;
	__be32 rest;
} __attribute__((packed));

struct kmesh_v6 {
	__u8 type;
	__be32 length;
	__be32 address[4];
	__be16 port;
	__u8 end;
	__be32 rest;
} __attribute__((packed));

/* Puts bytes before the message. `length` is a constant: the verifier asks. */
static __always_inline bool put_before(struct sk_msg_md *msg, const void *header,
				       const __u32 length)
{
	void *data;

	if (bpf_msg_push_data(msg, 0, length, 0) || bpf_msg_pull_data(msg, 0, length, 0))
		return false;
	data = msg->data;
	if (data + length > msg->data_end)
		return false;
	__builtin_memcpy(data, header, length);
	return true;
}

static __always_inline struct proxy_start proxy_start(__u8 family, __u16 length)
{
	return (struct proxy_start){
	    .signature = PROXY_SIGNATURE,
	    .command = PROXY_COMMAND,
	    .family = family,
	    .length = bpf_htons(length - sizeof(struct proxy_start)),
	};
}

/* IPv4 in the form of IPv6 is told as IPv4: that is what the application's destination is. The two
 * addresses are of one family; the own one may be IPv4 in the form of IPv6 where a destination of
 * IPv6 leads to a waypoint of IPv4. Gives the header's length, 0: it could not be put there. */
static __always_inline __u32 put_proxy(struct sk_msg_md *msg, const struct original *original)
{
	if (is_v4(original->address)) {
		struct proxy_v4 header = {
		    .start = proxy_start(PROXY_TCP4, sizeof(header)),
		    .destination = original->address[3],
		    .source_port = bpf_htons(msg->local_port),
		    .destination_port = original->port,
		};

		/* The verifier wants each word of the context at its own constant offset. */
		if (msg->family == AF_INET6) {
			header.source = msg->local_ip6[3];
			barrier();
		} else {
			header.source = msg->local_ip4;
		}
		return put_before(msg, &header, sizeof(header)) ? sizeof(header) : 0;
	}
	struct proxy_v6 header = {
	    .start = proxy_start(PROXY_TCP6, sizeof(header)),
	    .source_port = bpf_htons(msg->local_port),
	    .destination_port = original->port,
	};

	CTX_COPY_V6(header.source, msg->local_ip6);
	copy_address(header.destination, original->address);
	return put_before(msg, &header, sizeof(header)) ? sizeof(header) : 0;
}

static __always_inline __u32 put_kmesh(struct sk_msg_md *msg, const struct original *original)
{
	if (is_v4(original->address)) {
		struct kmesh_v4 header = {
		    .type = KMESH_ADDRESS,
		    .length = bpf_htonl(6),
		    .address = original->address[3],
		    .port = original->port,
		    .end = KMESH_END,
		};

		return put_before(msg, &header, sizeof(header)) ? sizeof(header) : 0;
	}
	struct kmesh_v6 header = {
	    .type = KMESH_ADDRESS,
	    .length = bpf_htonl(18),
	    .port = original->port,
	    .end = KMESH_END,
	};

	copy_address(header.address, original->address);
	return put_before(msg, &header, sizeof(header)) ? sizeof(header) : 0;
}

/* Whether the message is the daemon's and not the application's. */
static __always_inline bool is_kick(struct sk_msg_md *msg, const struct original *original)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	const struct kick *kick;

	/* What a socket map passes on is sent by a thread of the kernel. */
	if (msg->size != sizeof(*kick) || !(BPF_CORE_READ(task, flags) & PF_KTHREAD))
		return false;
	if (bpf_msg_pull_data(msg, 0, sizeof(*kick), 0))
		return false;
	kick = msg->data;
	if ((void *)(kick + 1) > msg->data_end)
		return false;
	return kick->magic == KICK_MAGIC && kick->socket == original->socket;
}

SEC("sk_msg")
int weft_push_header(struct sk_msg_md *msg)
{
	struct bpf_sock *sk = msg->sk;
	struct original *original = sk ? original_of(sk) : NULL;
	const struct tcp_sock *tcp = sk ? bpf_skc_to_tcp_sock(sk) : NULL;
	const struct settings *current = get_settings();
	__u32 length;
	bool kicked;

	if (!original || !tcp || !current)
		return SK_DROP;
	kicked = is_kick(msg, original);
	if (tcp->write_seq != original->first_seq) {
		/* Too late: nothing of it may be left. */
		if (kicked && bpf_msg_pop_data(msg, 0, sizeof(struct kick), 0))
			return SK_DROP;
		return SK_PASS;
	}
	/* Each piece of a message that grew would get a number of completion of its own, and the
	 * application use a buffer again too early. */
	if (!kicked && common_of(tcp)->skc_flags &
			   (1UL << bpf_core_enum_value(enum sock_flags, SOCK_ZEROCOPY))) {
		count_reason(REASON_WAYPOINT_ZEROCOPY);
		return SK_DROP;
	}
	length = current->waypoint_protocol == WAYPOINT_KMESH ? put_kmesh(msg, original)
							      : put_proxy(msg, original);
	if (!length || (kicked && bpf_msg_pop_data(msg, length, sizeof(struct kick), 0))) {
		count_reason(REASON_WAYPOINT_CUT);
		return SK_DROP;
	}
	original->state = HEADER_MADE;
	if (kicked)
		count_reason(REASON_WAYPOINT_KICKED);
	return SK_PASS;
}

/* Whatever else comes there, and a kick for a socket that is not in the map any more, is dropped.
 */
SEC("sk_skb/stream_verdict")
int weft_kick(struct __sk_buff *skb)
{
	const struct kick *kick;
	__u64 socket;

	if (skb->len != sizeof(*kick) || bpf_skb_pull_data(skb, sizeof(*kick)))
		return SK_DROP;
	kick = (void *)(long)skb->data;
	if ((void *)(kick + 1) > (void *)(long)skb->data_end)
		return SK_DROP;
	socket = kick->socket;
	return bpf_sk_redirect_hash(skb, &pending, &socket, 0);
}
