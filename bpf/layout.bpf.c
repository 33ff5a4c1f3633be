// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Owns what the generator of daemon/bpf/maps.gen.ts reads: BTF of every shared map, struct, enum,
 * number. Never loaded into a kernel: knows no program.
 */
#include <weft/maps.h>

/* Clang leaves unused types out of BTF. A variable layout_* has its type generated. */
#define LAYOUT_ENUM(name)   enum name layout_##name
#define LAYOUT_STRUCT(name) struct name layout_##name

LAYOUT_ENUM(target_flag);
LAYOUT_ENUM(address_flag);
LAYOUT_ENUM(route_action);
LAYOUT_ENUM(pod_flag);
LAYOUT_ENUM(waypoint_protocol);
LAYOUT_ENUM(table_flag);
LAYOUT_ENUM(table_number);
LAYOUT_ENUM(workload_id);
LAYOUT_ENUM(party);
LAYOUT_ENUM(policy_id);
LAYOUT_ENUM(label_kind);
LAYOUT_ENUM(connected);
LAYOUT_ENUM(switched);
LAYOUT_ENUM(term_flag);
LAYOUT_ENUM(direction);
LAYOUT_ENUM(outcome);
LAYOUT_ENUM(early_hook);
LAYOUT_ENUM(hit_kind);
LAYOUT_ENUM(event_kind);
LAYOUT_ENUM(reason);

/* Structs that are neither key nor value of a map. */
LAYOUT_STRUCT(authz_question);
LAYOUT_STRUCT(connection_event);
LAYOUT_STRUCT(endpoint_event);
LAYOUT_STRUCT(inbound_connection);
LAYOUT_STRUCT(open_connection);
LAYOUT_STRUCT(route_question);
LAYOUT_STRUCT(kick);
LAYOUT_STRUCT(swept_socket);

/* Macros are not in BTF at all: each member is generated as a constant of the name after LAYOUT_.
 */
enum layout_constant {
	LAYOUT_FRONTEND_SHIFT = FRONTEND_SHIFT,
	LAYOUT_KICK_MAGIC = KICK_MAGIC,
	LAYOUT_DNS_PROXY = DNS_PROXY,
	LAYOUT_DNS_PROXY_PORT = DNS_PROXY_PORT,
	LAYOUT_CHUNK_WORDS = CHUNK_WORDS,
	LAYOUT_CHUNK_TERMS = CHUNK_TERMS,
	LAYOUT_TABLE_CHUNKS = TABLE_CHUNKS,
	LAYOUT_POD_NAME_BYTES = POD_NAME_BYTES,
	LAYOUT_LABEL_TEXT_BYTES = LABEL_TEXT_BYTES,
	LAYOUT_NETNS_PATH_BYTES = NETNS_PATH_BYTES,
	LAYOUT_CONNECTION_PROBES = CONNECTION_PROBES,
	LAYOUT_CONNECTION_GROUP = CONNECTION_GROUP,
} layout_constant;

/* Names of map types, read but not generated. */
enum bpf_map_type map_types;

char LICENSE[] SEC("license") = "Dual BSD/GPL";
