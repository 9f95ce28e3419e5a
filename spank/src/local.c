/* SPDX-License-Identifier: GPL-2.0-or-later */
/* In sbatch, salloc and srun, as the user: say at once what is wrong with --qpu, and hand nothing on to nested jobs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qrmi.h"

extern char **environ;

static char *checked;		/* the --qpu of the first component of a heterogeneous job */
static unsigned int components;

static void forget(const char *format, const char *name)
{
	char variable[QRMI_NAME_MAX + 64];
	int length = snprintf(variable, sizeof(variable), format, name);

	if (length > 0 && (size_t) length < sizeof(variable))
		unsetenv(variable);
}

/* With a token of ours all settings came with it; without, they are the user's own and stay. */
static void forget_resource(const char *name)
{
	char prefix[QRMI_NAME_MAX + 16], token[QRMI_NAME_MAX + 64];
	int length = snprintf(prefix, sizeof(prefix), "%s_QRMI_", name);

	if (length <= 0 || (size_t) length >= sizeof(prefix) ||
	    snprintf(token, sizeof(token), "%sJOB_ACQUISITION_TOKEN", prefix) < 0)
		return;
	for (char **entry = environ; getenv(token) && *entry;) {
		size_t end = strcspn(*entry, "=");

		if (strncmp(*entry, prefix, (size_t) length) == 0 && strncmp(*entry, token, strlen(token)) != 0) {
			char *variable = strndup(*entry, end);

			if (!variable || unsetenv(variable) < 0)
				entry++;
			free(variable);	/* what follows has moved up */
		} else {
			entry++;
		}
	}
	unsetenv(token);
	forget("%s_QRMI_JOB_TIMEOUT_SECONDS", name);
}

/* Inside of a job, and a new one is made: it has a lease of its own or none, never this one's. */
static void forget_lease(void)
{
	static const char *const names[] = {
		"SLURM_JOB_QPU_RESOURCES", "SLURM_JOB_QPU_TYPES", "QRMI_JOB_QPU_RESOURCES", "QRMI_JOB_QPU_TYPES",
		"QRMI_JOB_ID", "QRMI_JOB_UID",
	};
	const char *list = getenv("QRMI_JOB_QPU_RESOURCES");
	char *copy = getenv("QRMI_JOB_ID") && list ? strdup(list) : NULL;
	char one[QRMI_NAME_MAX + 1], shell[QRMI_NAME_MAX + 1];
	const char *rest = copy;

	while (copy && name_next(&rest, one, sizeof(one))) {
		shell_name(one, shell, sizeof(shell));
		forget_resource(one);
		forget_resource(shell);
	}
	for (size_t at = 0; copy && at < sizeof(names) / sizeof(names[0]); at++)
		unsetenv(names[at]);
	unsetenv(OPTION_LOCAL);
	unsetenv(OPTION_REMOTE);
	free(copy);
}

/* Before options are read, those in the environment included. */
void local_init(void)
{
	bool is_inside = getenv("SLURM_JOB_ID") || getenv("SLURM_JOBID");
	bool is_nested = is_inside || getenv("QRMI_JOB_ID");
	bool is_step = spank_context() == S_CTX_LOCAL && is_inside;

	if (is_nested && !is_step)
		forget_lease();
}

/*
 * Slurm ignores the error of an optional plugin, and adds lines to that of a required one, so a wrong option ends the
 * command here, before anything was submitted.
 */
void local_check(const char *option, bool is_given)
{
	struct request request;
	char why[QRMI_LINE_MAX + 1 - 6];
	bool is_good = true;

	if (is_given && option)
		is_good = request_parse(option, &request, why, sizeof(why)) == 0;
	if (is_good && is_given && option && components > 0 && !(checked && strcmp(checked, option) == 0)) {
		line_make(why, sizeof(why), "--qpu: belongs to the first component of a heterogeneous job: give it there");
		is_good = false;
	}
	if (!is_good) {
		line_write(why);
		exit(1);
	}
	if (is_given && option && !checked)
		checked = strdup(option);
	components++;
}
