/* SPDX-License-Identifier: MIT */
/* Draws a run of `winapi perf` with gnuplot: latency by percentile beside throughput by size. */
#ifndef PLOT_H
#define PLOT_H

#include "measure.h"

/* Is gnuplot there? Asked before the measurement, so that it isn't in vain. */
bool plot_possible(void);
/* 0, or TOOL_FAILED after saying why. */
int plot_draw(const char *file, const struct latency *latency, const struct throughput *throughput,
	      unsigned int count);

#endif /* PLOT_H */
