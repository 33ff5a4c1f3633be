/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Owns the maps that are counted in, and what their keys stand for. A part of maps.h. */

#ifndef WEFT_COUNTING_MAPS_H
#define WEFT_COUNTING_MAPS_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "types.h"

/* workload id -> its party: the number of the label set under which it is counted. Workloads that
 * have all labels in common are one. Tag of the words: the workload id. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct word);
} parties SEC(".maps");

/* number of a party, service or policy -> its labels; read and written by the daemon only. An
 * entry comes before anybody is shown what is counted under the number, and stays as long as that.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct label_key);
	__type(value, struct label_text);
} labels SEC(".maps");

/* (source, destination, service, direction, outcome) -> counters */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct traffic_key);
	__type(value, struct traffic);
} traffic SEC(".maps");

/* (source, destination, destination's pod, direction, outcome) -> counters, where settings say so
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct pod_traffic_key);
	__type(value, struct pod_traffic);
} pod_traffic SEC(".maps");

/* 0 -> what a new series of either begins with: nobody writes it. Hooks that count have no stack to
 * spare. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct pod_traffic);
} no_traffic SEC(".maps");

/* (policy, destination, kind) -> denials, dry-run matches, admissions */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct policy_hit_key);
	__type(value, struct hits);
} policy_hits SEC(".maps");

/* enum reason -> how often */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, REASON_COUNT);
	__type(key, __u32);
	__type(value, struct counter);
} reasons SEC(".maps");

#endif
