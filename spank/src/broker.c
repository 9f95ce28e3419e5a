/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One request to the broker, or to the relay of this node. Nothing here waits longer than it was told. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "qrmi.h"

#define TICK_MS 1000
#define RETRY_MS 100
#define RESTART_MS 10000		/* a broker that is being restarted is waited for */

int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* 0 when *fd* is ready; else an errno: ETIMEDOUT, or ECANCELED where the tick said so. */
static int wait_for(int fd, short events, int64_t deadline_ms, tick_f tick, void *arg)
{
	int rv = ETIMEDOUT;

	for (int64_t left = deadline_ms - now_ms(); left > 0; left = deadline_ms - now_ms()) {
		struct pollfd one = { .fd = fd, .events = events };
		int ready = poll(&one, 1, (int) (left < TICK_MS ? left : TICK_MS));

		if (ready > 0 || (ready < 0 && errno != EINTR)) {
			rv = ready > 0 ? 0 : errno;
			break;
		}
		if (ready == 0 && tick && tick(arg)) {
			rv = ECANCELED;
			break;
		}
	}
	return rv;
}

static int open_socket(const char *path, int64_t deadline_ms, int *fd)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int rv;

	memcpy(address.sun_path, path, strlen(path) + 1);	/* conf_read has seen to its length */
	*fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	rv = *fd < 0 ? errno : 0;
	while (rv == 0 && connect(*fd, (struct sockaddr *) &address, sizeof(address)) < 0) {
		rv = errno;
		if ((rv == EAGAIN || rv == EINTR) && now_ms() < deadline_ms) {
			poll(NULL, 0, RETRY_MS);
			rv = 0;
		}
	}
	return rv;
}

static int send_all(int fd, const char *text, size_t size, int64_t deadline_ms)
{
	size_t sent = 0;
	int rv = 0;

	while (rv == 0 && sent < size) {
		ssize_t done = send(fd, text + sent, size - sent, MSG_NOSIGNAL);

		if (done >= 0)
			sent += (size_t) done;
		else if (errno == EAGAIN)
			rv = wait_for(fd, POLLOUT, deadline_ms, NULL, NULL);
		else if (errno != EINTR)
			rv = errno;
	}
	return rv;
}

/* The whole reply: the broker closes the connection at its end. */
static int receive_all(int fd, char *text, size_t size, size_t *used, int64_t deadline_ms, tick_f tick, void *arg)
{
	int rv = 0;

	*used = 0;
	while (rv == 0) {
		ssize_t done = recv(fd, text + *used, size - *used, 0);

		if (done == 0)
			break;
		if (done > 0)
			*used += (size_t) done;
		else if (errno == EAGAIN)
			rv = wait_for(fd, POLLIN, deadline_ms, tick, arg);
		else if (errno != EINTR)
			rv = errno;
		if (*used == size)
			rv = EMSGSIZE;
	}
	return rv;
}

/* HTTP/1.0: then no reply comes in chunks, and each ends with its connection. */
static int ask_once(int fd, const char *method, const char *target, const char *body, int64_t deadline_ms, tick_f tick,
		    void *arg, struct reply *reply)
{
	size_t used = 0;
	char head[512];
	int length, rv = EMSGSIZE;

	length = snprintf(head, sizeof(head),
			  "%s %s HTTP/1.0\r\nHost: qrmid\r\nAccept: text/plain\r\nContent-Length: %zu\r\n\r\n", method,
			  target, strlen(body));
	if (length < 0 || (size_t) length >= sizeof(head))
		goto out;
	rv = send_all(fd, head, (size_t) length, deadline_ms);
	if (rv == 0)
		rv = send_all(fd, body, strlen(body), deadline_ms);
	if (rv == 0 || rv == EPIPE)	/* who refuses early may have said why */
		rv = receive_all(fd, reply->text, QRMI_TEXT_MAX - 1, &used, deadline_ms, tick, arg);
	if (rv == 0 && used == 0)
		rv = ECONNRESET;
	else if (rv == 0 && reply_parse(reply->text, used, reply) < 0)
		rv = EPROTO;
out:
	return rv;
}

/*
 * Nobody is there, or he went away before he answered, as he does when he is restarted; or so says the relay of the broker.
 * What is about a resource or a lease has its name in front, not the broker's.
 */
bool broker_is_lost(int error, const struct reply *reply)
{
	bool is_unreached = reply->status == 503 && !reply->lease[0] && strncmp(reply->error, "qrmid: ", 7) == 0;

	return error == ECONNREFUSED || error == ENOENT || error == ECONNRESET || error == EPIPE ||
	       (error == 0 && is_unreached);
}

/* 0 and a reply in the text that the caller gave it, or an errno. */
int broker_ask(const char *path, const char *method, const char *target, const char *body, int64_t deadline_ms,
	       tick_f tick, void *arg, struct reply *reply)
{
	int fd = -1, rv;

	reply_clear(reply);
	rv = open_socket(path, deadline_ms, &fd);
	if (rv == 0)
		rv = ask_once(fd, method, target, body, deadline_ms, tick, arg, reply);
	if (fd >= 0)
		close(fd);
	return rv;
}

/* End a lease; with wait_s, see its lane free. Idempotent, also for a lease that is long over. */
int broker_release(const char *path, const char *lease, int wait_s, int64_t deadline_ms)
{
	struct { struct reply reply; char text[QRMI_TEXT_MAX]; } *own = calloc(1, sizeof(*own));
	struct reply *reply = own ? &own->reply : NULL;
	int64_t until_ms = now_ms() + RESTART_MS;
	char target[160];
	int length, rv = ENOMEM;

	if (until_ms > deadline_ms)
		until_ms = deadline_ms;
	length = snprintf(target, sizeof(target), "/v1/leases/%s?wait_s=%d", lease, wait_s);
	if (own && length > 0 && (size_t) length < sizeof(target)) {
		reply->text = own->text;
		while (broker_is_lost(rv = broker_ask(path, "DELETE", target, "", deadline_ms, NULL, NULL, reply), reply) &&
		       now_ms() < until_ms)
			poll(NULL, 0, RETRY_MS);
		if (rv == 0 && reply->status == 202 && wait_s > 0)
			rv = EBUSY;
		else if (rv == 0 && reply->status / 100 != 2)
			rv = EPROTO;
	}
	free(own);
	return rv;
}
