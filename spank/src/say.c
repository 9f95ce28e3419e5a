/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Words for the user, and words for the log. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "qrmi.h"

static bool is_verbose;

/* `srun -v` and more leave 4 or more in SRUN_DEBUG: then the user sees what else only slurmd's debug log has. */
void say_set_level(spank_t sp)
{
	char level[16] = "";

	is_verbose = spank_getenv(sp, "SRUN_DEBUG", level, sizeof(level)) == ESPANK_SUCCESS && atoi(level) >= 4;
}

void say_detail(const char *format, ...)
{
	char text[512];
	va_list args;

	va_start(args, format);
	if (vsnprintf(text, sizeof(text), format, args) < 0)
		text[0] = '\0';
	va_end(args);
	if (is_verbose)
		slurm_spank_log("qrmi: %s", text);
	else
		slurm_debug("qrmi: %s", text);
}

/* To the standard error of whoever runs us; the only place where a user reads. */
void line_write(const char *line)
{
	char text[QRMI_LINE_MAX + 2];
	ssize_t done;

	line_make(text, QRMI_LINE_MAX + 1, "qrmi: %s", line);
	text[strlen(text) + 1] = '\0';
	text[strlen(text)] = '\n';
	done = write(STDERR_FILENO, text, strlen(text));
	(void) done;	/* there is nobody else to tell */
}
