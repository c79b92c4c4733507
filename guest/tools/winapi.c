/* SPDX-License-Identifier: MIT */
/* winapi: one host, looked at, called and measured from the command line. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "plot.h"

static const char usage[] =
	"Usage: winapi COMMAND [OPTION]...\n\n"
	"  info               the host: versions, limits, APIs\n"
	"  echo TEXT|-        TEXT, or standard input, there and back\n"
	"  buffer             the buffer test on shared memory\n"
	"  perf               latency and throughput\n"
	"  stat               counters of this connection and of the host\n\n"
	"Options of all commands:\n"
	"  --transport URI    local: (a private host), local:PATH, vmbus:; default: whatever is there\n"
	"  --ring-size SIZE   bytes of ring data each way, 4K to 1M (default 64K)\n"
	"  --poll MODE        adaptive, always or never\n"
	"  --json             one JSON document instead of text\n"
	"  --help, --version\n\n"
	"echo:    --count N\n"
	"buffer:  --size SIZE --count N (buffers) --method read|write|verify|all\n"
	"perf:    --calls N --size BYTES --in-flight N --plot FILE.svg\n"
	"stat:    --watch SECONDS\n\n"
	"Sizes take K, M or G. Exit status: 0 fine, 1 a call or check failed, 2 usage, 3 no host.\n";

struct options {
	const char *uri;
	uint32_t ring_size;
	uint32_t poll;
	bool json;
	uint64_t count;
	uint64_t size;
	uint64_t calls;
	uint64_t in_flight;
	uint64_t watch;
	const char *method;
	const char *plot;
};

static int call_failed(void)
{
	return tool_fail(TOOL_FAILED, "%s", winapi_error_message());
}

static void print_json(json_t *document)
{
	json_dumpf(document, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
	putchar('\n');
	json_decref(document);
}

static struct winapi *open_host(const struct options *o)
{
	return tool_open(o->uri, o->ring_size, o->poll);
}

/* ---- info ---------------------------------------------------------------------------------------------- */

#define MAX_APIS 64

static json_t *info_json(const struct winapi_info *i)
{
	return json_pack("{s:s,s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "transport", i->transport,
			 "provider", i->provider, "protocol", (json_int_t)i->protocol_version, "features",
			 (json_int_t)i->features, "ring_size", (json_int_t)i->ring_size, "max_in_flight",
			 (json_int_t)i->max_in_flight, "max_inline", (json_int_t)i->max_inline,
			 "max_buffers_per_call", (json_int_t)i->max_buffers_per_call, "max_batch",
			 (json_int_t)i->max_batch, "max_buffers", (json_int_t)i->max_buffers,
			 "max_buffer_size", (json_int_t)i->max_buffer_size, "max_bytes",
			 (json_int_t)i->max_bytes);
}

static json_t *apis_json(const struct winapi_api_info *apis, int count)
{
	json_t *list = json_array();

	for (int i = 0; i < count; i++)
		json_array_append_new(list,
				      json_pack("{s:I,s:s,s:I,s:I,s:I,s:I,s:I}", "id", (json_int_t)apis[i].id,
						"name", apis[i].name, "version", (json_int_t)apis[i].version,
						"calls", (json_int_t)apis[i].calls, "errors",
						(json_int_t)apis[i].errors, "bytes",
						(json_int_t)apis[i].bytes, "host_ns",
						(json_int_t)apis[i].host_ns));
	return list;
}

static void info_print(const struct winapi_info *i)
{
	printf("transport        %s\nprovider         %s\nprotocol         version %u\nfeatures         %s%s%s\n",
	       i->transport, i->provider, i->protocol_version, i->features & 1 ? "batch " : "",
	       i->features & 2 ? "cancel " : "", i->features & 4 ? "gpa-direct" : "");
	printf("rings            %s each way\ncalls in flight  %u\ninline           %u bytes\n",
	       tool_size(i->ring_size), i->max_in_flight, i->max_inline);
	printf("buffers          %u in a call, %u registered, %s each, %s together\n",
	       i->max_buffers_per_call, i->max_buffers, tool_size(i->max_buffer_size),
	       tool_size(i->max_bytes));
	if (i->flags & WINAPI_INFO_BOUNCES)
		puts("application memory is copied on this transport; winapi_buffer_alloc memory is shared");
}

static void apis_print(const struct winapi_api_info *apis, int count)
{
	puts("\n  id  version  calls       errors    bytes             host time   name");
	for (int i = 0; i < count; i++)
		printf("  %-3u %-8u %-11llu %-9llu %-17llu %-11s %s\n", apis[i].id, apis[i].version,
		       (unsigned long long)apis[i].calls, (unsigned long long)apis[i].errors,
		       (unsigned long long)apis[i].bytes, tool_duration((double)apis[i].host_ns),
		       apis[i].name);
}

static int list(struct winapi *handle, struct winapi_api_info *apis)
{
	int count = winapi_list_apis(handle, apis, MAX_APIS);

	return count < MAX_APIS ? count : MAX_APIS;
}

static int command_info(const struct options *o)
{
	struct winapi *handle = open_host(o);
	struct winapi_info info = { .size = sizeof(info) };
	struct winapi_api_info apis[MAX_APIS];
	int count = winapi_get_info(handle, &info) ? -1 : list(handle, apis);

	if (count < 0)
		return call_failed();
	if (o->json) {
		json_t *document = info_json(&info);

		json_object_set_new(document, "apis", apis_json(apis, count));
		print_json(document);
	} else {
		info_print(&info);
		apis_print(apis, count);
	}
	winapi_close(handle);
	return TOOL_OK;
}

/* ---- echo ---------------------------------------------------------------------------------------------- */

static size_t read_all(char *data, size_t room)
{
	size_t got = fread(data, 1, room, stdin);

	if (got == room && getc(stdin) != EOF)
		exit(tool_fail(TOOL_USAGE, "standard input is longer than the %zu bytes of a call", room));
	if (ferror(stdin))
		exit(tool_fail(TOOL_FAILED, "standard input: %s", strerror(errno)));
	return got;
}

static int command_echo(const struct options *o, const char *text)
{
	char in[WINAPI_INLINE_MAX], out[WINAPI_INLINE_MAX];
	struct winapi *handle;
	size_t size = strlen(text);

	if (!strcmp(text, "-"))
		size = read_all(in, sizeof(in));
	else if (size > sizeof(in))
		return tool_fail(TOOL_USAGE, "the text is longer than the %zu bytes of a call", sizeof(in));
	else
		memcpy(in, text, size);
	handle = open_host(o);
	progress_begin("echoes", o->count);
	for (uint64_t i = 0; i < o->count; i++) {
		if (winapi_echo(handle, in, out, (uint32_t)size))
			return call_failed();
		if (memcmp(in, out, size))
			return tool_fail(TOOL_FAILED, "the echo came back with other bytes");
		progress_update(i + 1);
	}
	progress_end();
	if (o->json)
		print_json(json_pack("{s:I,s:I}", "bytes", (json_int_t)size, "count", (json_int_t)o->count));
	else
		printf("%.*s%s", (int)size, out, size && out[size - 1] == '\n' ? "" : "\n");
	winapi_close(handle);
	return TOOL_OK;
}

/* ---- buffer -------------------------------------------------------------------------------------------- */

struct buffers {
	struct winapi_buffer_ref ref[WINAPI_BUFFERS_MAX];
	unsigned int count;
	uint64_t size;
};

/*
 * Each returns NULL when all is right, else what isn't. Progress counts buffers: those that the guest has passed over,
 * and those of the host's call.
 */
static const char *buffer_write(struct winapi *handle, struct buffers *b)
{
	progress_begin("write", 2 * b->count);
	if (winapi_buffer_test_write(handle, b->ref, b->count, 1))
		return winapi_error_message();
	progress_add(b->count);
	for (unsigned int i = 0; i < b->count; i++, progress_add(1))
		if (winapi_pattern_verify(winapi_buffer_data(b->ref[i].buffer), b->size, 1) != UINT64_MAX)
			return "the guest finds other bytes than the host's pattern";
	return NULL;
}

static const char *buffer_read(struct winapi *handle, struct buffers *b)
{
	uint32_t crc[WINAPI_BUFFERS_MAX];

	progress_begin("read", 3 * b->count);
	for (unsigned int i = 0; i < b->count; i++, progress_add(1))
		winapi_pattern_fill(winapi_buffer_data(b->ref[i].buffer), b->size, i);
	if (winapi_buffer_test_read(handle, b->ref, b->count, crc))
		return winapi_error_message();
	progress_add(b->count);
	for (unsigned int i = 0; i < b->count; i++, progress_add(1))
		if (crc[i] != winapi_crc32c(winapi_buffer_data(b->ref[i].buffer), b->size))
			return "the host's checksum isn't the guest's";
	return NULL;
}

static const char *buffer_verify(struct winapi *handle, struct buffers *b)
{
	uint64_t bad[WINAPI_BUFFERS_MAX];

	progress_begin("verify", 2 * b->count);
	for (unsigned int i = 0; i < b->count; i++, progress_add(1)) {
		uint8_t *data = winapi_buffer_data(b->ref[i].buffer);

		winapi_pattern_fill(data, b->size, 3);
		data[b->size / 2] ^= 0x10;
	}
	if (winapi_buffer_test_verify(handle, b->ref, b->count, 3, bad))
		return winapi_error_message();
	for (unsigned int i = 0; i < b->count; i++)
		if (bad[i] != b->size / 2)
			return "the host doesn't find the one wrong byte";
	return NULL;
}

static int buffer_run(const struct options *o, struct winapi *handle, struct buffers *b, const char *name,
		      const char *(*run)(struct winapi *handle, struct buffers *b), json_t *document)
{
	uint64_t begin, end;
	const char *wrong;

	if (strcmp(o->method, "all") && strcmp(o->method, name))
		return TOOL_OK;
	begin = tool_clock_ns();
	wrong = run(handle, b);
	end = tool_clock_ns();
	progress_end();
	json_object_set_new(document, name, json_boolean(!wrong));
	if (!o->json)
		printf("%-7s %u x %s: %s in %s, with the guest's own work\n", name, b->count,
		       tool_size(b->size), wrong ? "WRONG" : "right", tool_duration((double)(end - begin)));
	return wrong ? tool_fail(TOOL_FAILED, "%s: %s", name, wrong) : TOOL_OK;
}

static int buffer_share(struct winapi *handle, struct buffers *b, unsigned int count)
{
	const uint32_t both = WINAPI_HOST_READS | WINAPI_HOST_WRITES;

	progress_begin("sharing", count);
	for (; b->count < count; b->count++, progress_add(1)) {
		if (winapi_buffer_alloc(handle, b->size, both, &b->ref[b->count].buffer))
			return call_failed();
		b->ref[b->count].length = b->size;
		b->ref[b->count].access = both;
	}
	progress_end();
	return TOOL_OK;
}

static int command_buffer(const struct options *o)
{
	json_t *document;
	struct winapi *handle;
	struct buffers b = { .size = o->size ? o->size : 1 << 20 };
	int status;

	if (strcmp(o->method, "all") && strcmp(o->method, "read") && strcmp(o->method, "write") &&
	    strcmp(o->method, "verify"))
		return tool_fail(TOOL_USAGE, "--method takes read, write, verify or all, not \"%s\"",
				 o->method);
	if (o->count > WINAPI_BUFFERS_MAX || b.size > WINAPI_BUFFER_SIZE_MAX)
		return tool_fail(TOOL_USAGE, "at most %u buffers of at most 64 MiB", WINAPI_BUFFERS_MAX);
	handle = open_host(o);
	status = buffer_share(handle, &b, (unsigned int)o->count);
	if (status)
		return status;
	document = json_object();
	status = buffer_run(o, handle, &b, "write", buffer_write, document);
	status |= buffer_run(o, handle, &b, "read", buffer_read, document);
	status |= buffer_run(o, handle, &b, "verify", buffer_verify, document);
	winapi_close(handle);
	if (o->json)
		print_json(document);
	else
		json_decref(document);
	return status;
}

/* ---- perf ---------------------------------------------------------------------------------------------- */

#define SIZES 8

static int command_perf(const struct options *o)
{
	struct throughput throughput[SIZES];
	struct latency latency;
	struct winapi *handle;
	json_t *sizes = json_array();
	uint32_t bytes = o->size ? (uint32_t)o->size : 64;
	int err, status = TOOL_OK;

	if (o->size > WINAPI_INLINE_MAX)
		return tool_fail(TOOL_USAGE, "--size is at most %u bytes here", WINAPI_INLINE_MAX);
	if (o->plot && !plot_possible())
		return tool_fail(TOOL_USAGE, "--plot needs gnuplot: apt-get install gnuplot-nox");
	handle = open_host(o);
	err = o->in_flight > 1 ?
		      measure_in_flight(handle, bytes, o->calls, (uint32_t)o->in_flight, &latency) :
		      measure_latency(handle, bytes, o->calls, &latency);
	/* How a submitted call ends is its completion's to say, not the library's last error. */
	if (err)
		return tool_fail(TOOL_FAILED, "%s",
				 err == -EILSEQ	  ? "an echo came back with other bytes" :
				 o->in_flight > 1 ? winapi_strerror(err) :
						    winapi_error_message());
	progress_begin("throughput", SIZES * THROUGHPUT_STEPS);
	for (unsigned int i = 0; i < SIZES; i++) {
		if (measure_throughput(handle, 4096ull << 2 * i, &throughput[i]))
			return call_failed();
		json_array_append_new(sizes, throughput_json(&throughput[i]));
	}
	progress_end();
	winapi_close(handle);
	if (o->json) {
		print_json(json_pack("{s:I,s:I,s:o,s:o}", "bytes", (json_int_t)bytes, "in_flight",
				     (json_int_t)o->in_flight, "latency", latency_json(&latency),
				     "throughput", sizes));
	} else {
		printf("Echo of %u bytes, %llu in flight\n", bytes, (unsigned long long)o->in_flight);
		latency_print(&latency);
		latency_print_histogram(&latency);
		puts("Shared buffers, measured by the host");
		throughput_print_head();
		for (unsigned int i = 0; i < SIZES; i++)
			throughput_print(&throughput[i]);
	}
	if (o->plot)
		status = plot_draw(o->plot, &latency, throughput, SIZES);
	latency_free(&latency);
	return status;
}

/* ---- stat ---------------------------------------------------------------------------------------------- */

static const struct counter {
	const char *name;
	size_t at;
} counters[] = {
/* clang-format off */
#define COUNTER(member) { #member, offsetof(struct winapi_stats, member) }
	/* clang-format on */
	COUNTER(calls),
	COUNTER(replies),
	COUNTER(bad_replies),
	COUNTER(timeouts),
	COUNTER(signals_sent),
	COUNTER(sleeps),
	COUNTER(bytes_bounced),
	COUNTER(buffers),
	COUNTER(buffer_bytes),
	COUNTER(host_requests),
	COUNTER(host_replies),
	COUNTER(host_errors),
	COUNTER(host_in_flight),
	COUNTER(host_replies_queued),
	COUNTER(host_buffers),
	COUNTER(host_bytes),
	COUNTER(host_bytes_copied),
	COUNTER(provider_channels),
	COUNTER(provider_sessions),
	COUNTER(provider_buffers),
	COUNTER(provider_bytes),
#undef COUNTER
};

static int stat_once(const struct options *o, struct winapi *handle)
{
	struct winapi_stats stats = { .size = sizeof(stats) };
	struct winapi_api_info apis[MAX_APIS];
	json_t *document = json_object();
	int count = winapi_get_stats(handle, &stats) ? -1 : list(handle, apis);

	if (count < 0)
		return call_failed();
	for (unsigned int i = 0; i < sizeof(counters) / sizeof(counters[0]); i++) {
		uint64_t value;

		memcpy(&value, (const char *)&stats + counters[i].at, sizeof(value));
		if (o->json)
			json_object_set_new(document, counters[i].name, json_integer((json_int_t)value));
		else
			printf("%-20s %llu\n", counters[i].name, (unsigned long long)value);
	}
	if (o->json) {
		json_object_set_new(document, "apis", apis_json(apis, count));
		print_json(document);
	} else {
		apis_print(apis, count);
		json_decref(document);
	}
	return tool_flush();
}

static int command_stat(const struct options *o)
{
	struct winapi *handle = open_host(o);
	int status = stat_once(o, handle);

	while (o->watch && status == TOOL_OK) {
		sleep((unsigned int)o->watch);
		putchar('\n');
		status = stat_once(o, handle);
	}
	winapi_close(handle);
	return status;
}

/* ---- Main ---------------------------------------------------------------------------------------------- */

static uint32_t parse_poll(const char *text)
{
	static const char *const modes[] = { "adaptive", "always", "never" };

	for (uint32_t i = 0; i < 3; i++)
		if (!strcmp(modes[i], text))
			return i;
	exit(tool_fail(TOOL_USAGE, "--poll takes adaptive, always or never, not \"%s\"", text));
}

static void parse(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = {
		{ "transport", required_argument, NULL, 't' }, { "ring-size", required_argument, NULL, 'r' },
		{ "poll", required_argument, NULL, 'o' },      { "json", no_argument, NULL, 'j' },
		{ "count", required_argument, NULL, 'n' },     { "size", required_argument, NULL, 's' },
		{ "method", required_argument, NULL, 'm' },    { "calls", required_argument, NULL, 'c' },
		{ "in-flight", required_argument, NULL, 'f' }, { "plot", required_argument, NULL, 'p' },
		{ "watch", required_argument, NULL, 'w' },     { "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'v' },	       { 0 },
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
		case 'o':
			o->poll = parse_poll(optarg);
			break;
		case 'j':
			o->json = true;
			break;
		case 'n':
			o->count = tool_number("--count", optarg, 1, UINT32_MAX);
			break;
		case 's':
			o->size = tool_number("--size", optarg, 1, 64 << 20);
			break;
		case 'm':
			o->method = optarg;
			break;
		case 'c':
			o->calls = tool_number("--calls", optarg, 1, 100000000);
			break;
		case 'f':
			o->in_flight = tool_number("--in-flight", optarg, 1, 4096);
			break;
		case 'p':
			o->plot = optarg;
			break;
		case 'w':
			o->watch = tool_number("--watch", optarg, 1, 86400);
			break;
		case 'h':
			fputs(usage, stdout);
			exit(TOOL_OK);
		case 'v':
			printf("winapi %s, libwinapi %s\n", WINAPI_VERSION, winapi_library_version());
			exit(TOOL_OK);
		default:
			exit(tool_fail(TOOL_USAGE, "see winapi --help"));
		}
	}
}

int main(int argc, char **argv)
{
	struct options o = { .count = 1, .calls = 100000, .in_flight = 1, .method = "all" };
	const char *command, *argument = NULL;
	int extra;

	tool_begin("winapi");
	parse(argc, argv, &o);
	if (optind == argc)
		return tool_fail(TOOL_USAGE, "which command? See winapi --help");
	command = argv[optind];
	extra = argc - optind - 1;
	if (!strcmp(command, "echo") && extra == 1) {
		argument = argv[optind + 1];
		extra = 0;
	}
	if (extra)
		return tool_fail(TOOL_USAGE, "\"%s\": one argument too many; see winapi --help",
				 argv[argc - 1]);
	if (!strcmp(command, "info"))
		return command_info(&o);
	if (!strcmp(command, "echo"))
		return argument ? command_echo(&o, argument) :
				  tool_fail(TOOL_USAGE, "echo what? TEXT, or - for standard input");
	if (!strcmp(command, "buffer"))
		return command_buffer(&o);
	if (!strcmp(command, "perf"))
		return command_perf(&o);
	if (!strcmp(command, "stat"))
		return command_stat(&o);
	return tool_fail(TOOL_USAGE, "\"%s\" is no command; see winapi --help", command);
}
