/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The variables of a job: which ones a reply may set, and which ones show that a lease is already there. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qrmi.h"

#define LIST "QRMI_JOB_QPU_RESOURCES"
#define DELIMITER "QRMI_LIST_DELIMITER"
#define TOKEN "QRMI_JOB_ACQUISITION_TOKEN"
#define TIMEOUT "QRMI_JOB_TIMEOUT_SECONDS"
#define BROKER "QRMI_BROKER"

static bool lists(const char *list, const char *name)
{
	char one[QRMI_NAME_MAX + 1];
	bool found = false;

	while (!found && name_next(&list, one, sizeof(one)))
		found = strcmp(one, name) == 0;
	return found;
}

/*
 * A lease of this very job on all that is asked for: what a job inherits from the one that submitted it is none. What it was
 * asked for is in the option that was handed on; for anything else the broker knows whether the lease is enough.
 */
bool jobenv_has_lease(spank_t sp, uint32_t job_id, const struct request *request)
{
	char id[32] = "", list[QRMI_LIST_MAX] = "", option[QRMI_OPTION_MAX] = "", why[QRMI_LINE_MAX + 1];
	struct request held;
	bool found;

	found = spank_getenv(sp, "QRMI_JOB_ID", id, sizeof(id)) == ESPANK_SUCCESS && strtoul(id, NULL, 10) == job_id &&
		spank_getenv(sp, LIST, list, sizeof(list)) == ESPANK_SUCCESS &&
		spank_getenv(sp, OPTION_LOCAL, option, sizeof(option)) == ESPANK_SUCCESS &&
		request_parse(option, &held, why, sizeof(why)) == 0 && request_covers(&held, request);
	for (size_t at = 0; found && at < request->count; at++)
		found = lists(list, wanted_alias(&request->items[at]));
	return found;
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

static bool is_list(const char *name)
{
	return strcmp(name, "SLURM_JOB_QPU_RESOURCES") == 0 || strcmp(name, "SLURM_JOB_QPU_TYPES") == 0 ||
	       strcmp(name, LIST) == 0 || strcmp(name, "QRMI_JOB_QPU_TYPES") == 0;
}

/* Only what the design lists; so never PATH or LD_PRELOAD, whatever the broker may say. */
static bool is_allowed(const char *name, const struct reply *reply)
{
	const char *list = reply_value(reply, LIST);
	bool found = is_list(name) || strcmp(name, "QRMI_JOB_ID") == 0 || strcmp(name, "QRMI_JOB_UID") == 0;
	char alias[QRMI_NAME_MAX + 1], shell[QRMI_NAME_MAX + 1];

	while (!found && list && name_next(&list, alias, sizeof(alias))) {
		const char *rest = setting_of(name, alias);

		shell_name(alias, shell, sizeof(shell));
		if (!rest)
			rest = setting_of(name, shell);
		found = rest && strspn(rest, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") == strlen(rest);
	}
	return found;
}

/* The broker separates by commas, the user's programs by what he has chosen. */
static int set_list(spank_t sp, const char *name, const char *value)
{
	char delimiter[32] = "", text[QRMI_LIST_MAX] = "";
	struct buffer to = { .text = text, .size = sizeof(text) };

	if (spank_getenv(sp, DELIMITER, delimiter, sizeof(delimiter)) != ESPANK_SUCCESS || !delimiter[0])
		memcpy(delimiter, ",", 2);
	for (; *value; value++)
		put(&to, "%.*s", *value == ',' ? (int) sizeof(delimiter) : 1, *value == ',' ? delimiter : value);
	return to.full ? ESPANK_NOSPACE : spank_setenv(sp, name, text, 1);
}

/* 0, or how many variables could not be set. */
int jobenv_export(spank_t sp, const struct reply *reply)
{
	int failed = 0;

	for (size_t at = 0; at < reply->vars; at++) {
		if (!is_allowed(reply->names[at], reply))
			slurm_info("qrmi: a variable of the broker's reply is none of a job's and is left out: %.64s",
				   reply->names[at]);
		else if (is_list(reply->names[at]))
			failed += set_list(sp, reply->names[at], reply->values[at]) != ESPANK_SUCCESS;
		else if (spank_setenv(sp, reply->names[at], reply->values[at], 1) != ESPANK_SUCCESS)
			failed++;
	}
	return failed;
}

/* A step on another node inherits the socket of the first one, and must talk to its own. */
void jobenv_relocate(spank_t sp, const struct conf *conf)
{
	char list[QRMI_LIST_MAX] = "", name[QRMI_NAME_MAX + 32], path[QRMI_PATH_MAX];
	char one[QRMI_NAME_MAX + 1], shell[QRMI_NAME_MAX + 1];
	const char *rest = list;

	if (spank_getenv(sp, LIST, list, sizeof(list)) != ESPANK_SUCCESS)
		return;
	while (name_next(&rest, one, sizeof(one))) {
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
	char list[QRMI_LIST_MAX] = "", text[QRMI_OPTION_MAX] = "";
	struct buffer to = { .text = text, .size = sizeof(text) };

	spank_unsetenv(sp, OPTION_REMOTE);
	if (spank_getenv(sp, LIST, list, sizeof(list)) != ESPANK_SUCCESS)
		return;
	for (size_t at = 0; at < request->count; at++) {
		const struct wanted *one = &request->items[at];

		if (lists(list, wanted_alias(one)))
			put(&to, "%s%s%s%s%s", to.used ? "," : "", one->alias, one->alias[0] ? "=" : "", one->name,
			    one->exclusive ? ":exclusive" : "");
	}
	if (!to.full && to.used)
		spank_setenv(sp, OPTION_LOCAL, text, 1);
}
