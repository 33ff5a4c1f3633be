/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Owns what is written on a TCP socket itself: whose connection it is. No memory can lose it. Knows
 * no hook.
 *
 * Marks are flags of callbacks that come rarely, and whoever gets one leaves at once, unless it is
 * a timer that waits for the answer to a SYN.
 */
#ifndef WEFT_MARK_H
#define WEFT_MARK_H

#include <linux/bpf.h>

enum mark {
	/* An enrolled pod has opened it. */
	MARK_OUTBOUND = BPF_SOCK_OPS_RTO_CB_FLAG,
	/* An enrolled pod has accepted it. */
	MARK_INBOUND = BPF_SOCK_OPS_RETRANS_CB_FLAG,
	/* More of it stands in `connections`. Segments with options that TCP does not know call for
	 * this one, all those of MPTCP among them, which therefore bears it only while connecting.
	 */
	MARK_REMEMBERED = BPF_SOCK_OPS_PARSE_UNKNOWN_HDR_OPT_CB_FLAG,
	MARK_ANY = MARK_OUTBOUND | MARK_INBOUND | MARK_REMEMBERED,
	/* Beside a mark, and none itself: the state callback will tell of the end. So while
	 * connecting; once established only where nothing else tells of it. */
	MARK_FOLLOWED = BPF_SOCK_OPS_STATE_CB_FLAG,
};

#endif
