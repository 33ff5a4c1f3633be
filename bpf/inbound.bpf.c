// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Iterator tcp, read inside a pod's namespace: a struct inbound_connection for each connection that
 * is open there and that the guard was asked for. Changes nothing. Loaded when somebody asks, with
 * the long-lived maps and no others.
 */
#include "lib/inbound.h"
#include "lib/license.h"

SEC("iter/tcp")
int weft_list_tcp(struct bpf_iter__tcp *ctx)
{
	struct sock_common *socket = ctx->sk_common;
	struct inbound_connection open = {};
	struct verdict verdict = {};

	if (!socket)
		return 0;
	read_inbound(socket, &verdict);
	if (verdict.state == TCP_TIME_WAIT || !was_judged(socket, &verdict))
		return 0;
	copy_address(open.source_address, verdict.source);
	copy_address(open.destination_address, verdict.destination);
	open.port = verdict.port;
	open.by_node = is_from_node(&verdict);
	bpf_seq_write(ctx->meta->seq, &open, sizeof(open));
	return 0;
}
