/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A reply of the broker: HTTP, and in its body lines of the forms `lease ID`, `state STATE`, `NAME=VALUE`, `warn TEXT`,
 * `error TEXT`. Pure: it is fuzzed. Lines of other forms are passed over, so that a newer broker may say more.
 */
#include <stdio.h>
#include <string.h>

#include "qrmi.h"

static const char *after(const char *line, const char *word)
{
	size_t length = strlen(word);

	return strncmp(line, word, length) == 0 && line[length] == ' ' ? line + length + 1 : NULL;
}

static enum state state_of(const char *text)
{
	enum state found = STATE_NONE;

	if (strcmp(text, "pending") == 0)
		found = STATE_PENDING;
	else if (strcmp(text, "granted") == 0)
		found = STATE_GRANTED;
	else if (strcmp(text, "failed") == 0)
		found = STATE_FAILED;
	else if (strcmp(text, "released") == 0)
		found = STATE_RELEASED;
	return found;
}

/* It becomes part of a path and of a file: letters and digits only. */
static void take_lease(const char *text, struct reply *reply)
{
	size_t length = strspn(text, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-");

	if (length > 0 && length < sizeof(reply->lease) && !text[length])
		memcpy(reply->lease, text, length + 1);
}

static void take_warning(const char *text, struct reply *reply)
{
	size_t used = strlen(reply->warnings);
	int length = snprintf(reply->warnings + used, sizeof(reply->warnings) - used, "%s\n", text);

	if (length < 0 || (size_t) length >= sizeof(reply->warnings) - used)
		reply->warnings[used] = '\0';	/* whole lines only */
}

static void take_line(char *line, struct reply *reply)
{
	const char *text;
	char *equals;

	if ((text = after(line, "lease")))
		take_lease(text, reply);
	else if ((text = after(line, "state")))
		reply->state = state_of(text);
	else if ((text = after(line, "error")))
		line_make(reply->error, sizeof(reply->error), "%s", text);
	else if ((text = after(line, "warn")))
		take_warning(text, reply);
	else if ((equals = strchr(line, '=')) && reply->vars < QRMI_VARS_MAX) {
		*equals = '\0';
		reply->names[reply->vars] = line;
		reply->values[reply->vars++] = equals + 1;
	}
}

/*
 * *text* of *size* bytes, with a byte to spare behind them, is changed and pointed into. 0, or -1: this is no reply.
 */
int reply_parse(char *text, size_t size, struct reply *reply)
{
	char *body, *line, *rest;
	int rv = -1;

	text[size] = '\0';
	if (strlen(text) != size)	/* a zero byte would hide what follows */
		goto out;
	if (sscanf(text, "HTTP/1.%*1[01] %3d", &reply->status) != 1 || reply->status < 100)
		goto out;
	body = strstr(text, "\r\n\r\n");
	if (!body || strlen(body + 4) > QRMI_REPLY_MAX)
		goto out;
	for (line = body + 4; line && *line; line = rest) {
		rest = strchr(line, '\n');
		if (rest)
			*rest++ = '\0';
		take_line(line, reply);
	}
	rv = 0;
out:
	return rv;
}

const char *reply_value(const struct reply *reply, const char *name)
{
	const char *found = NULL;

	for (size_t at = 0; !found && at < reply->vars; at++)
		if (strcmp(reply->names[at], name) == 0)
			found = reply->values[at];
	return found;
}

/* There is a token in it. */
void reply_clear(struct reply *reply)
{
	char *text = reply->text;

	if (text)
		explicit_bzero(text, QRMI_TEXT_MAX);
	memset(reply, 0, sizeof(*reply));
	reply->text = text;
}
