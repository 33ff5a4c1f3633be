/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Owns what programs keep at a socket. It dies with the socket; the daemon never reads it.
 * Knows no map.
 */
#ifndef WEFT_FLOWS_H
#define WEFT_FLOWS_H

#include <linux/types.h>

/* Datagram flows that a socket remembers, the first for what it is connected to; of the others the
 * one asked longest ago makes room. */
#define SOCKET_FLOWS 8

/* Flags of struct flow. */
enum flow_flag {
	/* Of the first flow of a socket: it is connected to it. */
	FLOW_PEER = 1,
	/* Nothing has been received since something was sent. */
	FLOW_WAITS = 2,
	/* The socket shares its port (SO_REUSEPORT): answers may arrive at another one. */
	FLOW_SHARED = 4,
	/* Of a peer that had no endpoint at connect(2): the socket is to be closed. */
	FLOW_REFUSED = 8,
};

/* One destination that a UDP socket asked for, and the backend that answers for it. */
struct flow {
	__be32 asked[4];
	__be32 backend[4];
	__be16 asked_port;
	__be16 backend_port;
	__u32 run;	/* target.run that the backend was last seen in, 0: no flow */
	__u32 order;	/* value of flows.sent when last sent to */
	__u32 asked_at; /* when last sent to: 2^20 ns of CLOCK_MONOTONIC_COARSE, wraps */
	__u32 flags;	/* enum flow_flag */
};

/* Storage of a UDP socket: goes with it. The hooks run with the socket locked. */
struct flows {
	struct flow flow[SOCKET_FLOWS]; /* the first is for what it is connected to */
	__u32 sent;			/* datagrams through a frontend so far, wraps */
};

/* What has become of the header of a connection to a waypoint. */
enum header_state {
	/* The connection goes to no waypoint. */
	HEADER_NONE = 0,
	/* The connect hook has chosen a waypoint; no SYN has left yet. */
	HEADER_CHOSEN = 1,
	/* It has to stand before the first byte. */
	HEADER_OWED = 2,
	/* It has been put before the first bytes, which TCP is about to take. */
	HEADER_MADE = 3,
	/* TCP has been about to take them. */
	HEADER_OFFERED = 4,
};

/* Where a connection to a waypoint was going. Storage of a TCP socket; the hooks run with the
 * socket locked. */
struct original {
	__be32 address[4];
	__be16 port;
	__u16 state;	 /* enum header_state */
	__u32 first_seq; /* sequence number of the first byte */
	__u64 socket;	 /* cookie */
};

/* Payload of an open connection that `traffic` has already. */
struct counted_bytes {
	__u64 sent;
	__u64 received;
};

/* Segments of an open connection that `pod_traffic` has already. */
struct counted_losses {
	__u32 retransmits;
	__u32 lost;
};

/* An established connection while open ones are told of one by one: who it is counted for. */
struct watched {
	__u64 opened_ns; /* CLOCK_MONOTONIC when it was established, or first looked at; 0: empty */
	__u64 started_ns; /* the same since 1970, UTC */
	__u32 source_party;
	__u32 destination_party;
	__u32 service;
	__u32 pod;
};

#endif
