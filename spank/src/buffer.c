/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Text that is written piece by piece into a place of fixed size. */
#include <stdarg.h>
#include <stdio.h>

#include "qrmi.h"

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
