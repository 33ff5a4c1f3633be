/* SPDX-License-Identifier: Apache-2.0 */
/* Owns one request through an io_uring of its own, by bare system calls. Knows no socket and no
 * command.
 */
#ifndef WEFT_TEST_RING_H
#define WEFT_TEST_RING_H

#include <errno.h>
#include <linux/io_uring.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static int finish_ring(int ring, const struct io_uring_params *params, char *queue,
		       struct io_uring_sqe *entries, const struct io_uring_sqe *request)
{
	unsigned int *tail = (unsigned int *)(queue + params->sq_off.tail);
	unsigned int *done = (unsigned int *)(queue + params->cq_off.tail);
	struct io_uring_cqe *results = (struct io_uring_cqe *)(queue + params->cq_off.cqes);
	unsigned int flags = IORING_ENTER_GETEVENTS;

	if (params->flags & IORING_SETUP_SQPOLL)
		flags |= IORING_ENTER_SQ_WAKEUP;
	entries[0] = *request;
	*(unsigned int *)(queue + params->sq_off.array) = 0;
	__atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
	while (!__atomic_load_n(done, __ATOMIC_ACQUIRE)) {
		if (syscall(__NR_io_uring_enter, ring, 1, 1, flags, NULL, 0) < 0 && errno != EINTR)
			return -1;
	}
	if (results[0].res >= 0)
		return results[0].res;
	errno = -results[0].res;
	return -1;
}

/* Has the kernel do one request; polled: by its own thread, without a system call of the process.
 * The request's result, or -1 with errno; -2 with errno when there is no io_uring to be had. */
static int through_ring(const struct io_uring_sqe *request, int polled)
{
	struct io_uring_params params = {.flags = polled ? IORING_SETUP_SQPOLL : 0};
	int ring = (int)syscall(__NR_io_uring_setup, 1, &params), result = -2, error;
	size_t size, completions;
	char *queue;
	void *entries;

	if (ring < 0)
		return -2;
	/* Both queues lie in one mapping, since Linux 5.4. */
	size = params.sq_off.array + params.sq_entries * sizeof(unsigned int);
	completions = params.cq_off.cqes + params.cq_entries * sizeof(struct io_uring_cqe);
	if (completions > size)
		size = completions;
	queue = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQ_RING);
	entries = mmap(NULL, params.sq_entries * sizeof(struct io_uring_sqe),
		       PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQES);
	if (queue != MAP_FAILED && entries != MAP_FAILED)
		result = finish_ring(ring, &params, queue, entries, request);
	error = errno;
	if (queue != MAP_FAILED)
		munmap(queue, size);
	if (entries != MAP_FAILED)
		munmap(entries, params.sq_entries * sizeof(struct io_uring_sqe));
	close(ring);
	errno = error;
	return result;
}

#endif
