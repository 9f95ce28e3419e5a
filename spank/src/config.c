/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The words behind the plugin's path in plugstack.conf. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "qrmi.h"

#define SOCKET "/run/qrmi/admin.sock"
#define TIMEOUT_S 20
#define TIMEOUT_MOST_S 3600

static const char *after(const char *word, const char *prefix)
{
	size_t length = strlen(prefix);

	return strncmp(word, prefix, length) == 0 ? word + length : NULL;
}

/* NAME=VALUE of `env:NAME=VALUE`, which existing lines also write with two dashes. */
static const char *env_of(const char *word)
{
	const char *text = after(word, "env:");

	return text ? text : after(word, "--env:");
}

/* slurmd gives its children the node's name; jobs and the epilog have it in their environment, too. */
static void find_node(spank_t sp, char *node, size_t size)
{
	const char *name = getenv("SLURMD_NODENAME");
	int length = -1;

	node[0] = '\0';
	if (name)
		length = snprintf(node, size, "%s", name);
	else if (spank_context() == S_CTX_REMOTE &&
		 spank_getenv(sp, "SLURMD_NODENAME", node, (int) size) == ESPANK_SUCCESS)
		length = (int) strlen(node);
	if (length <= 0 || (size_t) length >= size) {
		if (gethostname(node, size) < 0)
			node[0] = '\0';
		node[size - 1] = '\0';
		node[strcspn(node, ".")] = '\0';
	}
}

/* %n is the node's name. */
static int expand(const char *text, const char *node, char *out, size_t size)
{
	struct buffer to = { .text = out, .size = size };

	for (; *text && !to.full; text++) {
		if (text[0] == '%' && text[1] == 'n') {
			put(&to, "%s", node);
			text++;
		} else {
			put(&to, "%c", *text);
		}
	}
	return to.full ? -1 : 0;
}

static int beside(const char *path, const char *name, char *out, size_t size)
{
	const char *slash = strrchr(path, '/');
	int length = -1;

	if (slash)
		length = snprintf(out, size, "%.*s/%s", (int) (slash - path), path, name);
	return length < 0 || (size_t) length >= size ? -1 : 0;
}

int conf_read(spank_t sp, int argc, char **argv, struct conf *conf)
{
	const char *path = SOCKET;
	int rv = -1;

	memset(conf, 0, sizeof(*conf));
	conf->timeout_s = TIMEOUT_S;
	conf->argc = argc;
	conf->argv = argv;
	find_node(sp, conf->node, sizeof(conf->node));
	for (int at = 0; at < argc; at++) {
		const char *text = after(argv[at], "timeout=");
		int timeout_s = text ? atoi(text) : 0;

		if (timeout_s >= 1 && timeout_s <= TIMEOUT_MOST_S)
			conf->timeout_s = timeout_s;
		if ((text = after(argv[at], "socket=")))
			path = text;
	}
	if (expand(path, conf->node, conf->admin_path, sizeof(conf->admin_path)) == 0 &&
	    beside(conf->admin_path, "qrmi.sock", conf->public_path, sizeof(conf->public_path)) == 0 &&
	    beside(conf->admin_path, "jobs", conf->jobs_dir, sizeof(conf->jobs_dir)) == 0)
		rv = 0;
	return rv;
}

/* What we do not use is said once, in slurmd's log: a misspelt word must not go unnoticed, nor fail a job. */
void conf_complain(int argc, char **argv)
{
	for (int at = 0; at < argc; at++) {
		const char *word = argv[at], *text = after(word, "timeout=");
		size_t length = strlen(word);

		if (text && (atoi(text) < 1 || atoi(text) > TIMEOUT_MOST_S))
			slurm_error("qrmi: plugstack.conf: %s: is not 1 to %d seconds, %d is used", word,
				    TIMEOUT_MOST_S, TIMEOUT_S);
		else if (text || after(word, "socket=") || (env_of(word) && strchr(env_of(word), '=')))
			continue;
		else if (length > 5 && strcmp(word + length - 5, ".json") == 0)
			slurm_info("qrmi: plugstack.conf: %s: is not used here: the broker reads it", word);
		else
			slurm_error("qrmi: plugstack.conf: %s: is unknown and ignored: there are socket=, timeout= and env:NAME=VALUE",
				    word);
	}
}

/* The administrator's variables, for jobs with --qpu; what the user has set himself stays. */
void conf_export(spank_t sp, const struct conf *conf)
{
	for (int at = 0; at < conf->argc; at++) {
		const char *text = env_of(conf->argv[at]);
		const char *equals = text ? strchr(text, '=') : NULL;
		char name[256];
		int length;

		if (!equals)
			continue;
		length = snprintf(name, sizeof(name), "%.*s", (int) (equals - text), text);
		if (length > 0 && (size_t) length < sizeof(name))
			spank_setenv(sp, name, equals + 1, 0);
	}
}
