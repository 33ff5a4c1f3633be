// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Owns nothing: the sweeps as they are on kernels before Linux 6.5, where the daemon has to close
 * what they find.
 */
#define bpf_sock_destroy weft_no_such_function

#include "../sweep.bpf.c"
