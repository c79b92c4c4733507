/* SPDX-License-Identifier: MIT */
#include "plot.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool plot_possible(void)
{
	return system("command -v gnuplot >/dev/null 2>&1") == 0;
}

/* In gnuplot's single quotes, where only a quote needs care. */
static void write_quoted(FILE *out, const char *text)
{
	fputc('\'', out);
	for (; *text; text++) {
		if (*text == '\'')
			fputc('\'', out);
		fputc(*text, out);
	}
	fputc('\'', out);
}

static void write_latency(FILE *out, const struct samples *s)
{
	fputs("$latency << EOD\n", out);
	for (unsigned int i = 0; i <= 1000; i++)
		fprintf(out, "%.1f %.3f\n", i / 10.0, (double)samples_at(s, i / 10.0) / 1e3);
	fputs("EOD\n", out);
}

static void write_throughput(FILE *out, const struct throughput *t, unsigned int count)
{
	fputs("$throughput << EOD\n", out);
	for (unsigned int i = 0; i < count; i++)
		fprintf(out, "%llu %.3f %.3f %.3f\n", (unsigned long long)t[i].size >> 10, t[i].read,
			t[i].write, t[i].copy);
	fputs("EOD\n", out);
}

int plot_draw(const char *file, const struct latency *latency, const struct throughput *throughput,
	      unsigned int count)
{
	FILE *out = popen("gnuplot", "we");

	if (!out)
		return tool_fail(TOOL_FAILED, "gnuplot can't be run: %s", strerror(errno));
	fputs("set terminal svg size 960,400 font 'sans,12' background 'white'\nset output ", out);
	write_quoted(out, file);
	fputc('\n', out);
	write_latency(out, &latency->round_trip);
	write_throughput(out, throughput, count);
	fputs("set multiplot layout 1,2\nset grid\nset logscale y\n"
	      "set title 'Round trip of an echo'\nset xlabel 'percentile'\nset ylabel 'microseconds'\nunset key\n"
	      "plot $latency using 1:2 with lines linewidth 2\n"
	      "unset logscale y\nset logscale x 2\nset key top right\n"
	      "set title 'Throughput on shared buffers'\nset xlabel 'buffer, KiB'\nset ylabel 'GB/s'\n"
	      "set yrange [0:*]\n"
	      "plot $throughput using 1:2 title 'host reads' with linespoints, "
	      "'' using 1:3 title 'host writes' with linespoints, "
	      "'' using 1:4 title 'host copies' with linespoints\n",
	      out);
	if (pclose(out))
		return tool_fail(TOOL_FAILED, "gnuplot couldn't draw %s", file);
	return TOOL_OK;
}
