/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The epilog, on every node of every job: a process of its own, which knows the job's number and nothing else. Slurm keeps
 * the job's licences until it returns, so it waits until the lane is free.
 */
#include <errno.h>
#include <string.h>

#include "qrmi.h"

#define LANE_S 20	/* a vendor that takes longer keeps its lane at the broker, not the node at Slurm */
#define SLACK_MS 5000

int jobscript_epilog(spank_t sp, int argc, char **argv)
{
	char id[65];
	uint32_t job_id = 0, leader = 0;
	struct conf conf;
	struct run run;
	int error;

	if (spank_get_item(sp, S_JOB_ID, &job_id) != ESPANK_SUCCESS || conf_read(sp, argc, argv, &conf) < 0 ||
	    leasefile_read(&conf, job_id, id, sizeof(id), &leader) < 0)
		goto out;
	/* A job that was made smaller leaves a node and goes on; a late epilog may meet the file of the next run. */
	if (run_look(leader, &run) == 0 && !run_is_over(&run))
		goto out;
	error = broker_release(conf.admin_path, id, LANE_S, now_ms() + LANE_S * 1000 + SLACK_MS);
	if (error)
		slurm_info("qrmi: job %u: lease %s is not released yet: %s: the broker goes on", job_id, id,
			   error == EBUSY ? "its session is still being closed" : strerror(error));
	leasefile_remove(&conf, job_id);
out:
	return 0;	/* an error would drain the node */
}
