/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Owns the structs that connections and verdicts are counted in: long-lived. A part of types.h. */

#ifndef WEFT_COUNTING_H
#define WEFT_COUNTING_H

#include <linux/types.h>
#include "consts.h"

/* Who a connection is counted for. */
struct traffic_key {
	__u32 source_party; /* as in map `parties`, 0: unknown */
	__u32 destination_party;
	__u32 service;	/* id, 0: none */
	__u8 direction; /* enum direction */
	__u8 outcome;	/* enum outcome */
	__u16 pad;
};

/* Added to atomically. Bytes are payload, seen from the reporter. */
struct traffic {
	__u64 used_ns; /* CLOCK_MONOTONIC when something was last counted here */
	__u64 opened;
	__u64 closed;
	__u64 failed;
	__u64 sent_bytes;
	__u64 received_bytes;
};

/* As traffic_key, by the destination's pod and not by a service. */
struct pod_traffic_key {
	__u32 source_party;
	__u32 destination_party;
	__u32 pod;	/* workload id, 0: unknown */
	__u8 direction; /* enum direction */
	__u8 outcome;	/* enum outcome */
	__u16 pad;
};

/* Added to atomically. Segments are those of the reporter's own socket. */
struct pod_traffic {
	struct traffic traffic;
	__u64 retransmits; /* segments that were sent again */
	__u64 lost;
};

struct policy_hit_key {
	__u32 policy; /* id, 0: no ALLOW matched, or enum policy_id */
	__u32 destination_party;
	__u32 kind; /* enum hit_kind */
	__u32 pad;
};

/* Value of the map `policy_hits`; `count` is added to atomically. */
struct hits {
	__u64 count;
	__u64 used_ns; /* as in struct traffic */
};

/* Value of the map `reasons`; added to atomically. */
struct counter {
	__u64 count;
};

/* What a number stands for that counters are kept by. */
struct label_key {
	__u32 kind; /* enum label_kind */
	__u32 id;
};

/* Never changed once it is written. */
struct label_text {
	__u32 bytes;
	__u8 text[LABEL_TEXT_BYTES]; /* UTF-8: the parts that the kind has, with a NUL between them
				      */
};

#endif
