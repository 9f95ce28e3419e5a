/* SPDX-License-Identifier: GPL-2.0-or-later */
/* In slurmstepd: as root before the tasks, then in each task, then at the step's end. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <slurm/slurm.h>

#include "qrmi.h"

#define RELEASE_MS 2000

static struct conf conf;
static struct request request;
static struct lease *lease;	/* none: nothing was asked for */
static uint32_t job_id, node_id;
static bool is_batch, is_failed, is_taken;
static bool is_local_failure;	/* of this node alone: another node's tasks may well have started */
static char failure[QRMI_LINE_MAX + 1];

static void fail_with(const char *line)
{
	is_failed = true;
	line_make(failure, sizeof(failure), "%s", line);
}

static void fail_here(const char *cause)
{
	is_failed = is_local_failure = true;
	line_make(failure, sizeof(failure), "--qpu: node %s: %s: submit again", conf.node, cause);
}

static void ask(spank_t sp)
{
	jobenv_find_own(sp, &request);
	conf_export(sp, &conf);
	lease = helper_start(&conf, &request, job_id, is_batch, node_id == 0);
	if (!lease)
		fail_here(strerror(errno));
}

/* What the helper has brought, into the environment of the tasks. */
static void take(spank_t sp)
{
	bool is_whole = helper_join();

	is_taken = true;
	if (!is_whole && !lease->failure[0]) {
		fail_here("the process that asked the broker was killed");
	} else if (!is_whole || !lease->is_granted) {
		is_local_failure = lease->is_local_failure;
		fail_with(lease->failure);
	} else if (jobenv_export(sp, &lease->reply) != 0) {
		fail_with("--qpu: the job's environment cannot be changed: tell the administrators");
	} else {
		jobenv_hand_on(sp, &request);
		say_detail("job %u: lease %s", job_id, lease->id);
	}
	if (is_failed)
		slurm_info("qrmi: job %u: %s", job_id, failure);
	explicit_bzero(lease->text, sizeof(lease->text));
}

/*
 * Up to 23.02 the options of `sbatch --export=NONE` do not reach this process as options, but the variable that the
 * job's own steps would read is there.
 */
static const char *find_option(spank_t sp, const char *option, bool is_first)
{
	static char text[QRMI_OPTION_MAX];

	if (!option && is_first &&
	    spank_getenv(sp, OPTION_LOCAL, text, sizeof(text)) == ESPANK_SUCCESS)
		option = text;
	return option;
}

/*
 * In the parent, as root; for the steps of older releases twice. Always 0: an error from here would drain the node, or let
 * the job end as COMPLETED.
 */
int remote_start(spank_t sp, int argc, char **argv, const char *option)
{
	uint32_t step_id = 0;
	char why[QRMI_LINE_MAX + 1] = "";
	bool is_first, is_configured;

	if (lease || is_failed || spank_get_item(sp, S_JOB_ID, &job_id) != ESPANK_SUCCESS ||
	    spank_get_item(sp, S_JOB_STEPID, &step_id) != ESPANK_SUCCESS)
		goto out;
	is_batch = step_id == SLURM_BATCH_SCRIPT;
	is_first = is_batch || step_id == SLURM_INTERACTIVE_STEP;
	option = find_option(sp, option, is_first);
	if (!option && !jobenv_has_any(sp))
		goto out;
	spank_get_item(sp, S_JOB_NODEID, &node_id);
	say_set_level(sp);
	is_configured = conf_read(sp, argc, argv, &conf) == 0;
	if (option && !is_configured)
		fail_with("--qpu: socket= in plugstack.conf is no path, or too long: tell the administrators");
	else if (option && request_parse(option, &request, why, sizeof(why)) < 0)
		fail_with(why);		/* a forged variable; the option was checked where it was given */
	else if (option && (is_first || !jobenv_has_lease(sp, job_id, &request)))
		ask(sp);		/* so does a later component of a heterogeneous job */
	else if (is_configured)
		jobenv_relocate(sp, &conf);
	if (option && !is_failed && !lease)
		jobenv_hand_on(sp, &request);
out:
	return 0;
}

/* In the parent, with the user's rights, when all but the tasks is there. Always 0, for the same reason. */
int remote_user(spank_t sp)
{
	if (lease && !is_taken)
		take(sp);
	return 0;
}

/* What concerns the whole job is said by its first task of all components; what only this node knows, by this node. */
static bool is_speaker(spank_t sp)
{
	char rank[16] = "";
	int task = -1;

	if (is_local_failure)
		return spank_get_item(sp, S_TASK_ID, &task) == ESPANK_SUCCESS && task == 0;
	return spank_getenv(sp, "SLURM_PROCID", rank, sizeof(rank)) == ESPANK_SUCCESS && strcmp(rank, "0") == 0;
}

static void warn(void)
{
	char *rest = NULL, line[QRMI_LINE_MAX + 1];

	for (char *one = strtok_r(lease->reply.warnings, "\n", &rest); one; one = strtok_r(NULL, "\n", &rest)) {
		line_make(line, sizeof(line), "warning: %s", one);
		line_write(line);
	}
}

/* In the task, as the user, before his program: the only place that ends a job without harming the node. */
int remote_task(spank_t sp)
{
	if (is_speaker(sp)) {
		if (is_failed)
			line_write(failure);
		else if (lease)
			warn();
	}
	if (is_failed)
		_exit(QRMI_EXIT);
	return 0;
}

/*
 * The batch script's end is the job's. Other steps leave the lease to those that follow, and to the epilog. Where Slurm gave
 * the step up before its tasks, what is still being asked for is waited for, so that it is given back.
 */
int remote_exit(spank_t sp)
{
	bool is_known;

	(void) sp;
	is_known = lease && helper_join() && lease->is_granted;
	if (is_batch && is_known && broker_release(conf.admin_path, lease->id, 0, now_ms() + RELEASE_MS) != 0)
		slurm_info("qrmi: lease %s: not released at the batch step's end: the epilog does it", lease->id);
	return 0;
}
