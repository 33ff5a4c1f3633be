// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Owns nothing: judges for a struct tear_case while another CPU rewrites what the verdicts hang on.
 * The pause between finding an element and reading it gives the writer time to reuse it.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define WORD_PAUSE() bpf_ktime_get_ns()

#include "lib/authz.h"
#include "cases.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* One global function, so that the verifier walks a judgement once and not three times. */
__attribute__((noinline)) int admits(__u64 cookie, __be32 address, __be32 low)
{
	struct verdict verdict = {};

	set_v4(verdict.source, address);
	set_v4(verdict.destination, low);
	judge(cookie, &verdict);
	return verdict.allowed;
}

/* Three verdicts whose outcomes never change, whatever the writer does meanwhile. */
SEC("xdp")
int test_tear(struct xdp_md *ctx)
{
	struct tear_case *packet = CASE_OF(ctx, tear_case);

	if (!packet)
		return XDP_ABORTED;
	packet->wrong_denials +=
	    !admits(packet->admitting, packet->friend_address[3], packet->stranger_address[3]);
	packet->wrong_admissions +=
	    admits(packet->admitting, packet->stranger_address[3], packet->friend_address[3]) +
	    admits(packet->refusing, packet->friend_address[3], packet->stranger_address[3]);
	packet->verdicts += 3;
	return XDP_PASS;
}
