// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* No hook: judges or routes a connection that the daemon asks about, on the maps that govern, by
 * the code that guards and that routes. Run by BPF_PROG_TEST_RUN only, as XDP because such a packet
 * may be changed in place; the packet is the question. Nobody hears of the answer, and nothing is
 * counted. When the question is not whole: XDP_ABORTED.
 */
#include "lib/authz_report.h"
#include "lib/hook.h"
#include "lib/license.h"

SEC("xdp")
int weft_explain_authz(struct xdp_md *ctx)
{
	struct authz_question *question = (void *)(long)ctx->data;
	struct verdict verdict = {};

	if ((void *)(question + 1) > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	copy_address(verdict.source, question->source_address);
	copy_address(verdict.destination, question->destination_address);
	verdict.source_port = question->source_port;
	verdict.port = question->port;
	judge(question->pod, &verdict);
	question->allowed = verdict.allowed;
	question->reason = verdict.reason;
	question->policy = verdict.allowed ? 0 : name_policy(&verdict);
	question->source = source_of(&verdict);
	question->destination = verdict.workload;
	question->table = verdict.table;
	question->identity = verdict.identity;
	return XDP_PASS;
}

SEC("xdp")
int weft_explain_route(struct xdp_md *ctx)
{
	struct route_question *question = (void *)(long)ctx->data;
	struct destination destination = {};
	struct pod_numbers pod;
	struct route route;
	struct find find = {};

	if ((void *)(question + 1) > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	if (!read_pod(question->pod, &pod)) {
		question->action = ROUTE_PASS;
		question->reason = REASON_NOT_ENROLLED;
		return XDP_PASS;
	}
	copy_address(destination.address, question->address);
	destination.port = question->port;
	find_destination(&destination, pod.namespace, &find);
	find_route(&destination, &pod, question->protocol, &route);
	question->action = route.action;
	question->reason = route.reason;
	question->namespace = pod.namespace;
	question->by_block = find.rank == RANK_BLOCK;
	question->owner = find.workload;
	question->service = route.service;
	question->workload = route.workload;
	question->first_slot = route.first_slot;
	question->run = route.run;
	question->slots = route.slots;
	question->guided = route.waypoint;
	if (route.action == ROUTE_REWRITE && route.backend) {
		copy_address(question->backend, route.backend->address);
		question->backend_port = route.backend->port;
		question->crosses = crosses(&destination, route.backend->address);
	}
	return XDP_PASS;
}
