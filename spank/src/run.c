/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What Slurm itself says of a job: the only source of the run key. slurm_load_job may hang with its controller, as long as
 * slurm.conf allows, and cannot be interrupted. Who has more to do than to wait lets a child ask, which writes what it
 * learns, as text, into a pipe, and is killed after 2 s.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <slurm/slurm.h>
#include <slurm/slurm_errno.h>

#include "qrmi.h"

#define LOAD_MS 2000

/* Slurm's own copy of slurm.conf, in every process that loads plugins; the structure is part of slurm.h. */
extern slurm_conf_t slurm_conf __attribute__((weak));

static int load_job(job_info_msg_t **found, uint32_t job_id)
{
#if SLURM_VERSION_NUMBER >= SLURM_VERSION_NUM(26, 5, 0)
	slurm_step_id_t id = SLURM_STEP_ID_INITIALIZER;

	id.job_id = job_id;
	return slurm_load_job(found, id, SHOW_DETAIL);
#else
	return slurm_load_job(found, job_id, SHOW_DETAIL);
#endif
}

static const slurm_job_info_t *record_of(const job_info_msg_t *found, uint32_t job_id)
{
	const slurm_job_info_t *job = NULL;

	for (uint32_t at = 0; !job && at < found->record_count; at++)
		if (found->job_array[at].job_id == job_id)
			job = &found->job_array[at];
	return job;
}

static void put_text(FILE *out, const char *name, const char *value)
{
	if (value && !strchr(value, '\n'))
		fprintf(out, "%s=%s\n", name, value);
}

/* The controller is asked for its name only where this process does not know it: that costs a millisecond. */
static void put_cluster(FILE *out)
{
	slurm_conf_t *conf = NULL;

	if (&slurm_conf && slurm_conf.cluster_name)
		put_text(out, "cluster", slurm_conf.cluster_name);
	else if (slurm_load_ctl_conf((time_t) 0, &conf) == SLURM_SUCCESS) {
		put_text(out, "cluster", conf->cluster_name);
		slurm_free_ctl_conf(conf);
	}
}

/* The leader's record stands for a heterogeneous job; which component was asked for is said beside it. */
static void put_job(FILE *out, uint32_t job_id, bool is_full)
{
	job_info_msg_t *found = NULL, *leaders = NULL;
	const slurm_job_info_t *job = NULL, *own = NULL;

	if (load_job(&found, job_id) != SLURM_SUCCESS) {
		fprintf(out, "error=%s\n", slurm_strerror(errno));
		return;
	}
	own = job = record_of(found, job_id);
	if (own && own->het_job_id && own->het_job_id != job_id) {
		job = record_of(found, own->het_job_id);
		if (!job && load_job(&leaders, own->het_job_id) == SLURM_SUCCESS)
			job = record_of(leaders, own->het_job_id);
	}
	if (!job) {
		fprintf(out, "error=the controller does not know it\n");
		return;
	}
	if (is_full) {
		struct passwd *user = job->user_name ? NULL : getpwuid((uid_t) job->user_id);

		put_cluster(out);
		put_text(out, "user", user ? user->pw_name : job->user_name);
		put_text(out, "account", job->account);
		put_text(out, "partition", job->partition);
		put_text(out, "qos", job->qos);
		put_text(out, "licences", job->licenses);
	}
	if (job->time_limit != INFINITE && job->time_limit != NO_VAL)
		fprintf(out, "limit_s=%lld\n", (long long) job->time_limit * 60);
	fprintf(out, "restart_count=%u\nstart_time=%lld\nuid=%u\nstate=%u\nhet_offset=%u\njob_id=%u\n", job->restart_cnt,
		(long long) job->start_time, (unsigned) job->user_id, (unsigned) job->job_state,
		own->het_job_id ? (unsigned) own->het_job_offset : 0, (unsigned) job->job_id);
}

static void __attribute__((noreturn)) help(int fd, uint32_t job_id, pid_t parent)
{
	FILE *out = helper_follow_parent(parent) ? fdopen(fd, "w") : NULL;

	signal(SIGPIPE, SIG_DFL);
	if (out) {
		put_job(out, job_id, false);
		fflush(out);
	}
	_exit(0);
}

/* Its last line is the job's number, or its only one an error: the helper's end is not waited for. */
static bool is_whole(const char *text, size_t used)
{
	return used > 0 && text[used - 1] == '\n' && (strstr(text, "\njob_id=") || strncmp(text, "error=", 6) == 0);
}

static void read_until(int fd, char *text, size_t size, int64_t deadline_ms)
{
	size_t used = 0;
	ssize_t done = 1;

	text[0] = '\0';
	while (done > 0 && used < size - 1 && !is_whole(text, used)) {
		struct pollfd one = { .fd = fd, .events = POLLIN };
		int64_t left = deadline_ms - now_ms();

		if (left <= 0 || (poll(&one, 1, (int) left) < 0 && errno != EINTR))
			break;
		if (!one.revents)
			continue;
		done = read(fd, text + used, size - 1 - used);
		if (done > 0)
			used += (size_t) done;
		else if (done < 0 && errno == EINTR)
			done = 1;
		text[used] = '\0';
	}
}

static void take(const char *name, const char *value, struct run *run, char *why, size_t size)
{
	const struct { const char *name; char *to; size_t size; } texts[] = {
		{ "cluster", run->cluster, sizeof(run->cluster) },
		{ "user", run->user, sizeof(run->user) },
		{ "account", run->account, sizeof(run->account) },
		{ "partition", run->partition, sizeof(run->partition) },
		{ "qos", run->qos, sizeof(run->qos) },
		{ "licences", run->licences, sizeof(run->licences) },
		{ "error", why, size },
	};
	const struct { const char *name; uint32_t *to; } numbers[] = {
		{ "restart_count", &run->restart_count }, { "uid", &run->uid }, { "state", &run->state },
		{ "het_offset", &run->het_offset }, { "job_id", &run->job_id },
	};

	for (size_t at = 0; at < sizeof(texts) / sizeof(texts[0]); at++) {
		if (strcmp(name, texts[at].name) == 0) {
			int length = snprintf(texts[at].to, texts[at].size, "%s", value);

			if (length < 0 || (size_t) length >= texts[at].size)
				texts[at].to[0] = '\0';	/* half a list of licences would be another list */
		}
	}
	for (size_t at = 0; at < sizeof(numbers) / sizeof(numbers[0]); at++)
		if (strcmp(name, numbers[at].name) == 0)
			*numbers[at].to = (uint32_t) strtoul(value, NULL, 10);
	if (strcmp(name, "start_time") == 0)
		run->start_time = strtoll(value, NULL, 10);
	if (strcmp(name, "limit_s") == 0)
		run->limit_s = strtoll(value, NULL, 10);
}

static void take_all(char *text, struct run *run, char *why, size_t size)
{
	char *rest = NULL;

	for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		char *equals = strchr(line, '=');

		if (equals) {
			*equals = '\0';
			take(line, equals + 1, run, why, size);
		}
	}
}

static void clear(struct run *run)
{
	memset(run, 0, sizeof(*run));
	run->limit_s = -1;
}

/* All of it. 0, or -1 and in *why* what was wrong; after how long, is not up to us. */
int run_load(uint32_t job_id, struct run *run, char *why, size_t size)
{
	char *text = NULL;
	size_t length = 0;
	FILE *out = open_memstream(&text, &length);

	clear(run);
	line_make(why, size, "%s", strerror(errno));
	if (out) {
		put_job(out, job_id, true);
		fclose(out);
		take_all(text, run, why, size);
		free(text);
	}
	return run->job_id ? 0 : -1;	/* the last line */
}

/* Whether it goes on, and which run it is: 0, or -1 where that is not known within 2 s. */
int run_look(uint32_t job_id, struct run *run)
{
	int ends[2] = { -1, -1 }, rv = -1;
	char text[8192], why[QRMI_LINE_MAX];
	pid_t parent = getpid(), helper;

	clear(run);
	if (pipe2(ends, O_CLOEXEC) < 0)
		goto out;
	helper = fork();
	if (helper == 0)
		help(ends[1], job_id, parent);
	close(ends[1]);
	if (helper < 0)
		goto out;
	read_until(ends[0], text, sizeof(text), now_ms() + LOAD_MS);
	kill(helper, SIGKILL);
	while (waitpid(helper, NULL, 0) < 0 && errno == EINTR)
		;
	take_all(text, run, why, sizeof(why));
	if (run->job_id)
		rv = 0;
out:
	if (ends[0] >= 0)
		close(ends[0]);
	return rv;
}

/* It is ending, or has ended: cancelled, requeued, at its limit. */
bool run_is_over(const struct run *run)
{
	uint32_t base = run->state & JOB_STATE_BASE;

	return (run->state & JOB_COMPLETING) || (base != JOB_RUNNING && base != JOB_SUSPENDED);
}
