// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The programs of eight objects as one, for a kernel that takes them all: libbpf reads the kernel's
 * types once for each object that asks for them, which takes longer than most programs here.
 * Those that some kernel refuses come first, so that it does so soon.
 */
#include "bytes.bpf.c"
#include "ends.bpf.c"
#include "drops.bpf.c"
#include "sweep.bpf.c"
#include "waypoint.bpf.c"
#include "sockops.bpf.c"
#include "connect.bpf.c"
#include "datagram.bpf.c"
