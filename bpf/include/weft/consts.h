/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Owns every number and enum shared between the kernel side and the daemon.
 * Knows no struct and no map. The generator turns each enum into a TypeScript one.
 */
#ifndef WEFT_CONSTS_H
#define WEFT_CONSTS_H

/* Terms of one verdict table, one bit each: at most TABLE_CHUNKS chunks of CHUNK_WORDS 64-bit
 * words. */
#define CHUNK_WORDS  4
#define CHUNK_TERMS  (CHUNK_WORDS * 64)
#define TABLE_CHUNKS 64
#define NO_CHUNK     0xffffffff

/* Bytes of the NUL-padded texts in struct pod_info. */
#define POD_NAME_BYTES	 320
#define LABEL_TEXT_BYTES 956
#define NETNS_PATH_BYTES 256

/* Flags of struct target. */
enum target_flag {
	/* The destination is known but left alone: load balancing mode PASSTHROUGH. */
	TARGET_PASSTHROUGH = 1,
};

/* Low bits of what is known of an address; the rest is an index. */
#define FRONTEND_SHIFT 2
enum address_flag {
	/* What is said there depends on the client's namespace: the index is one into `views`. */
	ADDRESS_SHARED = 1,
	/* Reachable only through a gateway of another network: connecting is refused. */
	ADDRESS_REMOTE_NETWORK = 2,
};

/* What becomes of a new connection at connect(2). */
enum route_action {
	ROUTE_PASS,    /* leave the destination alone */
	ROUTE_REWRITE, /* go to a backend */
	ROUTE_REFUSE,  /* fail with ECONNREFUSED */
};

/* What a pod is, beside its names. */
enum pod_flag {
	/* An endpoint of a waypoint: what it opens goes to no waypoint. */
	POD_WAYPOINT = 1,
};

/* How a waypoint is told where a connection was going. */
enum waypoint_protocol {
	/* None is spoken: what is behind a waypoint is refused. */
	WAYPOINT_NONE = 0,
	/* PROXY protocol, version 2. */
	WAYPOINT_PROXY_V2 = 1,
	/* Kmesh's TLV. */
	WAYPOINT_KMESH = 2,
};

/* Where the DNS proxy listens in each pod's network namespace: 127.53.0.53, of loopback and nobody
 * else's, and ::1, of which there is but one. */
#define DNS_PROXY      0x7f350035
#define DNS_PROXY_PORT 15053

/* First word of struct kick. */
#define KICK_MAGIC 0x6b636b77

/* Flags of struct verdict_table. */
enum table_flag {
	/* At least one enforced ALLOW policy applies: what matches none is denied. */
	TABLE_HAS_ALLOW = 1,
	/* The dimension has predicates: its rows must be looked up. */
	TABLE_BY_IDENTITY = 2,
	TABLE_BY_ADDRESS = 4,
	TABLE_BY_PORT = 8,
	TABLE_BY_DESTINATION = 16,
};

/* Table numbers with a meaning of their own; none of them is in the map `authz_tables`. */
enum table_number {
	/* Nobody has said yet what guards the pod: denies. */
	TABLE_UNKNOWN = 0,
	/* Policies that are not known yet, cannot be represented or could not be stored: denies. */
	TABLE_DENY = 1,
	/* No policy applies to the pod: allows. */
	TABLE_OPEN = 2,
	/* The first number that the compiler may give out. */
	TABLE_FIRST = 3,
};

/* Workload ids with a meaning of their own; the daemon gives them to nobody. */
enum workload_id {
	WORKLOAD_UNKNOWN = 0,
	/* A process of the node itself: a source of counters and records, never in `addresses`. */
	WORKLOAD_NODE = 0x7fffffff,
};

/* Value of the map `disabled`. Any other number, or none: weft governs. */
enum switched {
	DISABLED = 1,
};

/* Parties with a meaning of their own, beside those of enum workload_id, which are parties too. */
enum party {
	/* Whoever would have had a series of its own when there was no room for one. */
	PARTY_OVERFLOW = 0x7ffffffe,
};

/* Policy ids with a meaning of their own; 0: no ALLOW matched. */
enum policy_id {
	/* A policy decided, and what it is called was not found. */
	POLICY_UNKNOWN = 0x7ffffffd,
	/* Any, when there was no room for a series of its own. */
	POLICY_OVERFLOW = 0x7ffffffe,
};

/* What a struct label_key names. */
enum label_kind {
	/* A party: namespace, workload name, canonical name and revision, trust domain, service
	 * account, cluster. */
	LABEL_PARTY = 1,
	/* A service: namespace, host name, name. */
	LABEL_SERVICE = 2,
	/* A policy: namespace, name. */
	LABEL_POLICY = 3,
	/* A workload: uid; of those only whose number is not the hash of it, or is that of
	 * another's too. */
	LABEL_WORKLOAD = 4,
	/* A workload as a destination's pod: namespace, name, address. */
	LABEL_POD = 5,
};

/* Values of the map `connected_pods`: what a namespace has, or had, of datagram sockets. */
enum connected {
	/* Connected through a frontend. */
	CONNECTED_ROUTED = 1,
	/* Connected to a service without endpoints, too: to be closed soon. */
	CONNECTED_REFUSED = 2,
};

/* Flags of struct term_origin. */
enum term_flag {
	TERM_DENY = 1,
	TERM_DRY_RUN = 2,
};

enum direction {
	DIRECTION_OUTBOUND = 1,
	DIRECTION_INBOUND = 2,
};

/* What became of a connection; the label response_flags of the metrics. */
enum outcome {
	/* Established and closed: `-`. */
	OUTCOME_OK = 0,
	/* Denied by authorization at the destination: `DENY`. */
	OUTCOME_DENY = 1,
	/* Refused by the destination: `CONNECT`. */
	OUTCOME_CONNECT = 2,
	/* The service had nowhere to send it: `NO_ENDPOINT`. */
	OUTCOME_NO_ENDPOINT = 3,
	/* The destination did not answer or could not be reached: `TIMEOUT`. */
	OUTCOME_TIMEOUT = 4,
	/* The application closed the socket before the destination had answered: `GIVEN_UP`. */
	OUTCOME_GIVEN_UP = 5,
};

/* A hook before sk_lookup that denies. */
enum early_hook {
	EARLY_NONE = 0,
	EARLY_TC = 1,
	EARLY_XDP = 2,
};

/* What a struct policy_hit_key counts. */
enum hit_kind {
	/* Connections denied. */
	HIT_DENIED = 0,
	/* A dry-run DENY matched, which changed nothing. */
	HIT_WOULD_DENY = 1,
	/* SYNs denied by an early hook. */
	HIT_EARLY = 2,
	/* Connections allowed; counted where settings say so. */
	HIT_ALLOWED = 3,
	/* A dry-run ALLOW matched. */
	HIT_WOULD_ALLOW = 4,
};

/* Kind of a struct connection_event. */
enum event_kind {
	EVENT_CLOSED = 1,
	EVENT_DENIED = 2,
	EVENT_FAILED = 3,
	/* A dry-run policy would have matched; the connection went on. */
	EVENT_DRY_RUN = 4,
};

/* Why a hook returned early or refused: indexes the map `reasons`. Append only. */
enum reason {
	REASON_NOT_ENROLLED = 0,    /* the process is in no enrolled network namespace */
	REASON_NOT_TCP_UDP,	    /* another protocol: untouched */
	REASON_PASSTHROUGH,	    /* destination unknown to the mesh: untouched */
	REASON_MODE_PASSTHROUGH,    /* service in load balancing mode PASSTHROUGH: untouched */
	REASON_ROUTED,		    /* a frontend was rewritten to a backend */
	REASON_NO_PORT,		    /* the service has no such port: refused */
	REASON_NO_ENDPOINT,	    /* the service has no endpoint at all for the port: refused */
	REASON_NO_HEALTHY_ENDPOINT, /* every endpoint is unhealthy or of capacity 0: refused */
	REASON_NO_LOCAL_ENDPOINT,   /* STRICT locality left no endpoint: refused */
	REASON_NO_ADDRESS,	  /* no endpoint has an address of the frontend's family: refused */
	REASON_REMOTE_NETWORK,	  /* reachable through a network gateway only: refused */
	REASON_NO_WAYPOINT,	  /* behind a waypoint that leads nowhere: refused */
	REASON_SLOT_MISSING,	  /* a frontend leads to what is not there: refused */
	REASON_DATAGRAM_REVERSED, /* a datagram's source was given back as its frontend */
	REASON_STORAGE_FULL,	  /* no room to remember a connection: routed, not counted */
	REASON_TRAFFIC_FULL,	  /* no room for another series: counted as overflow */
	REASON_EVENT_DROPPED,	  /* ring buffer full: an access log record is lost */
	REASON_AUTHZ_LOOPBACK,	  /* pod talking to itself: allowed */
	REASON_AUTHZ_NODE,	  /* opened by a process of the node itself: allowed */
	REASON_AUTHZ_NO_POLICY,	  /* no policy applies: allowed */
	REASON_AUTHZ_ALLOWED,	  /* an ALLOW matched, or no ALLOW applies and no DENY matched */
	REASON_AUTHZ_DENIED,	  /* a DENY matched */
	REASON_AUTHZ_NO_ALLOW,	  /* ALLOW policies apply and none matched: denied */
	REASON_AUTHZ_UNKNOWN_POD, /* nobody has said yet what guards the pod: denied */
	REASON_AUTHZ_NO_TABLE,	  /* verdict table missing: denied */
	REASON_AUTHZ_DENY_ALL,	  /* policies not received yet or not representable: denied */
	REASON_AUTHZ_OFF,	  /* enforcement switched off by the operator: allowed */
	REASON_AUTHZ_NOT_TCP,	  /* no TCP connection: not subject to policy */
	REASON_CONNECT_REFUSED,	  /* the destination refused */
	REASON_AUTHZ_UNNAMED, /* the control plane has not named the pod, and a policy might select
				 it: denied */
	REASON_CONNECT_TIMED_OUT,  /* the destination did not answer or was unreachable */
	REASON_CONNECT_GIVEN_UP,   /* the application closed before there was an answer */
	REASON_CONNECTION_EVICTED, /* a connection's parties were forgotten: its end not counted */
	REASON_AUTHZ_STRAY,	   /* a segment of no connection that policy denies: no attempt */
	REASON_CHAINED_NOWHERE, /* the endpoint's address is a service's that leads nowhere: refused
				 */
	REASON_TC_DENIED,	/* hook tc denied a SYN */
	REASON_XDP_DENIED,	/* hook XDP denied a SYN */
	REASON_EARLY_PASSED,	/* a SYN that an early hook leaves to others: not for the pod */
	REASON_EARLY_UNREADABLE, /* a frame that an early hook cannot follow: dropped */
	REASON_TO_WAYPOINT,	 /* a destination was rewritten to a waypoint's endpoint */
	REASON_WAYPOINT_WAITS,	 /* connected to a waypoint: its header waits for the first byte */
	REASON_WAYPOINT_SOCKET,	 /* a socket that can carry no header, such as MPTCP's: refused */
	REASON_WAYPOINT_FAST,	 /* data before a waypoint is connected: EOPNOTSUPP */
	REASON_WAYPOINT_CUT,	 /* bytes would have gone to a waypoint without header: cut off */
	REASON_WAYPOINT_FULL,	 /* no room to keep a header for a connection: refused or cut off */
	REASON_WAYPOINT_ZEROCOPY, /* first bytes of a socket with SO_ZEROCOPY: EACCES */
	REASON_WAYPOINT_KICKED,	  /* a header went out before the first byte, which did not come */
	REASON_DISABLED,	  /* weft is disabled by the operator: untouched, allowed */
	REASON_COUNT,
};

#endif
