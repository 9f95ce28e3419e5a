/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * <run dir>/jobs/<job id>: "LEASE LEADER\n". It tells the epilog, which knows nothing but the job's number, that there is a
 * lease and which one, so that the late epilog of an old run cannot end a new run's. The run dir belongs to the broker's
 * user, so the folder must be root's own and no link.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "qrmi.h"

static int open_folder(const struct conf *conf, bool is_wanted)
{
	struct stat about;
	int folder;

	if (is_wanted && mkdir(conf->jobs_dir, 0700) < 0 && errno != EEXIST)
		return -1;
	folder = open(conf->jobs_dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (folder >= 0 && (fstat(folder, &about) < 0 || about.st_uid != 0 || (about.st_mode & 077))) {
		close(folder);
		folder = -1;
		errno = EPERM;
	}
	return folder;
}

static int name_of(uint32_t job_id, const char *prefix, char *out, size_t size)
{
	int length = snprintf(out, size, "%s%u", prefix, job_id);

	return length < 0 || (size_t) length >= size ? -1 : 0;
}

int leasefile_write(const struct conf *conf, uint32_t job_id, const char *lease, uint32_t leader)
{
	char name[32], fresh[32], text[128];
	int folder = open_folder(conf, true), file = -1, length, rv = -1;

	if (folder < 0 || name_of(job_id, "", name, sizeof(name)) < 0 ||
	    name_of(job_id, ".", fresh, sizeof(fresh)) < 0)
		goto out;
	length = snprintf(text, sizeof(text), "%s %u\n", lease, leader);
	unlinkat(folder, fresh, 0);
	file = openat(folder, fresh, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (file < 0 || length < 0 || (size_t) length >= sizeof(text))
		goto out;
	if (write(file, text, (size_t) length) == length && renameat(folder, fresh, folder, name) == 0)
		rv = 0;
out:
	if (file >= 0)
		close(file);
	if (folder >= 0)
		close(folder);
	return rv;
}

/* 0; or -1: this job has no lease that we know of. */
int leasefile_read(const struct conf *conf, uint32_t job_id, char *lease, size_t size, uint32_t *leader)
{
	char name[32], text[128];
	int folder = open_folder(conf, false), file = -1, rv = -1;
	ssize_t used;

	if (folder < 0 || name_of(job_id, "", name, sizeof(name)) < 0)
		goto out;
	file = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (file < 0)
		goto out;
	used = read(file, text, sizeof(text) - 1);
	if (used <= 0 || size < 65)
		goto out;
	text[used] = '\0';
	if (sscanf(text, "%64[0-9a-zA-Z-] %u", lease, leader) == 2)
		rv = 0;
out:
	if (file >= 0)
		close(file);
	if (folder >= 0)
		close(folder);
	return rv;
}

void leasefile_remove(const struct conf *conf, uint32_t job_id)
{
	int folder = open_folder(conf, false);
	char name[32];

	if (folder >= 0 && name_of(job_id, "", name, sizeof(name)) == 0)
		unlinkat(folder, name, 0);
	if (folder >= 0)
		close(folder);
}
