/* SPDX-License-Identifier: MIT */
/*
 * Runs the conformance suite; prints TAP.
 * Usage: conformance [--transport URI] [--scale N] [--ring-size BYTES] [--filter TEXT] [--threads] [--list]
 */
#include <getopt.h>

#include "conformance.h"

static const struct test_case *const groups[] = { basic_cases, async_cases, buffer_cases, size_cases,
						  thread_cases };

const char *failure(const char *file, int line, const char *what)
{
	static char text[512];
	const char *name = strrchr(file, '/');

	snprintf(text, sizeof(text), "%s:%d: %s (last error: %s)", name ? name + 1 : file, line, what,
		 winapi_error_message());
	return text;
}

struct winapi *open_again(const struct context *c)
{
	struct winapi_open_options options = WINAPI_OPEN_OPTIONS_INIT;
	struct winapi *handle;

	options.ring_size = c->ring_size;
	return winapi_open(&handle, c->uri, &options) ? NULL : handle;
}

const char *long_call_init(struct long_call *l, struct winapi *handle)
{
	const uint64_t size = 16 << 20;

	memset(l, 0, sizeof(*l));
	EXPECT(winapi_buffer_alloc(handle, size, WINAPI_HOST_READS, &l->ref[0].buffer) == 0);
	for (unsigned int i = 0; i < WINAPI_BUFFERS_MAX; i++)
		l->ref[i] = (struct winapi_buffer_ref){ .buffer = l->ref[0].buffer,
							.length = size,
							.access = WINAPI_HOST_READS };
	l->request.op = WINAPI_PERF_READ;
	l->request.iterations = WINAPI_PERF_MAX_ITERATIONS;
	l->call = (struct winapi_call)WINAPI_CALL_INIT;
	l->call.api = WINAPI_API_PERF_TEST;
	l->call.method = WINAPI_PERF_TEST_THROUGHPUT;
	l->call.in = &l->request;
	l->call.in_size = sizeof(l->request);
	l->call.out = &l->reply;
	l->call.out_capacity = sizeof(l->reply);
	l->call.buffers = l->ref;
	l->call.buffer_count = WINAPI_BUFFERS_MAX;
	return NULL;
}

static const char *run_case(struct context *c, const struct test_case *t)
{
	const char *wrong;

	c->handle = open_again(c);
	if (!c->handle)
		return failure(__FILE__, __LINE__, "no connection");
	c->info = (struct winapi_info){ .size = sizeof(c->info) };
	wrong = winapi_get_info(c->handle, &c->info) ? failure(__FILE__, __LINE__, "no info") : t->run(c);
	winapi_close(c->handle); /* NULL when the case closed it */
	return wrong;
}

struct options {
	const char *filter;
	bool threads;
	bool list;
};

static bool wanted(const struct options *o, const struct test_case *t)
{
	return (!o->threads || t->threads) && (!o->filter || strstr(t->name, o->filter));
}

static void parse(int argc, char **argv, struct context *c, struct options *o)
{
	static const struct option longs[] = {
		{ "transport", required_argument, NULL, 't' },
		{ "scale", required_argument, NULL, 's' },
		{ "ring-size", required_argument, NULL, 'r' },
		{ "filter", required_argument, NULL, 'f' },
		{ "threads", no_argument, NULL, 'T' },
		{ "list", no_argument, NULL, 'l' },
		{ 0 },
	};
	int option;

	while ((option = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (option) {
		case 't':
			c->uri = optarg;
			break;
		case 's':
			c->scale = (unsigned int)strtoul(optarg, NULL, 10);
			break;
		case 'r':
			c->ring_size = (uint32_t)strtoul(optarg, NULL, 10);
			break;
		case 'f':
			o->filter = optarg;
			break;
		case 'T':
			o->threads = true;
			break;
		case 'l':
			o->list = true;
			break;
		default:
			exit(2);
		}
	}
	if (!c->scale)
		c->scale = 1;
}

int main(int argc, char **argv)
{
	struct context c = { .scale = 1 };
	struct options o = { 0 };
	unsigned int total = 0, n = 0, failed = 0;

	parse(argc, argv, &c, &o);
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (unsigned int g = 0; g < sizeof(groups) / sizeof(groups[0]); g++)
		for (const struct test_case *t = groups[g]; t->name; t++)
			total += wanted(&o, t);
	printf("1..%u\n", total);
	for (unsigned int g = 0; g < sizeof(groups) / sizeof(groups[0]); g++) {
		for (const struct test_case *t = groups[g]; t->name; t++) {
			const char *wrong;

			if (!wanted(&o, t))
				continue;
			wrong = o.list ? NULL : run_case(&c, t);
			failed += !!wrong;
			printf("%s %u - %s\n", wrong ? "not ok" : "ok", ++n, t->name);
			if (wrong)
				printf("# %s\n", wrong);
		}
	}
	return failed || !total ? 1 : 0;
}
