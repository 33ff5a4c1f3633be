/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Owns the license that every object states to the kernel. Knows no program. */
#ifndef WEFT_LICENSE_H
#define WEFT_LICENSE_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#endif
