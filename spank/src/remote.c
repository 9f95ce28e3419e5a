/* SPDX-License-Identifier: GPL-2.0-or-later */
/* In slurmstepd: as root before the tasks, then in each task, then at the step's end. */
#include <string.h>
#include <unistd.h>

#include <slurm/slurm.h>

#include "qrmi.h"

#define RELEASE_MS 2000

static struct conf conf;
static struct lease lease;
static uint32_t node_id;
static bool is_batch, is_failed;
static char warnings[sizeof(lease.reply.warnings)];

static void fail_with(const char *line)
{
	is_failed = true;
	line_make(lease.failure, sizeof(lease.failure), "%s", line);
}

static void ask(spank_t sp, struct request *request, uint32_t job_id)
{
	jobenv_find_own(sp, request);
	conf_export(sp, &conf);
	lease_ask(&conf, request, job_id, is_batch, node_id == 0, &lease);
	if (!lease.is_granted) {
		is_failed = true;
		slurm_info("qrmi: job %u: %s", job_id, lease.failure);
	} else if (jobenv_export(sp, &lease.reply) != 0) {
		fail_with("--qpu: the job's environment cannot be changed: tell the administrators");
	} else {
		say_detail("job %u: lease %s", job_id, lease.id);
	}
	memcpy(warnings, lease.reply.warnings, sizeof(warnings));
	reply_free(&lease.reply);
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

/* In the parent, as root. Always 0: an error from here would drain the node, or let the job end as COMPLETED. */
int remote_start(spank_t sp, int argc, char **argv, const char *option)
{
	struct request request;
	uint32_t job_id = 0, step_id = 0;
	char why[QRMI_LINE_MAX + 1] = "";
	bool is_first, is_configured;

	if (spank_get_item(sp, S_JOB_ID, &job_id) != ESPANK_SUCCESS ||
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
		ask(sp, &request, job_id);	/* so does a later component of a heterogeneous job */
	else if (is_configured)
		jobenv_relocate(sp, &conf);
	if (option && !is_failed)
		jobenv_hand_on(sp, &request);
out:
	return 0;
}

/* What concerns the whole job is said by its first task of all components; what only this node knows, by this node. */
static bool is_speaker(spank_t sp)
{
	char rank[16] = "";
	int task = -1;

	if (lease.is_local_failure)
		return spank_get_item(sp, S_TASK_ID, &task) == ESPANK_SUCCESS && task == 0;
	return spank_getenv(sp, "SLURM_PROCID", rank, sizeof(rank)) == ESPANK_SUCCESS && strcmp(rank, "0") == 0;
}

static void warn(void)
{
	char *rest = NULL, line[QRMI_LINE_MAX + 1];

	for (char *one = strtok_r(warnings, "\n", &rest); one; one = strtok_r(NULL, "\n", &rest)) {
		line_make(line, sizeof(line), "warning: %s", one);
		line_write(line);
	}
}

/* In the task, as the user, before his program: the only place that ends a job without harming the node. */
int remote_task(spank_t sp)
{
	if (is_speaker(sp)) {
		if (is_failed)
			line_write(lease.failure);
		else
			warn();
	}
	if (is_failed)
		_exit(QRMI_EXIT);
	return 0;
}

/* The batch script's end is the job's. Other steps leave the lease to those that follow, and to the epilog. */
int remote_exit(spank_t sp)
{
	(void) sp;
	if (is_batch && lease.is_granted && broker_release(conf.admin_path, lease.id, 0, now_ms() + RELEASE_MS) != 0)
		slurm_info("qrmi: lease %s: not released at the batch step's end: the epilog does it", lease.id);
	return 0;
}
