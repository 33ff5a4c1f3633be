// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Owns what the generator of test/bpf/cases.gen.ts reads: BTF of the structs of the decision tests.
 * Never loaded into a kernel: knows no program.
 */
#include "lib/route.h"
#include "cases.h"

/* The generator takes the type of every variable layout_*. */
enum route_action layout_route_action;
struct route_case layout_route_case;
struct verdict_case layout_verdict_case;
struct tear_case layout_tear_case;
struct route_tear_case layout_route_tear_case;
