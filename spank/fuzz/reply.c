/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Whatever answers on the socket: nothing is read or written outside, and what is taken has the form it should. */
#include <stdlib.h>
#include <string.h>

#include "qrmi.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool is_so)
{
	if (!is_so)
		abort();
}

static void check(const struct reply *reply)
{
	must(reply->vars <= QRMI_VARS_MAX && strlen(reply->error) <= QRMI_LINE_MAX);
	must(!strpbrk(reply->error, "\n\x1b") && !strpbrk(reply->lease, "/. \n"));
	for (size_t at = 0; at < reply->vars; at++)
		must(!strpbrk(reply->names[at], "=\n") && !strpbrk(reply->values[at], "\n"));
	must(!reply_value(reply, "no such\nname"));
}

/* The head is given, so that the fuzzer spends its time on the lines; every other input has none. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char head[] = "HTTP/1.1 200 OK\r\n\r\n";
	size_t before = size % 2 ? sizeof(head) - 1 : 0;
	struct reply reply = { 0 };

	reply.text = malloc(before + size + 1);
	must(reply.text != NULL);
	memcpy(reply.text, head, before);
	memcpy(reply.text + before, data, size);
	if (reply_parse(reply.text, before + size, &reply) == 0)
		check(&reply);
	free(reply.text);
	return 0;
}
