// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* No hook: judges a connection that the daemon asks about, on the maps that govern, by the code
 * that guards. Run by BPF_PROG_TEST_RUN only, as XDP because such a packet may be changed in place;
 * the packet is the question. Nobody hears of the verdict, and nothing is counted. When the
 * question is not whole: XDP_ABORTED.
 */
#include "lib/authz_report.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

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
