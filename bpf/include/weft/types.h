/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Owns every struct that crosses between the kernel and the daemon.
 *
 * Addresses are 16 bytes in network order, IPv4 as ::ffff:a.b.c.d, everywhere. Ports are __be16.
 * All other numbers are in host order. Padding is explicit, named pad*, and zero; the generator
 * refuses a struct with a hole.
 */
#ifndef WEFT_TYPES_H
#define WEFT_TYPES_H

#include <linux/types.h>
#include "consts.h"
#include "counting.h"
#include "questions.h"

/* A number that a hook decides by, and whose it is: eight bytes that are read and written whole.
 * The kernel reuses a hash element at once, so that a reader may be left with another key's
 * (lib/word.h).
 */
struct word {
	__u32 number;
	__u32 tag; /* of the key that the element belongs to, and of the number */
} __attribute__((aligned(8)));

/* ---- pods ---- */

/* An enrolled network namespace. Key: its cookie (SO_NETNS_COOKIE), __u64. Tag of the words: the
 * low half of the cookie. */
struct pod {
	struct word guard;     /* verdict table, enum table_number and up */
	struct word workload;  /* id, 0 while the control plane has not named it */
	struct word service;   /* id of the first service it serves, for inbound metrics; 0: none */
	struct word namespace; /* number of its namespace, as in struct view */
	struct word flags;     /* enum pod_flag */
};

/* What an operator called an enrolled namespace. Key: its cookie. Texts are UTF-8, NUL-padded. */
struct pod_info {
	__u8 name[POD_NAME_BYTES];    /* namespace/name */
	__u8 netns[NETNS_PATH_BYTES]; /* path at enrolment */
};

/* One entry, index 0: switches that outlive the daemon. */
struct settings {
	__u32 access_log;    /* not 0: connection events go to the ring buffer */
	__u32 authz_off;     /* 1: verdicts are not enforced */
	__u32 authz_locked;  /* 1: addresses may be missing: who has none is not known */
	__u32 authz_node;    /* 1: connections that the node itself opens pass */
	__u32 ends_traced;   /* 1: tracing programs see the ends of connections */
	__u32 drops_traced;  /* 1: a tracing program tells attempts that are denied from segments */
	__u32 xdp_reset;     /* 1: hook XDP answers what it denies with RST, and does not drop it */
	__u32 count_allowed; /* 1: admissions are counted by policy */
	__u32 outliers;	     /* 1: it is told which endpoints fail */
	__u32 waypoint_protocol;  /* enum waypoint_protocol */
	__u32 workload_metrics;	  /* 1: connections are counted by the destination's pod, too */
	__u32 connection_metrics; /* 1: open connections are told of one by one */
	__u64 host_netns;	  /* cookie of the node's own network namespace, 0: not known */
	__u64 pods_cgroup;	  /* id of the cgroup that all pods are below, 0: none known */
	__u64 clock_offset;	  /* CLOCK_REALTIME less CLOCK_MONOTONIC in ns, as last told */
	/* Of pods, in network order, where the daemon proxies them; 0: nowhere. */
	__be32 dns_resolver;
	__be32 dns_resolver6[4];
	__u32 pad;
};

/* The pod that the verdict hook, or XDP, is asked for: from its stub to the program, on one CPU. */
struct guarded_pod {
	__u64 cookie; /* of its network namespace; 0: of XDP on an interface of the node */
	__u32 index; /* into `guards`, always 0: read from memory, so that a swap patches no text */
	__u32 pad;
};

/* An inbound connection as the destination sees it, after translation, and what became of it. The
 * caller of judge() sets addresses and ports and zeroes the rest. */
struct verdict {
	__be32 source[4];
	__be32 destination[4];
	__be16 source_port;
	__be16 port;
	__u16 state;   /* of a connection that is judged again, the kernel's number; 0: it begins */
	__u16 early;   /* enum early_hook that asks, 0: none of them */
	__u32 allowed; /* 1 or 0 */
	__u32 reason;  /* enum reason */
	__u32 workload;	      /* id of the pod's workload, 0: not named */
	__u32 table;	      /* the number that guards the pod */
	__u32 identity;	      /* number of the source's, 0: none, or no term asks */
	__u32 chunk;	      /* of the term that decided, NO_CHUNK: none did */
	__u64 dry_run_chunks; /* those that may hold a dry-run term that matched, one bit a chunk */
};

/* A TCP connection that a process of the node itself has opened. */
struct node_open {
	__be32 source[4];
	__be32 destination[4];
	__be16 source_port;
	__be16 destination_port;
};

/* ---- routing: one generation ---- */

/* What a service says at a virtual address. One run of elements is a frontend: the first stands for
 * the address itself and decides the ports that are not listed, the others follow in the order of
 * their ports. Never changed while an address or a view names it, nor while a hook may still hold
 * its index. One that is all zero refuses.
 */
struct target {
	__u32 service;	  /* id */
	__u32 first_slot; /* index into `slots` */
	__u32 slots;	  /* length of the run, 0: refuse */
	__u32 run;	  /* hash of the run's content, the same wherever the run lies; 0: no run */
	__u16 flags;	  /* enum target_flag */
	__u16 reason;	  /* enum reason to count when slots is 0 */
	__be16 port;	  /* 0: the address itself */
	__u16 ports;	  /* of the first: how many follow */
	__u32 waypoint;	  /* number in `waypoints` that TCP has to go through, 0: none */
};

/* Which frontend clients of a namespace see at a virtual address that not all see alike. One run of
 * elements: the first is for all namespaces that have none, the others follow in their order. As
 * targets, never changed.
 */
struct view {
	__u32 namespace; /* number; of the first: how many follow, never 0 */
	__u32 target;	 /* index into `targets`, 0: nothing is there for them */
};

struct cidr_key {
	__u32 prefix_bits; /* significant bits of address, 0-128 */
	__be32 address[4];
};

/* What is said of a block, as the word of an address says it: index and ADDRESS_SHARED. Read whole:
 * unlike a hash map, the trie never changes a node's value, and frees a node after an RCU grace
 * period. */
struct cidr {
	__u32 frontend;
};

/* How a search of addresses and blocks is proved. */
struct rewrites {
	__u32 count;  /* how often the daemon began or ended to rewrite them: odd while it does */
	__u32 blocks; /* how many blocks there are; of no meaning while count is odd */
};

struct backend {
	__be32 address[4];
	__be16 port;
	__u16 pad;
	__u32 workload; /* id */
};

/* A column of an alias table (Vose): `primary` below the threshold, `alias` from it on. */
struct slot {
	struct backend primary;
	struct backend alias;
	__u32 threshold; /* of 2^32; a full column has its primary as alias too */
};

/* ---- addresses: one generation ---- */

/* What is known of an address: whose it is, and which frontend, if any, is there. Key: the 16-byte
 * address. Tag of the words: a hash of it. */
struct known_address {
	struct word workload; /* id, 0: it is no workload's */
	struct word identity; /* number of (trust domain, namespace, service account), 0: none, or
				 of another network */
	struct word frontend; /* index << FRONTEND_SHIFT into `targets`, 0: none, or into `views`;
				 enum address_flag */
	struct word waypoint; /* number in `waypoints` that TCP to the workload has to go through,
				 0: none */
};

struct address_key {
	__be32 address[4];
};

/* ---- authorization: one generation ---- */

/* Some terms of a table: bit t of word w is the chunk's term w * 64 + t. */
struct term_chunk {
	__u64 words[CHUNK_WORDS];
};

/* A set of terms of a table: the chunks that hold any, one after the other in `authz_chunks`. None
 * of them is empty there, so that one which was never written is known. */
struct term_row {
	__u64 chunks; /* bit c: chunk c holds terms of the set; the others are empty */
	__u32 first;  /* index into `authz_chunks` of the lowest one */
	__u32 pad;
};

/* Never changed once a pod names it. Terms of one kind fill chunks of their own. */
struct verdict_table {
	__u64 deny_chunks;	     /* bit c: chunk c holds terms of enforced DENY policies */
	__u64 dry_run_chunks;	     /* of dry-run policies */
	__u64 allow_chunks;	     /* of enforced ALLOW policies */
	struct term_row identity;    /* terms satisfied by identities without a row of their own */
	struct term_row address;     /* terms satisfied by source addresses outside every block */
	struct term_row port;	     /* terms satisfied by ports without a row of their own */
	struct term_row destination; /* terms satisfied by destinations outside every block */
	__u32 flags; /* enum table_flag, with terms one dimension at least, whose rows tell them
			from empty places */
	__u32 pad;
};

struct identity_row_key {
	__u32 table;
	__u32 identity;
};

struct port_row_key {
	__u32 table;
	__be16 port;
	__u16 pad;
};

struct address_row_key {
	__u32 prefix_bits; /* 32 for the table number plus the significant bits of address */
	__u32 table;
	__be32 address[4];
};

struct term_key {
	__u32 table;
	__u32 term;
};

/* Which policy a term comes from: read on a denial or a dry-run match only. */
struct term_origin {
	__u32 policy; /* id */
	__u32 flags;  /* enum term_flag */
};

/* ---- connections and counters: long-lived ---- */

/* Places that a socket's connection may lie in, and how many sockets made together lie together. */
#define CONNECTION_PROBES 16
#define CONNECTION_GROUP  64

/* What cannot be found again when a pod's TCP connection ends, in a place of the table. */
struct connection {
	__u64 socket;		    /* its cookie (SO_COOKIE), 0: the place is free */
	__be32 original_address[4]; /* what the application asked for */
	__be16 original_port;
	__u8 direction; /* enum direction */
	__u8 routed;	/* 1: the original destination was a frontend */
	__u32 source;	/* workload id, 0: unknown */
	__u32 destination;
	__u32 service;	 /* id, 0: none */
	__u64 opened_ns; /* CLOCK_MONOTONIC when established while the access log was on, else 0 */
	__u32 passed;	 /* of the place: connections that found it taken and lie elsewhere */
	__u32 pad;
};

/* ---- endpoints that fail: long-lived ---- */

/* An endpoint of services, as connections are sent to it. */
struct endpoint_key {
	__be32 address[4];
	__be16 port;
	__u16 pad;
	__u32 workload; /* id */
};

/* TCP connects to it that failed since one succeeded: by the source that was the first, by others.
 */
struct failing_endpoint {
	__u64 first;   /* netns cookie of that source */
	__u64 told_ns; /* CLOCK_MONOTONIC when the daemon was last told of one */
	__u32 by_first;
	__u32 by_others;
};

/* A source that has failed at some endpoint of a service. */
struct witness_key {
	__u64 netns;   /* cookie */
	__u32 service; /* id */
	__u32 pad;
};

/* A record of the ring buffer `endpoint_events`: a connect failed, one succeeded at an endpoint
 * where others had failed, or one of a source that had failed elsewhere. */
struct endpoint_event {
	__u64 time_ns; /* CLOCK_MONOTONIC */
	__u64 source;  /* netns cookie */
	struct endpoint_key endpoint;
	__be32 source_address[4];
	__u32 service; /* id of the service that led there */
	__u32 error;   /* the socket's, ETIMEDOUT for a SYN without an answer; 0: it succeeded */
	__be16 source_port;
	__u16 pad[3];
};

/* ---- datagrams: long-lived ---- */

/* Who may receive an answer for a socket that shares its port, and from which backend. */
struct sibling_key {
	__u64 netns; /* cookie */
	__be32 backend[4];
	__be16 backend_port;
	__u16 local_port; /* host order */
	__u32 pad;
};

/* What to show as the source of such an answer. */
struct sibling_flow {
	__be32 asked[4];
	__be16 asked_port;
	__u16 pad;
};

/* ---- waypoints: long-lived ---- */

/* What the daemon sends into a connection that waits silently for its header. */
struct kick {
	__u32 magic; /* KICK_MAGIC */
	__u32 pad;
	__u64 socket; /* cookie */
};

/* ---- sweeps ---- */

/* What a sweep writes of each socket that has to go. */
struct swept_socket {
	__u8 closed; /* 0: the daemon must do it */
	__u8 state;  /* before, by the kernel's number */
	__u16 pad;
	__u8 request[56]; /* struct inet_diag_req_v2: to whom SOCK_DESTROY is to go */
};

/* A record of the ring buffer `events`: one access log line. */
struct connection_event {
	__u64 time_ns;	   /* CLOCK_MONOTONIC */
	__u64 duration_ns; /* established to closed, 0: never established */
	__u64 sent_bytes;
	__u64 received_bytes;
	__be32 source_address[4];
	__be32 destination_address[4]; /* after translation */
	__be32 original_address[4];    /* before translation; equal when not routed */
	__be16 source_port;
	__be16 destination_port;
	__be16 original_port;
	__u8 kind;	/* enum event_kind */
	__u8 direction; /* enum direction */
	__u32 source;	/* workload ids, service id */
	__u32 destination;
	__u32 service;
	__u32 policy;  /* id of the policy that denied, 0: none matched or no denial */
	__u32 reason;  /* enum reason of a denial or failure */
	__u16 state;   /* TCP state before the end */
	__u16 early;   /* enum early_hook that denied, 0: none of them */
	__u32 srtt_us; /* smoothed round trip, microseconds */
	__u32 min_rtt_us;
	__u32 retransmits; /* segments */
	__u32 lost;	   /* segments */
};

#endif
