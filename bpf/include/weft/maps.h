/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Owns every map. Each object carries all of them; the daemon makes one and shares it by name.
 *
 * max_entries is the least that is ever created: the daemon raises those of a generation to what
 * the mesh needs. Names are at most 15 characters (the kernel's BPF_OBJ_NAME_LEN).
 */
#ifndef WEFT_MAPS_H
#define WEFT_MAPS_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "counting_maps.h"
#include "flows.h"
#include "types.h"

/* netns cookie -> enrolled pod. Preallocated, so that the entry of a pod can always be replaced:
 * the daemon denies a pod by writing here. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64);
	__type(value, struct pod);
} pods SEC(".maps");

/* 0 -> the pod whose stub runs on this CPU */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct guarded_pod);
} guarded SEC(".maps");

/* 0 -> the program that judges for every pod. The kernel empties it when the last user space
 * reference goes: it must be pinned before the first stub calls through it. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} guards SEC(".maps");

/* 0 -> the program of hook tc, for every pod. As `guards`, and so is the next. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} early_tc SEC(".maps");

/* 0 -> the program of hook XDP */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} early_xdp SEC(".maps");

/* 0 -> the program for a TCP socket that is being destroyed. As `guards`, and each with an array of
 * its own: the kernel does not let programs of two tracepoints share one. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} on_destroy SEC(".maps");

/* 0 -> the program for a TCP socket that resets its connection */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} on_reset SEC(".maps");

/* 0 -> the program for a packet that the kernel drops */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} on_drop SEC(".maps");

/* 0 -> the denial on this CPU that nobody has heard of yet; reason 0: none */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct verdict);
} denied SEC(".maps");

/* workload id -> netns cookie of the enrolled pod that it is. For XDP on an interface of the node;
 * `pods` bears it out. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, __u64);
} workload_pods SEC(".maps");

/* connection that the node itself opened -> 1. An entry goes with its socket: none is evicted, as a
 * probe without one would be denied. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct node_open);
	__type(value, __u32);
} node_opens SEC(".maps");

/* netns cookie -> its names; read by the daemon only */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, struct pod_info);
} pod_info SEC(".maps");

/* 0 -> the switches */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct settings);
} settings SEC(".maps");

/* 0 -> DISABLED: weft leaves all traffic alone (`weftd disable`). A map of its own, because whoever
 * writes it does so beside a daemon, and because its layout is to stay. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} disabled SEC(".maps");

/* index -> what is said at a virtual address, or on a port of it. Nobody writes element 0. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct target);
} targets SEC(".maps");

/* index -> who sees which frontend. Nobody writes element 0. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, struct view);
} views SEC(".maps");

/* 0 -> whether `addresses` and `cidrs` are being rewritten */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct rewrites);
} rewrites SEC(".maps");

/* address -> what is said of the block it falls into; asked where `addresses` says nothing */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct cidr_key);
	__type(value, struct cidr);
} cidrs SEC(".maps");

/* index -> column of an alias table */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 8192);
	__type(key, __u32);
	__type(value, struct slot);
} slots SEC(".maps");

/* address -> workload, identity, frontend */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct address_key);
	__type(value, struct known_address);
} addresses SEC(".maps");

/* number -> verdict table */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct verdict_table);
} authz_tables SEC(".maps");

/* (table, identity) -> terms it satisfies */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct identity_row_key);
	__type(value, struct term_row);
} authz_identity SEC(".maps");

/* (table, source block) -> terms it satisfies */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct address_row_key);
	__type(value, struct term_row);
} authz_address SEC(".maps");

/* (table, destination block) -> terms it satisfies */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct address_row_key);
	__type(value, struct term_row);
} authz_dest SEC(".maps");

/* (table, destination port) -> terms it satisfies */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct port_row_key);
	__type(value, struct term_row);
} authz_port SEC(".maps");

/* index -> chunk of a row. Runs of them belong to one row and never change under it. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct term_chunk);
} authz_chunks SEC(".maps");

/* (table, term) -> policy */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct term_key);
	__type(value, struct term_origin);
} authz_terms SEC(".maps");

/* place -> the TCP connection there, outbound ones to a service only, and every one while the
 * access log is on. lib/connections.h finds the place. Meant to be half full at most. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, struct connection);
} connections SEC(".maps");

/* 0 -> places of `connections` that are taken */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct counter);
} connection_fill SEC(".maps");

/* endpoint -> its failures since it was last reached. The daemon removes what it does not expect to
 * be reached any more. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct endpoint_key);
	__type(value, struct failing_endpoint);
} failing SEC(".maps");

/* source that has failed at a service -> CLOCK_MONOTONIC in ns when it last reached some
 * endpoint of it, 0: not since */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct witness_key);
	__type(value, __u64);
} witnesses SEC(".maps");

/* 0 -> CLOCK_MONOTONIC_COARSE in ns when a connect last failed: while it is long ago no success is
 * of interest */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} last_failure SEC(".maps");

/* UDP socket -> its flows through frontends */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct flows);
} flows SEC(".maps");

/* TCP socket -> 1: the end of the connection that its marks speak of has been counted */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u32);
} ended SEC(".maps");

/* TCP socket -> what of the connection that its marks speak of was counted while it was open */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct counted_bytes);
} counted_bytes SEC(".maps");

/* TCP socket -> what of its segments was counted while its connection was open */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct counted_losses);
} counted_losses SEC(".maps");

/* TCP socket -> its connection, as it is told of */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct watched);
} watched SEC(".maps");

/* number -> where the endpoints of a waypoint are: index into `targets`. What is behind it names
 * the number, so that a change of the endpoints is one write here. Nobody writes element 0. Tag of
 * the words: the number. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, struct word);
} waypoints SEC(".maps");

/* TCP socket -> where it was going before it was led to a waypoint */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct original);
} originals SEC(".maps");

/* cookie -> TCP socket that is connected to a waypoint and has sent nothing yet. What it sends goes
 * through the program that hangs on this map; with its first segment it leaves. When it is full a
 * connection is cut off and counted. */
struct {
	__uint(type, BPF_MAP_TYPE_SOCKHASH);
	__uint(max_entries, 8192);
	__type(key, __u64);
	__type(value, __u64);
} pending SEC(".maps");

/* 0 -> the daemon's own socket from which it kicks those that wait silently */
struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} kicks SEC(".maps");

/* (shared port, backend) -> frontend; only for sockets with SO_REUSEPORT */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct sibling_key);
	__type(value, struct sibling_flow);
} sibling_flows SEC(".maps");

/* netns cookie -> enum connected: a datagram socket there is, or was, connected to a frontend */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, __u32);
} connected_pods SEC(".maps");

/* access log records, nothing else */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 2 * 1024 * 1024);
} events SEC(".maps");

/* struct endpoint_event */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 64 * 1024);
} endpoint_events SEC(".maps");

#endif
