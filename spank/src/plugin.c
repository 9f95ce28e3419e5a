/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The hooks that Slurm looks up, and in which context each does something.
 *
 * Where an error may be returned is decided by what Slurm does with it: a remote hook before task_init that fails drains
 * the node or lets the job end as COMPLETED, so nothing here ever returns an error. The work begins in init_post_opt, as
 * root in slurmstepd, and is waited for in user_init; a failure is remembered, and ends the task from task_init.
 */
#include <stdlib.h>
#include <string.h>

#include <slurm/slurm.h>
#include <slurm/spank.h>

#include "qrmi.h"

SPANK_PLUGIN(qrmi, 1)

static char *given;		/* the option's value; a later one replaces it */
static bool is_given;		/* since the last init_post_opt: a heterogeneous job has several */

static int on_option(int val, const char *text, int remote)
{
	(void) val;
	(void) remote;
	free(given);
	given = text ? strdup(text) : NULL;
	is_given = true;
	return 0;
}

static struct spank_option option = {
	.name = "qpu",
	.arginfo = "[alias=]name[:exclusive],...",
	.usage = "quantum processors that this job uses: `qrmi resources` lists them",
	.has_arg = 1,
	.val = 0,
	.cb = on_option,
};

int slurm_spank_init(spank_t sp, int argc, char **argv)
{
	switch (spank_context()) {
	case S_CTX_LOCAL:
	case S_CTX_ALLOCATOR:
		local_init();
		/* fall through */
	case S_CTX_REMOTE:
		spank_option_register(sp, &option);
		break;
	case S_CTX_SLURMD:
		conf_complain(argc, argv);	/* once per start, where an administrator looks */
		break;
	default:
		break;
	}
	return 0;
}

int slurm_spank_init_post_opt(spank_t sp, int argc, char **argv)
{
	switch (spank_context()) {
	case S_CTX_LOCAL:
	case S_CTX_ALLOCATOR:
		local_check(given, is_given);
		break;
	case S_CTX_REMOTE:
		remote_start(sp, argc, argv, given);
		break;
	default:
		break;
	}
	is_given = false;
	return 0;
}

int slurm_spank_user_init(spank_t sp, int argc, char **argv)
{
	(void) argc;
	(void) argv;
	return spank_context() == S_CTX_REMOTE ? remote_user(sp) : 0;
}

int slurm_spank_task_init(spank_t sp, int argc, char **argv)
{
	(void) argc;
	(void) argv;
	return spank_context() == S_CTX_REMOTE ? remote_task(sp) : 0;
}

int slurm_spank_exit(spank_t sp, int argc, char **argv)
{
	(void) argc;
	(void) argv;
	return spank_context() == S_CTX_REMOTE ? remote_exit(sp) : 0;
}

int slurm_spank_job_epilog(spank_t sp, int argc, char **argv)
{
	return jobscript_epilog(sp, argc, argv);
}
