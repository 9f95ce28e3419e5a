/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of the plugin share. No vendor, no configuration file, no JSON that is read: see README.md. */
#ifndef QRMI_H
#define QRMI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <slurm/spank.h>

#define QRMI_NAME_MAX 128	/* of a resource or an alias, as the configuration allows */
#define QRMI_WANTED_MAX 32	/* resources in one --qpu */
#define QRMI_LINE_MAX 200	/* bytes of a line for the user */
#define QRMI_REPLY_MAX 65536	/* bytes of a reply's body */
#define QRMI_TEXT_MAX (QRMI_REPLY_MAX + 8192)	/* of a whole reply */
#define QRMI_VARS_MAX 1024	/* variables in a reply */
#define QRMI_OPTION_MAX (QRMI_WANTED_MAX * (2 * QRMI_NAME_MAX + 16))
#define QRMI_LIST_MAX 8192	/* names with separators */
#define QRMI_PATH_MAX 108	/* sun_path */
#define QRMI_EXIT 3		/* what a task ends with that is not started */

#define OPTION_LOCAL "SLURM_SPANK__SLURM_SPANK_OPTION_qrmi_qpu"
#define OPTION_REMOTE "_SLURM_SPANK_OPTION_qrmi_qpu"

/* option.c: --qpu=[alias=]name[:exclusive],... */
struct wanted {
	char name[QRMI_NAME_MAX + 1];
	char alias[QRMI_NAME_MAX + 1];	/* empty: its name */
	bool exclusive;
	bool own;			/* the user brings settings of his own: only the lane is wanted */
};

struct request {
	struct wanted items[QRMI_WANTED_MAX];
	size_t count;
};

int request_parse(const char *text, struct request *request, char *why, size_t size);
const char *wanted_alias(const struct wanted *wanted);
bool request_covers(const struct request *held, const struct request *wanted);
bool name_next(const char **list, char *name, size_t size);
void shell_name(const char *name, char *out, size_t size);

/* config.c: the words behind the plugin's path in plugstack.conf */
struct conf {
	char admin_path[QRMI_PATH_MAX];
	char public_path[QRMI_PATH_MAX];
	char jobs_dir[QRMI_PATH_MAX];
	char node[256];
	int timeout_s;
	int argc;
	char **argv;
};

int conf_read(spank_t sp, int argc, char **argv, struct conf *conf);
void conf_complain(int argc, char **argv);
void conf_export(spank_t sp, const struct conf *conf);

/* say.c */
void say_set_level(spank_t sp);
void say_detail(const char *format, ...) __attribute__((format(printf, 1, 2)));
void line_write(const char *line);

/* buffer.c: text that is written piece by piece; one that did not fit is remembered */
struct buffer {
	char *text;
	size_t size, used;
	bool full;
};

void line_make(char *out, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));
void put(struct buffer *to, const char *format, ...) __attribute__((format(printf, 2, 3)));
void put_json(struct buffer *to, const char *text);

/* reply.c: a reply of the broker, in lines */
enum state { STATE_NONE, STATE_PENDING, STATE_GRANTED, STATE_FAILED, STATE_RELEASED };

struct reply {
	int status;
	enum state state;
	char lease[65];
	char error[QRMI_LINE_MAX + 1];
	size_t vars;
	const char *names[QRMI_VARS_MAX];
	const char *values[QRMI_VARS_MAX];
	char warnings[1024];		/* lines */
	char *text;			/* QRMI_TEXT_MAX bytes of the caller's, into which the pointers point */
};

int reply_parse(char *text, size_t size, struct reply *reply);
const char *reply_value(const struct reply *reply, const char *name);
void reply_clear(struct reply *reply);

/* broker.c: one request on the admin socket, with a deadline */
typedef int (*tick_f)(void *arg);	/* called every second of waiting; nonzero ends it */

int64_t now_ms(void);
int broker_ask(const char *path, const char *method, const char *target, const char *body, int64_t deadline_ms,
	       tick_f tick, void *arg, struct reply *reply);
bool broker_is_lost(int error, const struct reply *reply);
int broker_release(const char *path, const char *lease, int wait_s, int64_t deadline_ms);

/* run.c: what Slurm itself says of a job */
struct run {
	uint32_t job_id;		/* the leader of a heterogeneous job */
	uint32_t het_offset;
	uint32_t restart_count;
	long long start_time;
	uint32_t uid;
	uint32_t state;
	long long limit_s;		/* < 0: none */
	char cluster[128], user[128], account[256], partition[128], qos[128], licences[4096];
};

int run_load(uint32_t job_id, struct run *run, char *why, size_t size);
int run_look(uint32_t job_id, struct run *run);
bool run_is_over(const struct run *run);

/* lease.c: from the request to the answer */
struct lease {
	char id[65];
	uint32_t leader;		/* whose run it is */
	bool is_granted;
	bool is_local_failure;		/* of this node alone: another node's tasks may well have started */
	char failure[QRMI_LINE_MAX + 1];
	struct reply reply;
	char text[QRMI_TEXT_MAX];	/* the reply's */
};

void lease_ask(const struct conf *conf, const struct request *request, uint32_t job_id, bool is_batch,
	       bool is_first, struct lease *lease);

/* helper.c: a child asks, so that Slurm prepares the step meanwhile */
struct lease *helper_start(const struct conf *conf, const struct request *request, uint32_t job_id, bool is_batch,
			   bool is_first);
bool helper_join(void);
bool helper_follow_parent(pid_t parent);

/* leasefile.c: <run dir>/jobs/<job id>, for root only, which tells the epilog what to release */
int leasefile_write(const struct conf *conf, uint32_t job_id, const char *lease, uint32_t leader);
int leasefile_read(const struct conf *conf, uint32_t job_id, char *lease, size_t size, uint32_t *leader);
void leasefile_remove(const struct conf *conf, uint32_t job_id);

/* jobenv.c: the variables of a job */
bool jobenv_has_any(spank_t sp);
bool jobenv_has_lease(spank_t sp, uint32_t job_id, const struct request *request);
void jobenv_find_own(spank_t sp, struct request *request);
int jobenv_export(spank_t sp, const struct reply *reply);
void jobenv_relocate(spank_t sp, const struct conf *conf);
void jobenv_hand_on(spank_t sp, const struct request *request);

/* one file per context */
void local_init(void);
void local_check(const char *option, bool is_given);
int remote_start(spank_t sp, int argc, char **argv, const char *option);
int remote_user(spank_t sp);
int remote_task(spank_t sp);
int remote_exit(spank_t sp);
int jobscript_epilog(spank_t sp, int argc, char **argv);

#endif
