/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From --qpu to a lease: what is asked, how long it is waited for, and what it means when none comes. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <slurm/slurm.h>

#include "qrmi.h"

#define BODY_MAX 32768
#define ANSWER_MS 10000		/* the broker answers within 2 s; the rest is for a relay that must connect */
#define GRACE_MS 2000		/* so that the broker's own word on a busy resource comes before ours */
#define RELEASE_MS 2000
#define PAUSE_MS 100
#define UNNOTICED_MS 100	/* whose lease comes sooner was hardly cancelled meanwhile, and is not looked at again */
#define RESTART_MS 10000	/* so long nobody need be there at first */
#define OUTAGE_MS 15000		/* so long he may be away who was there */
#define FIRST_WORD_S 3		/* so that the broker's first word, which takes 2 s at most, is heard */

static const char cancelled[] = "the job was cancelled while it waited";

struct asking {
	const struct conf *conf;
	const struct request *request;
	struct lease *lease;
	uint32_t job_id;
	struct run run;
	int64_t deadline_ms;
	bool is_over;			/* the job is ending */
	int over_s;			/* since when */
	bool is_abandoned;		/* by us, while it may still be granted */
};

static void fail(struct asking *asking, const char *cause, const char *remedy)
{
	char names[80] = "";
	struct buffer to = { .text = names, .size = sizeof(names) };

	for (size_t at = 0; at < asking->request->count; at++)
		put(&to, "%s%s", at ? "," : "", asking->request->items[at].name);
	line_make(asking->lease->failure, QRMI_LINE_MAX + 1 - 6, "%s%s: %s: %s", names, to.full ? ",..." : "", cause,
		  remedy);
}

static void abandon(struct asking *asking, const char *cause, const char *remedy)
{
	asking->is_abandoned = true;
	fail(asking, cause, remedy);
}

static void put_list(struct buffer *body, const char *list)
{
	const char *separator = "";

	put(body, "[");
	for (const char *at = list, *end; *at; at = *end ? end + 1 : end) {
		char one[256];
		size_t length = strcspn(at, ",");

		end = at + length;
		if (length >= sizeof(one))
			continue;
		memcpy(one, at, length);
		one[length] = '\0';
		put(body, "%s", separator);
		put_json(body, one);
		separator = ",";
	}
	put(body, "]");
}

static void put_fact(struct buffer *body, const char *name, const char *value)
{
	if (*value) {
		put(body, ",\"%s\":", name);
		put_json(body, value);
	}
}

static void put_body(struct buffer *body, const struct asking *asking)
{
	const struct run *run = &asking->run;

	put(body, "{\"run\":{\"uid\":%u,\"job_id\":\"%u\",\"restart_count\":%u,\"start_time\":%lld", run->uid,
	    run->job_id, run->restart_count, run->start_time);
	put_fact(body, "cluster", run->cluster);
	put(body, "},\"resources\":[");
	for (size_t at = 0; at < asking->request->count; at++) {
		const struct wanted *one = &asking->request->items[at];

		put(body, "%s{\"exclusive\":%s,\"own\":%s,\"name\":", at ? "," : "", one->exclusive ? "true" : "false",
		    one->own ? "true" : "false");
		put_json(body, one->name);
		put_fact(body, "alias", one->alias);
		put(body, "}");
	}
	put(body, "],\"wait_s\":%d,\"facts\":{\"licences\":", asking->conf->timeout_s);
	put_list(body, run->licences);
	put_fact(body, "user", run->user);
	put_fact(body, "account", run->account);
	put_fact(body, "partition", run->partition);
	put_fact(body, "qos", run->qos);
	put_fact(body, "node", asking->conf->node);
	if (run->limit_s >= 0)
		put(body, ",\"time_limit_s\":%lld", run->limit_s);
	put(body, "}}");
}

/* Once in a second of waiting: whoever cancelled the job must not wait for us, and gets no lease. */
static int is_cancelled(void *arg)
{
	struct asking *asking = arg;
	struct run now;

	if (run_look(asking->job_id, &now) == 0)
		asking->is_over = run_is_over(&now) || now.restart_count != asking->run.restart_count;
	return asking->is_over;
}

/* The same while an answer is awaited. The first one names the lease, without which nobody could give it back. */
static int may_leave(void *arg)
{
	struct asking *asking = arg;

	return is_cancelled(asking) && (asking->lease->id[0] || asking->over_s++ >= FIRST_WORD_S);
}

/* False: the job is ending meanwhile. */
static bool wait_a_second(struct asking *asking)
{
	poll(NULL, 0, 1000);
	return !is_cancelled(asking);
}

/* The first try may hang until we are killed: its failure is written down before, for who then reads it. */
static bool load_run(struct asking *asking)
{
	static const char remedy[] = "submit again; if it lasts, tell the administrators";
	char why[QRMI_LINE_MAX];
	int rv;

	asking->lease->is_local_failure = true;
	fail(asking, "Slurm's controller does not answer", remedy);
	while ((rv = run_load(asking->job_id, &asking->run, why, sizeof(why))) < 0) {
		char cause[QRMI_LINE_MAX + 24];

		line_make(cause, sizeof(cause), "Slurm's controller: %s", why);
		fail(asking, cause, remedy);
		if (now_ms() >= asking->deadline_ms)
			break;
		poll(NULL, 0, 500);
	}
	if (rv == 0) {
		asking->lease->is_local_failure = false;
		asking->lease->failure[0] = '\0';
	}
	return rv == 0;
}

static void fail_broken(struct asking *asking, int error)
{
	char cause[160];

	asking->lease->is_local_failure = true;
	asking->is_abandoned = true;
	line_make(cause, sizeof(cause), "node %s: broker on %s: %s", asking->conf->node, asking->conf->admin_path,
		  error == ETIMEDOUT ? "no answer" : error == EPROTO ? "not our protocol" : strerror(error));
	fail(asking, cause, "submit again; if it lasts, tell the administrators");
}

/* One reply; true when it is the last. */
static bool take_reply(struct asking *asking, int error)
{
	struct lease *lease = asking->lease;
	struct reply *reply = &lease->reply;
	bool is_last = true;

	if (reply->lease[0] && !lease->id[0]) {
		memcpy(lease->id, reply->lease, sizeof(lease->id));
		if (leasefile_write(asking->conf, asking->job_id, lease->id, lease->leader) < 0)
			slurm_info("qrmi: job %u: %s: %s: the epilog will not know its lease", asking->job_id,
				   asking->conf->jobs_dir, strerror(errno));
	}
	if (asking->is_over)
		abandon(asking, cancelled, "nothing was started");
	else if (error == ETIMEDOUT && lease->id[0] && now_ms() >= asking->deadline_ms)
		is_last = false;
	else if (error)
		fail_broken(asking, error);
	else if (reply->state == STATE_PENDING)
		is_last = false;
	else if (reply->status == 404 && lease->id[0]) {	/* the broker was restarted: ask anew */
		lease->id[0] = '\0';
		poll(NULL, 0, PAUSE_MS);
		is_last = false;
	} else if (reply->state == STATE_GRANTED)
		lease->is_granted = true;
	else if (reply->state == STATE_RELEASED)	/* by another node of ours, or an administrator */
		fail(asking, "the request was withdrawn", "submit again");
	else if (reply->error[0])
		line_make(lease->failure, QRMI_LINE_MAX + 1 - 6, "%s", reply->error);
	else
		fail_broken(asking, EPROTO);
	return is_last;
}

/* A broker or relay that is restarted cuts connections and refuses them for a while. To ask twice is to ask once. */
static int ask(struct asking *asking, const char *method, const char *target, const char *body)
{
	int64_t since_ms = now_ms(), patience_ms = asking->lease->id[0] ? OUTAGE_MS : RESTART_MS;
	bool is_first = true;
	int error;

	do {
		struct reply *reply = &asking->lease->reply;
		int64_t answer_ms = now_ms() + ANSWER_MS;

		error = broker_ask(asking->conf->admin_path, method, target, body,
				   answer_ms < asking->deadline_ms ? answer_ms : asking->deadline_ms, may_leave,
				   asking, reply);
		if (!broker_is_lost(error, reply))
			break;
		if (error != ECONNREFUSED && error != ENOENT)
			patience_ms = OUTAGE_MS;
		if (is_first)
			since_ms = now_ms();
		is_first = false;
	} while (now_ms() < asking->deadline_ms && now_ms() - since_ms < patience_ms && wait_a_second(asking));
	return error;
}

static void converse(struct asking *asking, const char *body, bool is_batch)
{
	struct lease *lease = asking->lease;
	int64_t began_ms = now_ms();
	bool is_last = false;

	while (!is_last && now_ms() < asking->deadline_ms) {
		char target[128] = "/v1/leases";
		int length = 0, error;

		if (lease->id[0])
			length = snprintf(target, sizeof(target), "/v1/leases/%s", lease->id);
		else if (is_batch)	/* it ends with slurmstepd, whose child we are */
			length = snprintf(target, sizeof(target), "/v1/leases?watch=%d:%d", getpid(), getppid());
		error = length < 0 || (size_t) length >= sizeof(target) ? EMSGSIZE :
			ask(asking, lease->id[0] ? "GET" : "POST", target, lease->id[0] ? "" : body);
		is_last = take_reply(asking, error);
		if (!is_last && is_cancelled(asking))
			is_last = take_reply(asking, 0);
	}
	if (lease->is_granted && now_ms() - began_ms > UNNOTICED_MS && is_cancelled(asking)) {
		lease->is_granted = false;
		abandon(asking, cancelled, "nothing was started");
	} else if (!is_last) {
		char cause[80];

		line_make(cause, sizeof(cause), "not granted within %d s", asking->conf->timeout_s);
		abandon(asking, cause, "submit again later, or ask the administrators to raise timeout=");
	}
}

/* Fills *lease*: granted, with the reply to export, or not, with the line for the user. */
void lease_ask(const struct conf *conf, const struct request *request, uint32_t job_id, bool is_batch,
	       bool is_first, struct lease *lease)
{
	struct asking asking = {
		.conf = conf, .request = request, .lease = lease, .job_id = job_id,
		.deadline_ms = now_ms() + conf->timeout_s * 1000 + GRACE_MS,
	};
	struct buffer body = { .text = malloc(BODY_MAX), .size = BODY_MAX };

	if (!body.text) {
		fail(&asking, strerror(ENOMEM), "submit again");
	} else if (load_run(&asking)) {
		lease->leader = asking.run.job_id;
		put_body(&body, &asking);
		if (run_is_over(&asking.run))
			fail(&asking, cancelled, "nothing was started");
		else if (body.full)
			fail(&asking, "the request is too long", "ask for fewer resources");
		else
			converse(&asking, body.text, is_batch);
	}
	/* The lease of an earlier step stays; of several nodes that waited in vain, the first one says so. */
	if (asking.is_abandoned && lease->id[0] && is_first)
		broker_release(conf->admin_path, lease->id, 0, now_ms() + RELEASE_MS);
	free(body.text);
}
