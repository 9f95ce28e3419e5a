/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The variables of a job: which ones a reply may set, and which ones show that a lease is already there. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qrmi.h"

#define TOKEN "QRMI_JOB_ACQUISITION_TOKEN"
#define TIMEOUT "QRMI_JOB_TIMEOUT_SECONDS"
#define BROKER "QRMI_BROKER"

/* The lists keep their separator where the user has chosen another one, so any that is no name's character counts. */
bool jobenv_lists(const char *list, const char *name)
{
	size_t length = strlen(name);
	bool found = false;

	for (const char *at = list; !found && at && *at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL)
		found = strncmp(at, name, length) == 0 && (at[length] == ',' || at[length] == '\0');
	return found;
}

/* A lease of this very job: what a job inherits from the one that submitted it is none. */
bool jobenv_has_lease(spank_t sp, uint32_t job_id)
{
	char text[32] = "";

	return spank_getenv(sp, "QRMI_JOB_ID", text, sizeof(text)) == ESPANK_SUCCESS &&
	       strtoul(text, NULL, 10) == job_id;
}

bool jobenv_has_any(spank_t sp)
{
	char text[32] = "";

	return spank_getenv(sp, "QRMI_JOB_ID", text, sizeof(text)) == ESPANK_SUCCESS;
}

/* What follows "<name>_", if *entry* begins with it and goes on with QRMI_. */
static const char *setting_of(const char *entry, const char *name)
{
	size_t length = strlen(name);
	const char *rest = NULL;

	if (strncmp(entry, name, length) == 0 && entry[length] == '_' && strncmp(entry + length + 1, "QRMI_", 5) == 0)
		rest = entry + length + 1;
	return rest;
}

static bool is_called(const char *entry, const char *variable)
{
	size_t length = strlen(variable);

	return strncmp(entry, variable, length) == 0 && (entry[length] == '=' || entry[length] == '\0');
}

static bool is_of_lease(const char *rest)
{
	return is_called(rest, TOKEN) || is_called(rest, TIMEOUT) || is_called(rest, BROKER);
}

/* Mark what the user opens with settings of his own: "<name>_QRMI_..." in the job's environment. */
void jobenv_find_own(spank_t sp, struct request *request)
{
	char **environment = NULL;

	if (spank_get_item(sp, S_JOB_ENV, &environment) != ESPANK_SUCCESS)
		return;
	for (size_t at = 0; at < request->count; at++) {
		struct wanted *one = &request->items[at];
		char shell[QRMI_NAME_MAX + 1];

		shell_name(wanted_alias(one), shell, sizeof(shell));
		for (char **entry = environment; entry && *entry; entry++) {
			const char *rest = setting_of(*entry, wanted_alias(one));

			if (!rest)
				rest = setting_of(*entry, shell);
			if (rest && !is_of_lease(rest))
				one->own = true;
		}
	}
}

/* Only what the design lists; so never PATH or LD_PRELOAD, whatever the broker may say. */
static bool is_allowed(const char *name, const struct request *request)
{
	static const char *const lists[] = {
		"SLURM_JOB_QPU_RESOURCES", "SLURM_JOB_QPU_TYPES", "QRMI_JOB_QPU_RESOURCES", "QRMI_JOB_QPU_TYPES",
		"QRMI_JOB_ID", "QRMI_JOB_UID",
	};
	bool found = false;

	for (size_t at = 0; !found && at < sizeof(lists) / sizeof(lists[0]); at++)
		found = strcmp(name, lists[at]) == 0;
	for (size_t at = 0; !found && at < request->count; at++) {
		const char *alias = wanted_alias(&request->items[at]), *rest;
		char shell[QRMI_NAME_MAX + 1];

		shell_name(alias, shell, sizeof(shell));
		rest = setting_of(name, alias);
		if (!rest)
			rest = setting_of(name, shell);
		found = rest && strspn(rest, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") == strlen(rest);
	}
	return found;
}

/* 0, or how many variables could not be set. */
int jobenv_export(spank_t sp, const struct request *request, const struct reply *reply)
{
	int failed = 0;

	for (size_t at = 0; at < reply->vars; at++) {
		if (!is_allowed(reply->names[at], request))
			slurm_info("qrmi: a variable of the broker's reply is none of a job's and is left out: %.64s",
				   reply->names[at]);
		else if (spank_setenv(sp, reply->names[at], reply->values[at], 1) != ESPANK_SUCCESS)
			failed++;
	}
	return failed;
}

/* A step on another node inherits the socket of the first one, and must talk to its own. */
void jobenv_relocate(spank_t sp, const struct conf *conf)
{
	char list[4096] = "", name[QRMI_NAME_MAX + 32], path[QRMI_PATH_MAX];
	char *rest = NULL;

	if (spank_getenv(sp, "QRMI_JOB_QPU_RESOURCES", list, sizeof(list)) != ESPANK_SUCCESS)
		return;
	for (char *one = strtok_r(list, ",", &rest); one; one = strtok_r(NULL, ",", &rest)) {
		char shell[QRMI_NAME_MAX + 1];
		const char *const spellings[] = { one, shell };

		shell_name(one, shell, sizeof(shell));
		for (size_t at = 0; at < 2; at++) {
			int length = snprintf(name, sizeof(name), "%s_" BROKER, spellings[at]);

			if (length > 0 && (size_t) length < sizeof(name) &&
			    spank_getenv(sp, name, path, sizeof(path)) == ESPANK_SUCCESS &&
			    strcmp(path, conf->public_path) != 0)
				spank_setenv(sp, name, conf->public_path, 1);
		}
	}
}

/*
 * The steps inside of a batch script ask for what it was given, where nothing else of its environment reaches them
 * (--export=NONE). sbatch and salloc inside of a job take it away again: see local.c.
 */
void jobenv_hand_on(spank_t sp, const struct request *request)
{
	char list[4096] = "", text[QRMI_WANTED_MAX * (2 * QRMI_NAME_MAX + 16)] = "";
	struct buffer to = { .text = text, .size = sizeof(text) };

	spank_unsetenv(sp, OPTION_REMOTE);
	if (spank_getenv(sp, "QRMI_JOB_QPU_RESOURCES", list, sizeof(list)) != ESPANK_SUCCESS)
		return;
	for (size_t at = 0; at < request->count; at++) {
		const struct wanted *one = &request->items[at];

		if (jobenv_lists(list, wanted_alias(one)))
			put(&to, "%s%s%s%s%s", to.used ? "," : "", one->alias, one->alias[0] ? "=" : "", one->name,
			    one->exclusive ? ":exclusive" : "");
	}
	if (!to.full && to.used)
		spank_setenv(sp, OPTION_LOCAL, text, 1);
}
