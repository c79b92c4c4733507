/* SPDX-License-Identifier: MIT */
/*
 * Runs the cases; prints TAP.
 * Usage: hostile_host HOSTD [TEXT]     (TEXT: only cases whose names contain it)
 */
#include <dirent.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hostile_host.h"

static const char *filter;
static unsigned int count, failed;

const char *failure(const char *file, int line, const char *what)
{
	static char text[512];
	const char *name = strrchr(file, '/');

	snprintf(text, sizeof(text), "%s:%d: %s (last error: %s)", name ? name + 1 : file, line, what,
		 winapi_error_message());
	return text;
}

void report(const char *name, const char *wrong)
{
	if (filter && !strstr(name, filter))
		return;
	failed += !!wrong;
	printf("%s %u - %s\n", wrong ? "not ok" : "ok", ++count, name);
	if (wrong)
		printf("# %s\n", wrong);
}

/* ---- Descriptors that were closed before: another thread of the application may have the number by then ------ */

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define CLOSE_IS_TAKEN /* it follows descriptors by a close() of its own */
#endif
#endif

#ifndef CLOSE_IS_TAKEN
static unsigned int bad_closes; /* atomic */

/* In front of the C library's, for libwinapi too. */
int close(int fd)
{
	int err = (int)syscall(SYS_close, fd);

	if (err && errno == EBADF)
		__atomic_fetch_add(&bad_closes, 1, __ATOMIC_RELAXED);
	return err;
}

static void report_closes(void)
{
	report("no descriptor is closed twice",
	       __atomic_load_n(&bad_closes, __ATOMIC_RELAXED) ? "close() of what wasn't open" : NULL);
}
#else
static void report_closes(void)
{
	printf("ok %u - no descriptor is closed twice # SKIP the race detector has a close() of its own\n",
	       ++count);
}
#endif

/* ---- What must not be left ------------------------------------------------------------------------------ */

static unsigned int descriptors(void)
{
	DIR *folder = opendir("/proc/self/fd");
	unsigned int n = 0;

	while (readdir(folder))
		n++;
	closedir(folder);
	return n;
}

/* Of the library's shared memory. */
static unsigned int mappings(void)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[512];
	unsigned int n = 0;

	while (fgets(line, sizeof(line), maps))
		n += !!strstr(line, "memfd:winapi");
	fclose(maps);
	return n;
}

/* ---- A case --------------------------------------------------------------------------------------------- */

static const char *run(const struct host_case *c, uint32_t poll)
{
	struct winapi_open_options options = WINAPI_OPEN_OPTIONS_INIT;
	struct fake_host *host = malloc(sizeof(*host));
	struct winapi *handle = NULL;
	const char *wrong = NULL;
	char uri[128];
	int err;

	options.poll = poll;
	options.timeout_ms = c->timeout_ms;
	options.ring_size = WINAPI_MIN_RING_DATA;
	if (!host || !fake_start(host, c->script, c->argument))
		return "no fake host";
	snprintf(uri, sizeof(uri), "local:%s", host->path);
	err = winapi_open(&handle, uri, &options);
	if (err != c->open) {
		printf("# winapi_open: %d, not %d\n", err, c->open);
		wrong = failure(__FILE__, __LINE__, "winapi_open returns what it should");
	} else if (err && (handle || !*winapi_error_message())) {
		wrong = failure(__FILE__, __LINE__, "a failed winapi_open gives a reason and no handle");
	} else if (!err && c->use) {
		wrong = c->use(handle, c);
	}
	winapi_close(handle);
	fake_end(host);
	free(host);
	return wrong;
}

void run_case(const struct host_case *c)
{
	static const struct {
		uint32_t poll;
		const char *name;
	} modes[] = { { WINAPI_POLL_ADAPTIVE, "" }, { WINAPI_POLL_NEVER, ", asleep" } };

	for (unsigned int i = 0; i < 2; i++) {
		unsigned int fds = descriptors(), maps = mappings();
		char name[200];
		const char *wrong;

		snprintf(name, sizeof(name), "%s%s", c->name, modes[i].name);
		if (filter && !strstr(name, filter))
			continue;
		wrong = run(c, modes[i].poll);
		if (!wrong && descriptors() != fds)
			wrong = "a descriptor is left";
		if (!wrong && mappings() != maps)
			wrong = "a mapping is left";
		report(name, wrong);
	}
}

int main(int argc, char **argv)
{
	if (argc < 2)
		return 2;
	filter = argc > 2 ? argv[2] : NULL;
	setvbuf(stdout, NULL, _IOLBF, 0);
	host_steps();
	host_words();
	host_records();
	host_replies();
	host_rings();
	host_waits();
	user_mistakes(argv[1]);
	report_closes();
	printf("1..%u\n", count);
	return failed || !count ? 1 : 0;
}
