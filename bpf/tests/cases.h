/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Owns what a decision test puts into a packet and reads back. A packet is one struct, nothing
 * else. Knows no decision.
 */
#ifndef WEFT_TEST_CASES_H
#define WEFT_TEST_CASES_H

#include <linux/types.h>

/* Workloads 1 to CASE_PICKS - 1 are tallied apart, all others at 0. */
#define CASE_PICKS 8

/* bpf/lib/route.h: destination in, route out. */
struct route_case {
	__be32 address[4];
	__be16 port;
	__u16 protocol;	 /* IPPROTO_TCP or IPPROTO_UDP */
	__u32 namespace; /* the client's */
	__u32 pod_flags; /* enum pod_flag, of the client */

	__u32 action; /* enum route_action */
	__u32 reason;
	__u32 service;
	__u32 workload;
	__u32 first_slot;
	__u32 run;
	__be32 backend_address[4]; /* zero unless rewritten */
	__be16 backend_port;
	__u16 waypoint;		 /* 1: the run is a waypoint's */
	__u32 picks[CASE_PICKS]; /* workload -> how often, over all runs */
};

/* bpf/lib/authz.h: pod and inbound connection in, verdict out. */
struct verdict_case {
	__u64 pod; /* netns cookie */
	__be32 source_address[4];
	__be32 destination_address[4];
	__be16 source_port;
	__be16 port;

	__u32 allowed;
	__u32 reason;
	__u32 policy;
	__u32 source;
	__u32 destination;
	__u32 identity;
	__u32 tag; /* of the source address' words */
};

/* bpf/lib/authz.h under a writer: a pod that admits the friend and not the stranger, one that
 * admits nobody, and how many verdicts were others. */
struct tear_case {
	__u64 admitting; /* netns cookies */
	__u64 refusing;
	__be32 friend_address[4];
	__be32 stranger_address[4];
	__u64 verdicts;
	__u64 wrong_denials;
	__u64 wrong_admissions;
};

#define TEAR_DESTINATIONS 6
/* Numbers of services are below this; their endpoints are 10.NUMBER.x.y:TEAR_PORT + NUMBER. */
#define TEAR_SERVICES 8
#define TEAR_PORT     8000

/* bpf/lib/route.h under a writer: destinations, of which services an endpoint may be given for each
 * of them, and how many routes were others. */
struct route_tear_case {
	__u32 destinations[TEAR_DESTINATIONS]; /* IPv4, host order */
	__u32
	    allowed[TEAR_DESTINATIONS]; /* bit n: service n; bit 0: the destination is left alone */
	__u32 services[TEAR_SERVICES];	/* id by number */
	__u32 wrong[TEAR_DESTINATIONS];
	__u32 action; /* of the last wrong one */
	__u32 reason;
	__u32 service;
	__u32 pad;
	__u64 decisions;
};

/* The struct that the packet is; the program must leave when it is shorter. */
#define CASE_OF(ctx, type)                                                                         \
	({                                                                                         \
		struct type *packet = (void *)(long)(ctx)->data;                                   \
		(void *)(packet + 1) > (void *)(long)(ctx)->data_end ? NULL : packet;              \
	})

#endif
