/* SPDX-License-Identifier: MIT */
/*
 * test_client: calls every API of a host, checks every answer, and measures. What it prints was measured
 * in this run; what it counts as passed was compared.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "measure.h"

static const char usage[] =
	"Usage: test_client [OPTION]...\n"
	"Calls the echo, buffer test and perf test APIs of a host, checks and measures.\n\n"
	"  --transport URI   local: (a private host), local:PATH, vmbus:; default: whatever is there\n"
	"  --ring-size SIZE  bytes of ring data each way, 4K to 1M (default 64K)\n"
	"  --echo-only, --buffer-only, --perf-only\n"
	"  --quick           fewer calls, smaller buffers\n"
	"  --json            one JSON document instead of text\n"
	"  --help, --version\n";

struct client {
	struct winapi *handle;
	bool quick;
	bool json;
	unsigned int passed;
	unsigned int failed;
	json_t *checks;
	json_t *latency;
	json_t *throughput;
};

static void check(struct client *c, bool good, const char *name, int err)
{
	progress_end();
	c->passed += good;
	c->failed += !good;
	json_array_append_new(c->checks, json_pack("{s:s,s:b}", "name", name, "passed", good));
	if (!c->json)
		printf("  %-6s %s%s%s\n", good ? "ok" : "FAILED", name, err ? ": " : "",
		       err ? winapi_error_message() : "");
}

static void heading(const struct client *c, const char *text)
{
	if (!c->json)
		puts(text);
}

/* ---- Echo ---------------------------------------------------------------------------------------------- */

static void test_echo(struct client *c)
{
	static const uint32_t sizes[] = { 0, 1, 64, WINAPI_INLINE_MAX };
	uint8_t in[WINAPI_INLINE_MAX], out[WINAPI_INLINE_MAX];
	char name[64];

	heading(c, "Echo");
	for (unsigned int i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		int err;

		winapi_pattern_fill(in, sizeof(in), sizes[i] + 1);
		memset(out, 0, sizeof(out));
		err = winapi_echo(c->handle, in, out, sizes[i]);
		snprintf(name, sizeof(name), "%u bytes come back as they went", sizes[i]);
		check(c, !err && !memcmp(in, out, sizes[i]), name, err);
	}
}

/* ---- Buffers ------------------------------------------------------------------------------------------- */

struct shared {
	struct winapi_buffer_ref ref[WINAPI_BUFFERS_MAX];
	unsigned int count;
	uint64_t size;
};

static int share(struct client *c, struct shared *s, unsigned int count, uint64_t size)
{
	const uint32_t both = WINAPI_HOST_READS | WINAPI_HOST_WRITES;

	memset(s, 0, sizeof(*s));
	s->size = size;
	for (; s->count < count; s->count++) {
		int err = winapi_buffer_alloc(c->handle, size, both, &s->ref[s->count].buffer);

		if (err)
			return err;
		s->ref[s->count].length = size;
		s->ref[s->count].access = both;
	}
	return 0;
}

static void unshare_all(struct shared *s)
{
	while (s->count)
		winapi_buffer_free(s->ref[--s->count].buffer);
}

static uint8_t *data_of(const struct shared *s, unsigned int i)
{
	return winapi_buffer_data(s->ref[i].buffer);
}

static void test_write(struct client *c, struct shared *s, const char *what)
{
	char name[128];
	bool good;
	int err;

	progress_begin(what, 0);
	err = winapi_buffer_test_write(c->handle, s->ref, s->count, 42);
	good = !err;
	for (unsigned int i = 0; i < s->count && good; i++)
		good = winapi_pattern_verify(data_of(s, i), s->size, 42) == UINT64_MAX;
	snprintf(name, sizeof(name), "WRITE %s: the guest finds the host's pattern", what);
	check(c, good, name, err);
}

static void test_read(struct client *c, struct shared *s, const char *what)
{
	uint32_t crc[WINAPI_BUFFERS_MAX];
	char name[128];
	bool good;
	int err;

	progress_begin(what, 0);
	for (unsigned int i = 0; i < s->count; i++)
		winapi_pattern_fill(data_of(s, i), s->size, 1000 + i);
	err = winapi_buffer_test_read(c->handle, s->ref, s->count, crc);
	good = !err;
	for (unsigned int i = 0; i < s->count && good; i++)
		good = crc[i] == winapi_crc32c(data_of(s, i), s->size);
	snprintf(name, sizeof(name), "READ %s: the host's CRC32C is the guest's", what);
	check(c, good, name, err);
}

static void test_verify(struct client *c, struct shared *s, const char *what)
{
	uint64_t bad[WINAPI_BUFFERS_MAX], planted = s->size / 3;
	char name[128];
	bool good;
	int err;

	progress_begin(what, 0);
	for (unsigned int i = 0; i < s->count; i++)
		winapi_pattern_fill(data_of(s, i), s->size, 7);
	data_of(s, s->count - 1)[planted] ^= 1;
	err = winapi_buffer_test_verify(c->handle, s->ref, s->count, 7, bad);
	good = !err && bad[s->count - 1] == planted;
	for (unsigned int i = 0; i + 1 < s->count && good; i++)
		good = bad[i] == UINT64_MAX;
	snprintf(name, sizeof(name), "VERIFY %s: the host finds the wrong byte and no other", what);
	check(c, good, name, err);
}

static void test_buffers(struct client *c)
{
	static const uint64_t sizes[] = { 4 << 10, 64 << 10, 1 << 20, 64 << 20 };
	struct shared s;
	char what[48];

	heading(c, "Buffers");
	for (unsigned int i = 0; i < sizeof(sizes) / sizeof(sizes[0]) - c->quick; i++) {
		for (unsigned int count = 1; count <= WINAPI_BUFFERS_MAX; count += 7) {
			int err;

			snprintf(what, sizeof(what), "%u x %s", count, tool_size(sizes[i]));
			progress_begin(what, 0);
			err = share(c, &s, count, sizes[i]);
			if (err) {
				check(c, false, what, err);
			} else {
				test_write(c, &s, what);
				test_read(c, &s, what);
				test_verify(c, &s, what);
			}
			unshare_all(&s);
		}
	}
}

/* ---- Performance --------------------------------------------------------------------------------------- */

static void perf_latency(struct client *c)
{
	struct latency latency;
	int err = measure_latency(c->handle, 64, c->quick ? 10000 : 200000, &latency);

	heading(c, "Latency of a 64-byte echo");
	if (!c->json && !err)
		latency_print(&latency);
	check(c, !err, "every echo came back right", err);
	c->latency = latency_json(&latency);
	latency_free(&latency);
}

static void perf_throughput(struct client *c)
{
	const uint64_t most = c->quick ? 1 << 20 : 64 << 20;
	int err = 0;

	heading(c, "Throughput on shared buffers, measured by the host");
	if (!c->json)
		throughput_print_head();
	for (uint64_t size = 4 << 10; size <= most && !err; size *= 4) {
		struct throughput t;

		progress_begin("throughput", THROUGHPUT_STEPS);
		err = measure_throughput(c->handle, size, &t);
		progress_end();
		if (!err && !c->json)
			throughput_print(&t);
		if (!err)
			json_array_append_new(c->throughput, throughput_json(&t));
	}
	check(c, !err, "every pass ran", err);
}

/* ---- Main ---------------------------------------------------------------------------------------------- */

static void describe(const struct client *c, json_t *document)
{
	struct winapi_info info = { .size = sizeof(info) };

	if (winapi_get_info(c->handle, &info))
		exit(tool_fail(TOOL_FAILED, "%s", winapi_error_message()));
	json_object_set_new(document, "transport", json_string(info.transport));
	json_object_set_new(document, "provider", json_string(info.provider));
	json_object_set_new(document, "protocol", json_integer(info.protocol_version));
	json_object_set_new(document, "ring_size", json_integer(info.ring_size));
	if (!c->json)
		printf("Connected by %s to %s, protocol version %u, rings of %s, %u calls in flight at most\n",
		       info.transport, info.provider, info.protocol_version, tool_size(info.ring_size),
		       info.max_in_flight);
}

static int report(const struct client *c, json_t *document)
{
	if (c->json) {
		json_object_set(document, "checks", c->checks);
		if (c->latency)
			json_object_set(document, "latency", c->latency);
		json_object_set(document, "throughput", c->throughput);
		json_object_set_new(document, "passed", json_integer(c->passed));
		json_object_set_new(document, "failed", json_integer(c->failed));
		json_dumpf(document, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
		putchar('\n');
	} else {
		printf("%u checks passed, %u failed\n", c->passed, c->failed);
	}
	return c->failed ? TOOL_FAILED : TOOL_OK;
}

enum { ECHO_ONLY = 1, BUFFER_ONLY = 2, PERF_ONLY = 4 };

struct options {
	const char *uri;
	uint32_t ring_size;
	unsigned int only;
	bool quick;
	bool json;
};

static void parse(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = {
		{ "transport", required_argument, NULL, 't' },
		{ "ring-size", required_argument, NULL, 'r' },
		{ "echo-only", no_argument, NULL, 'e' },
		{ "buffer-only", no_argument, NULL, 'b' },
		{ "perf-only", no_argument, NULL, 'p' },
		{ "quick", no_argument, NULL, 'q' },
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'v' },
		{ 0 },
	};
	int option;

	while ((option = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (option) {
		case 't':
			o->uri = optarg;
			break;
		case 'r':
			o->ring_size = (uint32_t)tool_number("--ring-size", optarg, 4096, 1 << 20);
			break;
		case 'e':
			o->only |= ECHO_ONLY;
			break;
		case 'b':
			o->only |= BUFFER_ONLY;
			break;
		case 'p':
			o->only |= PERF_ONLY;
			break;
		case 'q':
			o->quick = true;
			break;
		case 'j':
			o->json = true;
			break;
		case 'h':
			fputs(usage, stdout);
			exit(TOOL_OK);
		case 'v':
			printf("test_client %s, libwinapi %s\n", WINAPI_VERSION, winapi_library_version());
			exit(TOOL_OK);
		default:
			exit(tool_fail(TOOL_USAGE, "see test_client --help"));
		}
	}
	if (optind < argc)
		exit(tool_fail(TOOL_USAGE, "\"%s\": no such argument; see test_client --help", argv[optind]));
	if (!o->only)
		o->only = ECHO_ONLY | BUFFER_ONLY | PERF_ONLY;
}

int main(int argc, char **argv)
{
	json_t *document = json_object();
	struct client c = { .checks = json_array(), .throughput = json_array() };
	struct options o = { 0 };
	int status;

	tool_begin("test_client");
	parse(argc, argv, &o);
	c.quick = o.quick;
	c.json = o.json;
	c.handle = tool_open(o.uri, o.ring_size, WINAPI_POLL_ADAPTIVE);
	describe(&c, document);
	if (o.only & ECHO_ONLY)
		test_echo(&c);
	if (o.only & BUFFER_ONLY)
		test_buffers(&c);
	if (o.only & PERF_ONLY) {
		perf_latency(&c);
		perf_throughput(&c);
	}
	winapi_close(c.handle);
	status = report(&c, document);
	json_decref(c.checks);
	json_decref(c.throughput);
	json_decref(c.latency);
	json_decref(document);
	return status;
}
