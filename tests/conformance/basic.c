/* SPDX-License-Identifier: MIT */
/* Opening, introspection, echo, errors, timeouts, batches, fork, statistics. */
#include <errno.h>
#include <sys/wait.h>
#include <unistd.h>

#include "conformance.h"

static const char *info_is_sane(struct context *c)
{
	EXPECT(c->info.protocol_version == 1);
	EXPECT(c->info.transport[0] && c->info.provider[0]);
	EXPECT(c->info.ring_size >= 4096 && c->info.ring_size % 4096 == 0);
	EXPECT(!c->ring_size || c->info.ring_size == c->ring_size);
	EXPECT(c->info.max_in_flight >= 1 && c->info.max_inline == WINAPI_INLINE_MAX);
	EXPECT(c->info.max_buffers_per_call == WINAPI_BUFFERS_MAX);
	EXPECT(c->info.max_buffer_size == WINAPI_BUFFER_SIZE_MAX);
	return NULL;
}

static const char *apis_are_listed(struct context *c)
{
	static const uint32_t ids[] = { WINAPI_API_INTROSPECTION, WINAPI_API_ECHO, WINAPI_API_BUFFER_TEST,
					WINAPI_API_PERF_TEST };
	struct winapi_api_info apis[16];
	int n = winapi_list_apis(c->handle, apis, 16);

	EXPECT(n >= 4);
	for (int i = 0; i < 4; i++)
		EXPECT(apis[i].id == ids[i] && apis[i].name[0] && apis[i].version >= 1 &&
		       apis[i].methods >= 1);
	EXPECT(winapi_list_apis(c->handle, apis, 1) == n);
	EXPECT(winapi_list_apis(c->handle, NULL, 0) == n);
	return NULL;
}

static const char *echo_returns_every_size(struct context *c)
{
	uint8_t in[WINAPI_INLINE_MAX], out[WINAPI_INLINE_MAX + 1];
	uint32_t step = c->scale > 1 ? c->scale : 1;

	for (uint32_t size = 0; size <= WINAPI_INLINE_MAX; size += size < 128 ? 1 : step) {
		winapi_pattern_fill(in, sizeof(in), size);
		memset(out, 0xee, sizeof(out));
		EXPECT(winapi_echo(c->handle, in, out, size) == 0);
		EXPECT(!memcmp(in, out, size) && out[size] == 0xee);
	}
	EXPECT(winapi_echo(c->handle, in, out, WINAPI_INLINE_MAX) == 0 &&
	       !memcmp(in, out, WINAPI_INLINE_MAX));
	return NULL;
}

static const char *too_much_input_is_refused(struct context *c)
{
	static uint8_t data[WINAPI_INLINE_MAX + 1];

	EXPECT(winapi_echo(c->handle, data, data, WINAPI_INLINE_MAX + 1) == -E2BIG);
	EXPECT(winapi_echo(c->handle, data, data, UINT32_MAX) == -E2BIG);
	EXPECT(*winapi_error_message());
	return NULL;
}

static const char *small_room_is_told(struct context *c)
{
	char in[64] = "room", out[64];
	struct winapi_call call = echo_call(in, 64, out);

	memset(out, 0x11, sizeof(out));
	call.out_capacity = 63;
	EXPECT(winapi_call(c->handle, &call) == -EMSGSIZE);
	EXPECT(call.out_size == 64 && out[0] == 0x11 && out[63] == 0x11);
	return NULL;
}

static const char *nulls_and_sizes_are_refused(struct context *c)
{
	char data[8] = "";
	struct winapi_call call = echo_call(data, 8, data);
	struct winapi_buffer_ref ref = { .address = data, .length = 8, .access = WINAPI_HOST_READS };
	struct winapi_buffer *buffer;

	EXPECT(winapi_call(NULL, &call) == -EINVAL && winapi_call(c->handle, NULL) == -EINVAL);
	call.in = NULL;
	EXPECT(winapi_call(c->handle, &call) == -EINVAL);
	call = echo_call(data, 8, data);
	call.size = 4;
	EXPECT(winapi_call(c->handle, &call) == -EINVAL);
	call = echo_call(data, 8, data);
	call.reserved = 1;
	EXPECT(winapi_call(c->handle, &call) == -EINVAL);
	call = echo_call(data, 8, data);
	call.buffers = &ref;
	call.buffer_count = 9;
	EXPECT(winapi_call(c->handle, &call) == -E2BIG);
	call.buffer_count = 1;
	ref.length = 0;
	EXPECT(winapi_call(c->handle, &call) == -EINVAL);
	EXPECT(winapi_buffer_alloc(c->handle, 0, WINAPI_HOST_READS, &buffer) == -EINVAL);
	EXPECT(winapi_buffer_alloc(c->handle, 8, 0, &buffer) == -EINVAL);
	EXPECT(winapi_buffer_alloc(c->handle, 8, 4, &buffer) == -EINVAL);
	EXPECT(winapi_buffer_alloc(c->handle, WINAPI_BUFFER_SIZE_MAX + 1, 1, &buffer) == -E2BIG);
	EXPECT(winapi_buffer_register(c->handle, NULL, 8, 1, &buffer) == -EINVAL);
	EXPECT(winapi_buffer_free(NULL) == 0);
	EXPECT(winapi_echo(c->handle, "12345678", data, 8) == 0);
	return NULL;
}

static const char *unknown_apis_and_methods_have_a_status(struct context *c)
{
	char data[8] = "";
	struct winapi_call call = echo_call(data, 8, data);

	call.api = 12345;
	EXPECT(winapi_call(c->handle, &call) == -ENOSYS && call.status == WINAPI_STATUS_UNKNOWN_API);
	call.api = WINAPI_API_ECHO;
	call.method = 77;
	EXPECT(winapi_call(c->handle, &call) == -ENOSYS && call.status == WINAPI_STATUS_UNKNOWN_METHOD);
	EXPECT(!strcmp(winapi_status_name(call.status), "UNKNOWN_METHOD"));
	EXPECT(strstr(winapi_error_message(), "UNKNOWN_METHOD"));
	EXPECT(*winapi_strerror(-ENOSYS) && *winapi_status_text(9999) && *winapi_strerror(-9999));
	return NULL;
}

static const char *a_timeout_ends_the_call(struct context *c)
{
	struct long_call l;
	const char *wrong = long_call_init(&l, c->handle);
	char in[4] = "on", out[4];
	int err;

	if (wrong)
		return wrong;
	l.call.timeout_ms = 20;
	err = winapi_call(c->handle, &l.call);
	EXPECT(err == -ETIMEDOUT || err == 0);
	EXPECT(err == -ETIMEDOUT);
	EXPECT(winapi_echo(c->handle, in, out, 4) == 0);
	/* The buffer is in use until the host's word comes, and then free. */
	for (int i = 0; i < 3000; i++) {
		EXPECT(winapi_echo(c->handle, in, out, 4) == 0);
		err = winapi_buffer_free(l.ref[0].buffer);
		EXPECT(err == 0 || err == -EBUSY);
		if (!err)
			return NULL;
		usleep(10000);
	}
	return failure(__FILE__, __LINE__, "the buffer is never given back");
}

static const char *batches_answer_each_item(struct context *c)
{
	static struct winapi_batch_item items[128];
	static uint8_t in[128][64], out[128][64];

	for (unsigned int count = 1; count <= 128; count += scaled(c, 1) * (count < 8 ? 1 : 15)) {
		memset(items, 0, sizeof(items));
		memset(out, 0, sizeof(out));
		for (unsigned int i = 0; i < count; i++) {
			winapi_pattern_fill(in[i], 64, i + count);
			items[i] = (struct winapi_batch_item){ .api = WINAPI_API_ECHO,
							       .in = in[i],
							       .out = out[i],
							       .in_size = i % 65,
							       .out_capacity = i % 65 };
		}
		EXPECT(winapi_batch(c->handle, items, count, 0) == 0);
		for (unsigned int i = 0; i < count; i++) {
			EXPECT(items[i].result == 0 && items[i].out_size == i % 65);
			EXPECT(!memcmp(in[i], out[i], i % 65));
		}
	}
	EXPECT(winapi_batch(c->handle, items, 0, 0) == 0);
	EXPECT(winapi_batch(c->handle, NULL, 1, 0) == -EINVAL);
	return NULL;
}

static const char *large_batches_are_split(struct context *c)
{
	static uint8_t in[WINAPI_INLINE_MAX], out[8][WINAPI_INLINE_MAX];
	struct winapi_batch_item items[8];
	struct winapi_stats before = { .size = sizeof(before) }, after = { .size = sizeof(after) };

	memset(items, 0, sizeof(items));
	winapi_pattern_fill(in, sizeof(in), 5);
	for (int i = 0; i < 8; i++)
		items[i] = (struct winapi_batch_item){
			.api = WINAPI_API_ECHO, .in = in, .out = out[i], .in_size = 2000, .out_capacity = 2000
		};
	EXPECT(winapi_get_stats(c->handle, &before) == 0);
	EXPECT(winapi_batch(c->handle, items, 8, 0) == 0);
	EXPECT(winapi_get_stats(c->handle, &after) == 0);
	EXPECT(after.calls - before.calls >= 8);
	for (int i = 0; i < 8; i++)
		EXPECT(items[i].result == 0 && !memcmp(in, out[i], 2000));
	items[0].in_size = WINAPI_INLINE_MAX;
	EXPECT(winapi_batch(c->handle, items, 1, 0) == -E2BIG);
	return NULL;
}

static const char *a_bad_item_spoils_no_other(struct context *c)
{
	struct winapi_batch_item items[4];
	char in[8] = "items", out[4][8];

	memset(items, 0, sizeof(items));
	memset(out, 0, sizeof(out));
	for (int i = 0; i < 4; i++)
		items[i] = (struct winapi_batch_item){
			.api = WINAPI_API_ECHO, .in = in, .out = out[i], .in_size = 8, .out_capacity = 8
		};
	items[1].api = 999;
	items[2].api = WINAPI_API_BUFFER_TEST;
	items[2].method = WINAPI_BUFFER_TEST_READ;
	EXPECT(winapi_batch(c->handle, items, 4, 0) == 0);
	EXPECT(items[0].result == 0 && items[3].result == 0 && !memcmp(out[3], in, 8));
	EXPECT(items[1].result == -ENOSYS && items[1].status == WINAPI_STATUS_UNKNOWN_API);
	EXPECT(items[2].result < 0 && items[2].status != WINAPI_STATUS_OK);
	return NULL;
}

static const char *perf_latency_makes_sense(struct context *c)
{
	struct winapi_latency l;

	for (unsigned int i = 0; i < scaled(c, 200); i++) {
		EXPECT(winapi_perf_latency(c->handle, 64, &l) == 0);
		EXPECT(l.round_trip_ns > 0 && l.host_ns <= l.round_trip_ns);
	}
	EXPECT(winapi_perf_latency(c->handle, WINAPI_INLINE_MAX, &l) == 0);
	EXPECT(winapi_perf_latency(c->handle, WINAPI_INLINE_MAX + 1, &l) < 0);
	return NULL;
}

/* The child may only close; the parent goes on. */
static const char *a_forked_child_is_refused(struct context *c)
{
	char in[8] = "parent", out[8];
	int status;
	pid_t pid = fork();

	EXPECT(pid >= 0);
	if (!pid) {
		struct winapi_stats stats = { .size = sizeof(stats) };
		struct winapi_buffer *buffer;
		int good = winapi_echo(c->handle, in, out, 8) == -ECHILD &&
			   winapi_get_stats(c->handle, &stats) == -ECHILD &&
			   winapi_buffer_alloc(c->handle, 8, 1, &buffer) == -ECHILD &&
			   *winapi_error_message();

		winapi_close(c->handle);
		_exit(good ? 0 : 1);
	}
	EXPECT(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
	EXPECT(winapi_echo(c->handle, in, out, 8) == 0 && !memcmp(in, out, 8));
	return NULL;
}

static const char *counters_move(struct context *c)
{
	struct winapi_stats before = { .size = sizeof(before) }, after = { .size = sizeof(after) };
	char in[8] = "count", out[8];

	/* The host counts a channel's requests. A local one is ours alone; others may use /dev/winapi's meanwhile. */
	for (int tries = c->uri && !strncmp(c->uri, "local:", 6) ? 1 : 10;
	     tries && after.host_requests - before.host_requests != 11; tries--) {
		EXPECT(winapi_get_stats(c->handle, &before) == 0);
		for (int i = 0; i < 10; i++)
			EXPECT(winapi_echo(c->handle, in, out, 8) == 0);
		EXPECT(winapi_get_stats(c->handle, &after) == 0);
		EXPECT(after.calls - before.calls == 11 && after.replies - before.replies == 11);
		EXPECT(after.host_requests - before.host_requests >= 11);
	}
	EXPECT(after.host_requests - before.host_requests == 11);
	EXPECT(after.bad_replies == 0 && after.timeouts == 0 && after.host_bytes_copied == 0);
	EXPECT(after.provider_channels >= 1 && after.provider_sessions >= 1);
	return NULL;
}

static const char *many_handles_are_apart(struct context *c)
{
	struct winapi *handles[16];
	unsigned int count = c->scale > 4 ? 4 : 16;
	char in[8] = "handle", out[8];

	for (unsigned int i = 0; i < count; i++)
		EXPECT((handles[i] = open_again(c)));
	for (unsigned int i = 0; i < count; i++) {
		in[7] = (char)i;
		EXPECT(winapi_echo(handles[i], in, out, 8) == 0 && !memcmp(in, out, 8));
	}
	for (unsigned int i = 0; i < count; i += 2)
		winapi_close(handles[i]);
	for (unsigned int i = 1; i < count; i += 2) {
		EXPECT(winapi_echo(handles[i], in, out, 8) == 0);
		winapi_close(handles[i]);
	}
	winapi_close(NULL);
	return NULL;
}

const struct test_case basic_cases[] = {
	{ "info is sane", info_is_sane, false },
	{ "the APIs are listed", apis_are_listed, false },
	{ "echo returns every size", echo_returns_every_size, false },
	{ "too much input is refused", too_much_input_is_refused, false },
	{ "small room is told", small_room_is_told, false },
	{ "NULLs and sizes are refused", nulls_and_sizes_are_refused, false },
	{ "unknown APIs and methods have a status", unknown_apis_and_methods_have_a_status, false },
	{ "a timeout ends the call", a_timeout_ends_the_call, true },
	{ "batches answer each item", batches_answer_each_item, false },
	{ "large batches are split", large_batches_are_split, false },
	{ "a bad item spoils no other", a_bad_item_spoils_no_other, false },
	{ "perf latency makes sense", perf_latency_makes_sense, false },
	{ "a forked child is refused", a_forked_child_is_refused, false },
	{ "counters move", counters_move, false },
	{ "many handles are apart", many_handles_are_apart, false },
	{ NULL, NULL, false },
};
