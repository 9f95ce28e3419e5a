/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Any text behind --qpu= is parsed into names that can stand in a variable, or refused in one printable line. */
#include <stdlib.h>
#include <string.h>

#include "qrmi.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool is_so)
{
	if (!is_so)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1), why[QRMI_LINE_MAX + 1] = "";
	struct request request;

	must(text != NULL);
	memcpy(text, data, size);
	text[size] = '\0';
	if (request_parse(text, &request, why, sizeof(why)) == 0) {
		must(request.count >= 1 && request.count <= QRMI_WANTED_MAX);
		for (size_t at = 0; at < request.count; at++) {
			char shell[QRMI_NAME_MAX + 1];

			must(request.items[at].name[0] && !strpbrk(request.items[at].name, "=/ ,:\n"));
			shell_name(wanted_alias(&request.items[at]), shell, sizeof(shell));
			must(strlen(shell) == strlen(wanted_alias(&request.items[at])) && !strpbrk(shell, "-.="));
		}
	} else {
		must(why[0] && !strpbrk(why, "\n\r\x1b"));
	}
	free(text);
	return 0;
}
