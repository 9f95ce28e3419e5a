/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The value of --qpu. Pure: it is fuzzed. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "qrmi.h"

#define NAME_RULE "use letters, digits, '_', '-' and '.', at most 128, the first one a letter, a digit or '_'"

static bool is_word(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

static bool is_letter(char c)
{
	return is_word(c) || c == '-' || c == '.';
}

static bool is_name(const char *text, size_t length)
{
	bool good = length >= 1 && length <= QRMI_NAME_MAX && is_word(text[0]);

	for (size_t at = 1; good && at < length; at++)
		good = is_letter(text[at]);
	return good;
}

/* What we quote may be anything: it must not drive the reader's terminal, nor fill the line. */
static void complain(char *why, size_t size, const char *text, size_t length, const char *cause)
{
	char shown[41];
	size_t most = length < sizeof(shown) - 1 ? length : sizeof(shown) - 1;

	for (size_t at = 0; at < most; at++)
		shown[at] = isprint((unsigned char) text[at]) ? text[at] : '?';
	shown[most] = '\0';
	line_make(why, size, "--qpu: '%s'%s %s", shown, most < length ? "..." : "", cause);
}

const char *wanted_alias(const struct wanted *wanted)
{
	return wanted->alias[0] ? wanted->alias : wanted->name;
}

/* Whether a lease on *held* gives what *wanted* asks for, by the same names. */
bool request_covers(const struct request *held, const struct request *wanted)
{
	size_t found = 0;

	for (size_t at = 0; at < wanted->count; at++) {
		const struct wanted *one = &wanted->items[at];

		for (size_t other = 0; other < held->count; other++) {
			const struct wanted *its = &held->items[other];

			found += strcmp(its->name, one->name) == 0 &&
				 strcmp(wanted_alias(its), wanted_alias(one)) == 0 &&
				 (its->exclusive || !one->exclusive);
		}
	}
	return found == wanted->count;		/* each name is in a request once */
}

/*
 * The next name of a list, or false at its end. The user chooses the separator (QRMI_LIST_DELIMITER), so whatever is no
 * character of a name is one.
 */
bool name_next(const char **list, char *name, size_t size)
{
	size_t length;

	do {
		while (**list && !is_word(**list))
			(*list)++;
		for (length = 0; is_letter((*list)[length]); length++)
			if (length < size)
				name[length] = (*list)[length];
		*list += length;
	} while (length >= size);		/* no name is so long */
	name[length] = '\0';
	return length > 0;
}

/* As a shell can spell it in a variable's name. */
void shell_name(const char *name, char *out, size_t size)
{
	size_t at = 0;

	for (; name[at] && at + 1 < size; at++)
		out[at] = is_word(name[at]) ? name[at] : '_';
	out[at] = '\0';
}

static int item_parse(const char *text, size_t length, struct wanted *item, char *why, size_t size)
{
	const char *equals = memchr(text, '=', length);
	const char *name = equals ? equals + 1 : text;
	size_t rest = length - (size_t) (name - text);
	const char *colon = memchr(name, ':', rest);
	size_t name_length = colon ? (size_t) (colon - name) : rest;
	int rv = -1;

	if (!length) {
		line_make(why, size, "--qpu: a name is empty: write --qpu=[alias=]name[:exclusive],...");
		goto out;
	}
	if (equals && !is_name(text, (size_t) (equals - text))) {
		complain(why, size, text, (size_t) (equals - text), "is no alias: " NAME_RULE);
		goto out;
	}
	if (!is_name(name, name_length)) {
		complain(why, size, name, name_length, "is no name: " NAME_RULE);
		goto out;
	}
	if (colon && (rest - name_length != 10 || memcmp(colon, ":exclusive", 10) != 0)) {
		complain(why, size, text, length, "has an unknown mode: there is only name:exclusive");
		goto out;
	}
	memcpy(item->name, name, name_length);
	if (equals)
		memcpy(item->alias, text, (size_t) (equals - text));
	item->exclusive = colon != NULL;
	rv = 0;
out:
	return rv;
}

/* Each resource once, and no two with the same variables. */
static int check_twins(const struct request *request, const struct wanted *item, char *why, size_t size)
{
	char mine[QRMI_NAME_MAX + 1], other[QRMI_NAME_MAX + 1];
	int rv = 0;

	shell_name(wanted_alias(item), mine, sizeof(mine));
	for (size_t at = 0; rv == 0 && at < request->count; at++) {
		const struct wanted *one = &request->items[at];

		shell_name(wanted_alias(one), other, sizeof(other));
		if (strcmp(one->name, item->name) == 0) {
			complain(why, size, item->name, strlen(item->name), "is named twice: name each resource once");
			rv = -1;
		} else if (strcmp(mine, other) == 0) {
			complain(why, size, mine, strlen(mine), "would stand for two resources: give one an alias");
			rv = -1;
		}
	}
	return rv;
}

/* 0, or -1 and in *why* one sentence. */
int request_parse(const char *text, struct request *request, char *why, size_t size)
{
	const char *end;
	int rv = -1;

	memset(request, 0, sizeof(*request));
	do {
		struct wanted *item = &request->items[request->count];

		end = strchr(text, ',');
		if (request->count == QRMI_WANTED_MAX) {
			line_make(why, size, "--qpu: more than %d resources: ask for fewer", QRMI_WANTED_MAX);
			goto out;
		}
		if (item_parse(text, end ? (size_t) (end - text) : strlen(text), item, why, size) < 0)
			goto out;
		if (check_twins(request, item, why, size) < 0)
			goto out;
		request->count++;
		text = end ? end + 1 : text;
	} while (end);
	rv = 0;
out:
	return rv;
}
