/* SPDX-License-Identifier: Apache-2.0 */
/* Owns a kernel without IPv6, as far as the program named by its arguments can tell: socket(2)
 * answers EAFNOSUPPORT. Needs root. Knows no test.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LOAD(field)		  BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define SKIP_UNLESS(value, lines) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, lines)
#define GIVE(action)		  BPF_STMT(BPF_RET | BPF_K, action)

int main(int argc, char **argv)
{
	struct sock_filter lines[] = {
	    LOAD(nr),
	    SKIP_UNLESS(SYS_socket, 3),
	    /* The low half, which comes first on the machines that weft runs on. */
	    LOAD(args[0]),
	    SKIP_UNLESS(AF_INET6, 1),
	    GIVE(SECCOMP_RET_ERRNO | EAFNOSUPPORT),
	    GIVE(SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = {sizeof(lines) / sizeof(lines[0]), lines};

	if (argc < 2 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter)) {
		perror("without-ipv6");
		return 1;
	}
	execvp(argv[1], argv + 1);
	perror(argv[1]);
	return 1;
}
