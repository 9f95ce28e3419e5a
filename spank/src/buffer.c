/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Text that is written into a place of fixed size. Pure: it is fuzzed with those who use it. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "qrmi.h"

/* One line that fits: what is longer is cut between two characters, and ends with "...". */
void line_make(char *out, size_t size, const char *format, ...)
{
	size_t most = size - 1;
	va_list args;
	int length;

	va_start(args, format);
	length = vsnprintf(out, size, format, args);
	va_end(args);
	if (length < 0)
		out[0] = '\0';
	if (length > (int) most) {
		size_t at = most - 3;

		while (at > 0 && ((unsigned char) out[at] & 0xc0) == 0x80)
			at--;
		memcpy(out + at, "...", 4);
	}
	for (char *c = out; *c; c++)
		if ((unsigned char) *c < ' ' || *c == 0x7f)
			*c = ' ';
}

void put(struct buffer *to, const char *format, ...)
{
	size_t left = to->size - to->used;
	va_list args;
	int length;

	va_start(args, format);
	length = vsnprintf(to->text + to->used, left, format, args);
	va_end(args);
	if (length < 0 || (size_t) length >= left)
		to->full = true;
	else
		to->used += (size_t) length;
}

/* A JSON string. Slurm's names may hold what must be escaped; bytes above ASCII are UTF-8 or refused by the broker. */
void put_json(struct buffer *to, const char *text)
{
	put(to, "\"");
	for (; *text; text++) {
		unsigned char c = (unsigned char) *text;

		if (c == '"' || c == '\\')
			put(to, "\\%c", c);
		else if (c < ' ' || c == 0x7f)
			put(to, "\\u%04x", c);
		else
			put(to, "%c", c);
	}
	put(to, "\"");
}
