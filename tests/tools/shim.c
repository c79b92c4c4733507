/* SPDX-License-Identifier: MIT */
/*
 * Preloaded into a tool, in front of libwinapi.
 *
 * TOOLS_HOLD names a function whose first call makes the file "held" in the directory TOOLS_HOLD_DIR and waits for the
 * file "go" there: so a test decides how long a call takes, and what becomes of the host meanwhile.
 * TOOLS_WRONG (write, read, verify) makes the results of a buffer test wrong, without an error.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "winapi.h"

static void hold(const char *function)
{
	const char *wanted = getenv("TOOLS_HOLD"), *folder = getenv("TOOLS_HOLD_DIR");
	static bool done;
	char path[512];

	if (done || !wanted || !folder || strcmp(wanted, function))
		return;
	done = true;
	snprintf(path, sizeof(path), "%s/held", folder);
	close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	snprintf(path, sizeof(path), "%s/go", folder);
	while (access(path, F_OK))
		usleep(2000);
}

static bool wrong(const char *method)
{
	const char *wanted = getenv("TOOLS_WRONG");

	return wanted && !strcmp(wanted, method);
}

/* The library's own, called after the wait. */
#define WRAP(function, parameters, arguments) \
	int function parameters \
	{ \
		int(*real) parameters = (int(*) parameters)dlsym(RTLD_NEXT, #function); \
\
		hold(#function); \
		return real arguments; \
	}

WRAP(winapi_open, (struct winapi * *h, const char *uri, const struct winapi_open_options *o), (h, uri, o))
WRAP(winapi_call, (struct winapi * h, struct winapi_call *call), (h, call))
WRAP(winapi_submit, (struct winapi * h, const struct winapi_call *calls, unsigned int n), (h, calls, n))
WRAP(winapi_echo, (struct winapi * h, const void *in, void *out, uint32_t size), (h, in, out, size))
WRAP(winapi_list_apis, (struct winapi * h, struct winapi_api_info *apis, unsigned int max), (h, apis, max))
WRAP(winapi_get_stats, (struct winapi * h, struct winapi_stats *stats), (h, stats))
WRAP(winapi_buffer_alloc, (struct winapi * h, size_t length, uint32_t access, struct winapi_buffer **b),
     (h, length, access, b))
WRAP(winapi_perf_throughput,
     (struct winapi * h, enum winapi_perf_mode mode, uint32_t passes, const struct winapi_buffer_ref *refs,
      unsigned int n, struct winapi_throughput *result),
     (h, mode, passes, refs, n, result))

int winapi_buffer_test_write(struct winapi *h, const struct winapi_buffer_ref *refs, unsigned int n,
			     uint64_t seed)
{
	int (*real)(struct winapi * h, const struct winapi_buffer_ref *refs, unsigned int n, uint64_t seed) =
		(__typeof__(real))dlsym(RTLD_NEXT, "winapi_buffer_test_write");

	hold("winapi_buffer_test_write");
	return real(h, refs, n, seed + wrong("write"));
}

int winapi_buffer_test_read(struct winapi *h, const struct winapi_buffer_ref *refs, unsigned int n,
			    uint32_t *crc)
{
	int (*real)(struct winapi * h, const struct winapi_buffer_ref *refs, unsigned int n, uint32_t *crc) =
		(__typeof__(real))dlsym(RTLD_NEXT, "winapi_buffer_test_read");
	int err;

	hold("winapi_buffer_test_read");
	err = real(h, refs, n, crc);
	crc[n - 1] ^= wrong("read");
	return err;
}

int winapi_buffer_test_verify(struct winapi *h, const struct winapi_buffer_ref *refs, unsigned int n,
			      uint64_t seed, uint64_t *bad)
{
	int (*real)(struct winapi * h, const struct winapi_buffer_ref *refs, unsigned int n, uint64_t seed,
		    uint64_t *bad) = (__typeof__(real))dlsym(RTLD_NEXT, "winapi_buffer_test_verify");
	int err;

	hold("winapi_buffer_test_verify");
	err = real(h, refs, n, seed, bad);
	bad[n - 1] += wrong("verify");
	return err;
}
