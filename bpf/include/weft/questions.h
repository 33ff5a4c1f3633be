/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Owns the structs in which programs answer the daemon: what is decided of a connection, and which
 * ones are open. A part of types.h. */

#ifndef WEFT_QUESTIONS_H
#define WEFT_QUESTIONS_H

#include <linux/types.h>
#include "consts.h"

/* What the program that explains is run over: a connection, and what becomes of it. Kept nowhere.
 */
struct authz_question {
	__u64 pod; /* netns cookie of the destination */
	__be32 source_address[4];
	__be32 destination_address[4];
	__be16 source_port;
	__be16 port;

	__u32 allowed;	   /* 1 or 0 */
	__u32 reason;	   /* enum reason */
	__u32 policy;	   /* id of the DENY that matched, 0: none did */
	__u32 source;	   /* workload id */
	__u32 destination; /* workload id, 0: not named */
	__u32 table;	   /* what guards the pod: enum table_number or a table's */
	__u32 identity;	   /* number of the source's, 0: none, or no term asks */
};

/* As authz_question, for a new connection of a pod: where it goes. */
struct route_question {
	__u64 pod; /* netns cookie of the client */
	__be32 address[4];
	__be16 port;
	__u8 protocol; /* IPPROTO_TCP or IPPROTO_UDP */
	__u8 crosses;  /* 1: from an address of IPv6 to a backend of IPv4 */

	__u32 action;	  /* enum route_action */
	__u32 reason;	  /* enum reason */
	__u32 namespace;  /* number of the client's */
	__u32 by_block;	  /* 1: found by a block, not by its own address */
	__u32 owner;	  /* workload id at the address, 0: none */
	__u32 service;	  /* id, 0: the destination is no frontend */
	__u32 workload;	  /* id of the backend or of the addressed workload, 0: unknown */
	__u32 first_slot; /* of the run the backend comes from */
	__u32 slots;
	__u32 run; /* hash of that run's content */
	__be16 backend_port;
	__u16 guided;	   /* 1: that run is a waypoint's */
	__be32 backend[4]; /* with ROUTE_REWRITE: one pick of many */
};

/* What the listing of a pod's open connections writes of each. */
struct inbound_connection {
	__be32 source_address[4];
	__be32 destination_address[4];
	__be16 port;
	__u16 by_node; /* 1: the node itself has opened it */
};

/* What never changes about an open connection. */
struct connection_identity {
	__u64 started_ns; /* since 1970, UTC */
	__be32 source_address[4];
	__be32 destination_address[4]; /* after translation */
	__be16 source_port;
	__be16 destination_port;
	__u32 source_party; /* as in struct traffic_key, when it was established */
	__u32 destination_party;
	__u32 service;
	__u32 pod;	/* workload id of the destination, 0: unknown */
	__u8 direction; /* enum direction */
	__u8 pad[3];
};

/* What the count of bytes writes of each connection that is open for long. */
struct open_connection {
	struct connection_identity identity;
	__u64 sent_bytes; /* payload so far, seen from the reporter */
	__u64 received_bytes;
	__u32 retransmits; /* segments that were sent again so far */
	__u32 lost;
};

#endif
