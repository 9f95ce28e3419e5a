/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The conversation with the broker, in a child: slurmstepd goes on preparing the step, which takes it longer than most
 * answers take us, and joins before it starts the tasks. What is found lies in memory that both share.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "qrmi.h"

#define SLACK_MS 10000		/* beyond timeout=: the conversation ends by itself, and has a lease to give back perhaps */

static pid_t child;		/* 0: none, or it is joined */
static int end_of_child = -1;	/* a pipe that closes with it */
static int64_t deadline_ms;

/* A child must not outlive its parent, whatever kills that. False: it is dead already. */
bool helper_follow_parent(pid_t parent)
{
	return prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == parent;
}

/* NULL and errno, or where the lease will be when `helper_join` has returned true. */
struct lease *helper_start(const struct conf *conf, const struct request *request, uint32_t job_id, bool is_batch,
			   bool is_first)
{
	struct lease *lease = mmap(NULL, sizeof(*lease), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int ends[2] = { -1, -1 };
	pid_t parent = getpid();

	if (lease == MAP_FAILED)
		return NULL;
	if (pipe2(ends, O_CLOEXEC) < 0)
		goto fail;
	lease->reply.text = lease->text;
	child = fork();
	if (child == 0) {
		if (helper_follow_parent(parent))
			lease_ask(conf, request, job_id, is_batch, is_first, lease);
		_exit(0);
	}
	close(ends[1]);
	if (child < 0) {
		close(ends[0]);
		child = 0;
		goto fail;
	}
	end_of_child = ends[0];
	deadline_ms = now_ms() + conf->timeout_s * 1000 + SLACK_MS;
	return lease;
fail:
	munmap(lease, sizeof(*lease));
	return NULL;
}

/* Wait for its end. False: it was killed, or did not come to one. */
bool helper_join(void)
{
	struct pollfd end = { .fd = end_of_child, .events = POLLIN };
	int status = 0, ready = -1;
	int64_t left;

	if (child == 0)
		return true;
	while (ready < 0 && (left = deadline_ms - now_ms()) > 0) {
		ready = poll(&end, 1, (int) left);
		if (ready < 0 && errno != EINTR)
			break;
	}
	if (ready <= 0)
		kill(child, SIGKILL);
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	close(end_of_child);
	child = 0;
	return WIFEXITED(status);
}
