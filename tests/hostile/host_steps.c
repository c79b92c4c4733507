/* SPDX-License-Identifier: MIT */
/*
 * At every step of opening and using a handle, the host says nothing, closes the socket or takes its
 * channel back. Then what the host says where it does answer: its HELLO, its sessions, its refusals.
 */
#include <errno.h>
#include <unistd.h>

#include "hostile_host.h"

/* ---- Steps ------------------------------------------------------------------------------------------------ */

enum action { SILENCE, HANG_UP, RESCIND };

struct trouble {
	enum fake_step step;
	uint32_t nth;
	enum action action;
};

static bool make_trouble(struct fake_host *h, const struct fake_event *e)
{
	const struct trouble *t = h->argument;

	if (e->step != t->step || e->nth != t->nth)
		return false;
	if (t->action == HANG_UP)
		fake_hang_up(h);
	if (t->action == RESCIND) {
		fake_rescind(h);
		h->deaf = true;
	}
	return true;
}

static int use_buffers(struct winapi *handle)
{
	static uint8_t plain[5000];
	struct winapi_buffer_ref ref[2] = {
		{ .length = 5000, .access = WINAPI_HOST_READS },
		{ .address = plain, .length = 5000, .access = WINAPI_HOST_READS }
	};
	struct winapi_buffer *large;
	uint32_t crc[2];
	int err = winapi_buffer_alloc(handle, 5000, WINAPI_HOST_READS, &ref[0].buffer);

	if (!err)
		err = winapi_buffer_test_read(handle, ref, 2, crc);
	if (!err)
		err = winapi_buffer_free(ref[0].buffer);
	if (!err)
		err = winapi_buffer_alloc(handle, 2 << 20, WINAPI_HOST_READS, &large);
	return err ? err : winapi_buffer_free(large);
}

int use_async(struct winapi *handle)
{
	struct winapi_call call = WINAPI_CALL_INIT;
	struct winapi_completion done;
	char in[8] = "async", out[8];
	int cancelled, n;

	call.api = WINAPI_API_ECHO;
	call.in = in;
	call.in_size = call.out_capacity = 8;
	call.out = out;
	n = winapi_submit(handle, &call, 1);
	if (n != 1)
		return n;
	cancelled = winapi_cancel(handle, 0);
	n = winapi_complete(handle, &done, 1, WINAPI_TIMEOUT_INFINITE);
	if (n < 0)
		return n;
	return cancelled ? cancelled : n == 1 ? done.result : -ENOMSG;
}

int echo_once(struct winapi *handle)
{
	char in[16] = "in and out", out[16] = "";
	int err = winapi_echo(handle, in, out, sizeof(in));

	return err ? err : memcmp(in, out, sizeof(in)) ? -EBADMSG : 0;
}

/* Each step once, in their order; the first error. */
int use_everything(struct winapi *handle)
{
	struct winapi_batch_item item = { .api = WINAPI_API_ECHO };
	int err = echo_once(handle);

	if (!err)
		err = winapi_batch(handle, &item, 1, 0);
	if (!err)
		err = use_buffers(handle);
	if (!err)
		err = use_async(handle);
	return err ? err : echo_once(handle);
}

static const char *step_fails(struct winapi *handle, const struct host_case *c)
{
	const struct trouble *t = c->argument;
	int err = use_everything(handle);

	if (err != c->wanted)
		printf("# %d, not %d\n", err, c->wanted);
	EXPECT(err == c->wanted);
	EXPECT(!err || *winapi_error_message());
	/* One answer that never came doesn't end the handle; a channel that is gone does. */
	EXPECT(echo_once(handle) == (t->action == SILENCE ? 0 : -ENODEV));
	return NULL;
}

static const struct {
	const char *name;
	enum fake_step step;
	uint32_t nth;
	bool opening;
	bool best_effort; /* silence is no error: the library gives up on the answer */
} steps[] = {
	{ "the introduction", FAKE_STATE, 0, true, false },
	{ "the contact", FAKE_CONTACT, 0, true, false },
	{ "the request for offers", FAKE_OFFERS, 0, true, false },
	{ "the rings' memory", FAKE_REGION_ADD, 0, true, false },
	{ "the rings' GPADL", FAKE_GPADL, 0, true, false },
	{ "the opening of the channel", FAKE_OPEN, 0, true, false },
	{ "HELLO", FAKE_HELLO, 0, true, false },
	{ "SESSION_OPEN", FAKE_SESSION, 0, true, false },
	{ "a call", FAKE_ECHO, 0, false, false },
	{ "a batch", FAKE_BATCH, 0, false, false },
	{ "a slab's memory", FAKE_REGION_ADD, 1, false, false },
	{ "a buffer's memory", FAKE_REGION_ADD, 2, false, false },
	{ "a buffer's GPADL", FAKE_GPADL, 1, false, false },
	{ "BUFFER_REGISTER", FAKE_REGISTER, 0, false, false },
	{ "a call with buffers", FAKE_CALL, 0, false, false },
	{ "BUFFER_UNREGISTER", FAKE_UNREGISTER, 0, false, false },
	{ "a teardown", FAKE_TEARDOWN, 0, false, true },
	{ "the removal of memory", FAKE_REGION_DEL, 0, false, true },
	{ "CANCEL", FAKE_CANCEL, 0, false, true },
};

/* ---- A handle that is closed while a thread waits ----------------------------------------------------------- */

static uint32_t waiting; /* atomic: the host has the message that it doesn't answer */

static bool never_maps(struct fake_host *h, const struct fake_event *e)
{
	(void)h;
	if (e->step != FAKE_REGION_ADD || !e->nth)
		return false;
	__atomic_store_n(&waiting, 1, __ATOMIC_RELEASE);
	return true;
}

static void *alloc_forever(void *handle)
{
	struct winapi_buffer *buffer;

	return (void *)(intptr_t)winapi_buffer_alloc(handle, 100, WINAPI_HOST_READS, &buffer);
}

static const char *close_ends_a_wait(struct fake_host *host)
{
	struct winapi_open_options options = WINAPI_OPEN_OPTIONS_INIT;
	struct winapi *handle;
	pthread_t thread;
	char uri[128];
	void *result;

	options.timeout_ms = WINAPI_TIMEOUT_INFINITE;
	snprintf(uri, sizeof(uri), "local:%s", host->path);
	EXPECT(winapi_open(&handle, uri, &options) == 0);
	EXPECT(!pthread_create(&thread, NULL, alloc_forever, handle));
	while (!__atomic_load_n(&waiting, __ATOMIC_ACQUIRE))
		usleep(1000);
	winapi_close(handle);
	pthread_join(thread, &result);
	EXPECT((intptr_t)result == -ECANCELED);
	return NULL;
}

static void closed_while_waiting(void)
{
	struct fake_host *host = malloc(sizeof(*host));

	if (!host || !fake_start(host, never_maps, NULL))
		abort();
	report("a handle closed while a thread waits for memory", close_ends_a_wait(host));
	fake_end(host);
	free(host);
}

void host_steps(void)
{
	closed_while_waiting();
	static const char *const actions[] = { "silence at", "socket closed at", "channel rescinded at" };

	for (unsigned int i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		for (enum action action = SILENCE; action <= RESCIND; action++) {
			struct trouble t = { steps[i].step, steps[i].nth, action };
			/* Before its offer, a rescind names nothing that the guest knows. */
			bool ignored = action == RESCIND && steps[i].opening && t.step <= FAKE_OFFERS;
			int err = action == SILENCE || ignored ? -ETIMEDOUT : -ENODEV;
			char name[100];
			struct host_case c = { .name = name,
					       .script = make_trouble,
					       .argument = &t,
					       .timeout_ms = err == -ETIMEDOUT ? SHORT_MS : 0,
					       .open = steps[i].opening ? err : 0,
					       .use = step_fails,
					       .wanted = action == SILENCE && steps[i].best_effort ? 0 :
												     err };

			snprintf(name, sizeof(name), "%s %s", actions[action], steps[i].name);
			run_case(&c);
		}
	}
}

uint64_t bad_replies(struct winapi *handle)
{
	struct winapi_stats stats = { .size = sizeof(stats) };

	return winapi_get_stats(handle, &stats) ? UINT64_MAX : stats.bad_replies;
}

/* ---- Words: HELLO, sessions, refusals ---------------------------------------------------------------------- */

static bool say_words(struct fake_host *h, const struct fake_event *e)
{
	const struct words *w = h->argument;

	if (e->step != w->step || e->nth)
		return false;
	w->say(h, e);
	return true;
}

static struct winapi_hello_reply good_hello(void)
{
	return (struct winapi_hello_reply){ .version = 1,
					    .max_buffers_per_call = 8,
					    .max_in_flight = 8,
					    .features = WINAPI_FEATURES_V1,
					    .max_inline = WINAPI_MAX_INLINE,
					    .max_batch = 128,
					    .max_sessions = 1,
					    .max_chunks = 16,
					    .max_buffers = 9,
					    .max_buffer_size = WINAPI_MAX_BUFFER_SIZE,
					    .max_bytes = 1 << 30,
					    .provider = "liar" };
}

void say(struct fake_host *h, const struct fake_event *e, int32_t status, const void *data, uint32_t size)
{
	struct winapi_msg_header header = fake_reply_header(e, size);

	header.status = status;
	fake_reply(h, header.request_id, &header, data, size);
}

#define HELLO_SAYS(function, change) \
	static void function(struct fake_host *h, const struct fake_event *e) \
	{ \
		struct winapi_hello_reply r = good_hello(); \
\
		change; \
		say(h, e, 0, &r, sizeof(r)); \
	}

HELLO_SAYS(version_0, r.version = 0)
HELLO_SAYS(version_2, r.version = 2)
HELLO_SAYS(nothing_in_flight, r.max_in_flight = 0)
HELLO_SAYS(most_in_flight, r.max_in_flight = UINT32_MAX)
HELLO_SAYS(inline_over, r.max_inline = WINAPI_MAX_INLINE + 1)
HELLO_SAYS(endless_name, memset(r.provider, 'x', sizeof(r.provider)))
HELLO_SAYS(huge_buffers, r.max_buffer_size = r.max_bytes = UINT64_MAX)
HELLO_SAYS(many_buffers, r.max_buffers_per_call = UINT16_MAX)
HELLO_SAYS(all_features, r.features = UINT64_MAX)
HELLO_SAYS(no_features, r.features = 0)
HELLO_SAYS(no_batch, r.max_batch = 0)
HELLO_SAYS(huge_batch, r.max_batch = UINT32_MAX)
HELLO_SAYS(small_batch, r.max_batch = 2)

static void short_hello(struct fake_host *h, const struct fake_event *e)
{
	struct winapi_hello_reply r = good_hello();

	say(h, e, 0, &r, sizeof(r) - 8);
}

static void long_hello(struct fake_host *h, const struct fake_event *e)
{
	uint8_t r[sizeof(struct winapi_hello_reply) + 8] = { 1 };

	say(h, e, 0, r, sizeof(r));
}

static void refuse_version(struct fake_host *h, const struct fake_event *e)
{
	say(h, e, WINAPI_STATUS_UNSUPPORTED_VERSION, NULL, 0);
}

static void session_zero(struct fake_host *h, const struct fake_event *e)
{
	say(h, e, 0, &(uint64_t){ 0 }, 8);
}

static void session_of_two_minds(struct fake_host *h, const struct fake_event *e)
{
	say(h, e, 0, &(uint64_t){ FAKE_SESSION_ID + 1 }, 8);
}

static void session_short(struct fake_host *h, const struct fake_event *e)
{
	say(h, e, 0, &(uint64_t){ FAKE_SESSION_ID }, 4);
}

static void session_refused(struct fake_host *h, const struct fake_event *e)
{
	say(h, e, WINAPI_STATUS_LIMIT_SESSIONS, NULL, 0);
}

static void handle_zero(struct fake_host *h, const struct fake_event *e)
{
	say(h, e, 0, &(uint64_t){ 0 }, 8);
}

static void nothing_said(struct fake_host *h, const struct fake_event *e)
{
	say(h, e, 0, NULL, 0);
}

static void unknown_status(struct fake_host *h, const struct fake_event *e)
{
	say(h, e, WINAPI_STATUS_COUNT, NULL, 0);
}

static void least_status(struct fake_host *h, const struct fake_event *e)
{
	say(h, e, INT32_MIN, NULL, 0);
}

static void busy_status(struct fake_host *h, const struct fake_event *e)
{
	say(h, e, WINAPI_STATUS_BUFFER_BUSY, NULL, 0);
}

/* A last page of APIs never comes. */
static void endless_list(struct fake_host *h, const struct fake_event *e)
{
	struct winapi_api_desc page[16];

	memset(page, 'x', sizeof(page));
	h->seen[FAKE_CALL] = 0; /* again and again */
	say(h, e, 0, page, sizeof(page));
}

static void odd_list(struct fake_host *h, const struct fake_event *e)
{
	struct winapi_api_desc page[2] = { { 0 } };

	say(h, e, 0, page, sizeof(page) - 1);
}

static const char *info_is_bounded(struct winapi *handle, const struct host_case *c)
{
	struct winapi_info info = { .size = sizeof(info) };

	(void)c;
	EXPECT(winapi_get_info(handle, &info) == 0);
	EXPECT(memchr(info.provider, '\0', sizeof(info.provider)));
	EXPECT(info.max_in_flight <= 4096 && !(info.features & ~WINAPI_FEATURES_V1));
	EXPECT(info.max_buffer_size <= WINAPI_BUFFER_SIZE_MAX);
	EXPECT(info.max_buffers_per_call <= WINAPI_BUFFERS_MAX && info.max_inline <= WINAPI_INLINE_MAX);
	EXPECT(use_everything(handle) == 0);
	return NULL;
}

static const char *huge_buffers_are_refused(struct winapi *handle, const struct host_case *c)
{
	struct winapi_buffer *buffer;
	char byte;

	EXPECT(winapi_buffer_alloc(handle, WINAPI_BUFFER_SIZE_MAX + 1, 1, &buffer) == -E2BIG);
	EXPECT(winapi_buffer_alloc(handle, 512 << 20, 1, &buffer) == -E2BIG);
	EXPECT(winapi_buffer_alloc(handle, SIZE_MAX - 100, 1, &buffer) == -E2BIG);
	EXPECT(winapi_buffer_register(handle, &byte, SIZE_MAX - 100, 1, &buffer) == -E2BIG);
	return info_is_bounded(handle, c);
}

static const char *goes_without(struct winapi *handle, const struct host_case *c)
{
	static uint8_t plain[5000];
	struct winapi_buffer_ref ref = { .address = plain,
					 .length = sizeof(plain),
					 .access = WINAPI_HOST_READS };
	struct winapi_batch_item item = { .api = WINAPI_API_ECHO };
	uint32_t crc;

	(void)c;
	EXPECT(winapi_batch(handle, &item, 1, 0) == -EOPNOTSUPP);
	EXPECT(use_async(handle) == -EOPNOTSUPP); /* the cancel; the call itself ends well */
	EXPECT(winapi_buffer_test_read(handle, &ref, 1, &crc) == 0);
	return NULL;
}

static const char *batch_fails(struct winapi *handle, const struct host_case *c)
{
	struct winapi_batch_item item = { .api = WINAPI_API_ECHO };

	EXPECT(winapi_batch(handle, &item, 1, 0) == c->wanted);
	EXPECT(*winapi_error_message() && echo_once(handle) == 0);
	return NULL;
}

static const char *alloc_fails(struct winapi *handle, const struct host_case *c)
{
	struct winapi_buffer *buffer;

	EXPECT(winapi_buffer_alloc(handle, 100, 1, &buffer) == c->wanted);
	EXPECT(*winapi_error_message() && echo_once(handle) == 0);
	return NULL;
}

static const char *free_fails(struct winapi *handle, const struct host_case *c)
{
	struct winapi_buffer *buffer;

	EXPECT(winapi_buffer_alloc(handle, 100, 1, &buffer) == 0);
	EXPECT(winapi_buffer_free(buffer) == c->wanted);
	EXPECT(echo_once(handle) == 0);
	return NULL;
}

static const char *list_fails(struct winapi *handle, const struct host_case *c)
{
	static struct winapi_api_info apis[4];
	int n = winapi_list_apis(handle, apis, 4);

	EXPECT(c->wanted ? n == c->wanted : n >= 4 && memchr(apis[3].name, '\0', sizeof(apis[3].name)));
	return NULL;
}

static const char *call_fails(struct winapi *handle, const struct host_case *c)
{
	EXPECT(echo_once(handle) == c->wanted && *winapi_error_message());
	return NULL;
}

static const struct words words[] = {
	{ "HELLO: version 0", FAKE_HELLO, version_0, -EPROTO, NULL, 0, 0 },
	{ "HELLO: version 2", FAKE_HELLO, version_2, -EPROTO, NULL, 0, 0 },
	{ "HELLO: no call in flight", FAKE_HELLO, nothing_in_flight, -EPROTO, NULL, 0, 0 },
	{ "HELLO: 4 G calls in flight", FAKE_HELLO, most_in_flight, 0, info_is_bounded, 0, 0 },
	{ "HELLO: too much inline", FAKE_HELLO, inline_over, -EPROTO, NULL, 0, 0 },
	{ "HELLO: a name without end", FAKE_HELLO, endless_name, 0, info_is_bounded, 0, 0 },
	{ "HELLO: buffers without bound", FAKE_HELLO, huge_buffers, 0, huge_buffers_are_refused, 0, 0 },
	{ "HELLO: 65,535 buffers in a call", FAKE_HELLO, many_buffers, 0, info_is_bounded, 0, 0 },
	{ "HELLO: all features", FAKE_HELLO, all_features, 0, info_is_bounded, 0, 0 },
	{ "HELLO: no features", FAKE_HELLO, no_features, 0, goes_without, 0, 0 },
	{ "HELLO: batches of none", FAKE_HELLO, no_batch, 0, batch_fails, -EOPNOTSUPP, 0 },
	{ "HELLO: batches of 4 G", FAKE_HELLO, huge_batch, 0, info_is_bounded, 0, 0 },
	{ "HELLO: too short", FAKE_HELLO, short_hello, -EPROTO, NULL, 0, 0 },
	{ "HELLO: too long", FAKE_HELLO, long_hello, -EMSGSIZE, NULL, 0, 0 },
	{ "HELLO: version refused", FAKE_HELLO, refuse_version, -EPROTONOSUPPORT, NULL, 0, 0 },
	{ "HELLO: unknown status", FAKE_HELLO, unknown_status, -EPROTO, NULL, 0, 0 },
	{ "SESSION_OPEN: session 0", FAKE_SESSION, session_zero, -EPROTO, NULL, 0, 0 },
	{ "SESSION_OPEN: two sessions", FAKE_SESSION, session_of_two_minds, -EPROTO, NULL, 0, 0 },
	{ "SESSION_OPEN: too short", FAKE_SESSION, session_short, -EPROTO, NULL, 0, 0 },
	{ "SESSION_OPEN: refused", FAKE_SESSION, session_refused, -EUSERS, NULL, 0, 0 },
	{ "BUFFER_REGISTER: handle 0", FAKE_REGISTER, handle_zero, 0, alloc_fails, -EPROTO, 0 },
	{ "BUFFER_REGISTER: no handle", FAKE_REGISTER, nothing_said, 0, alloc_fails, -EPROTO, 0 },
	{ "BUFFER_REGISTER: unknown status", FAKE_REGISTER, unknown_status, 0, alloc_fails, -EPROTO, 0 },
	{ "BUFFER_UNREGISTER: busy", FAKE_UNREGISTER, busy_status, 0, free_fails, -EBUSY, 0 },
	{ "BUFFER_UNREGISTER: unknown status", FAKE_UNREGISTER, least_status, 0, free_fails, -EPROTO, 0 },
	{ "a call: unknown status", FAKE_ECHO, unknown_status, 0, call_fails, -EPROTO, 0 },
	{ "a call: the least status", FAKE_ECHO, least_status, 0, call_fails, -EPROTO, 0 },
	{ "a call: busy, of all things", FAKE_ECHO, busy_status, 0, call_fails, -EBUSY, 0 },
	{ "a call: shorter than the API says", FAKE_ECHO, nothing_said, 0, call_fails, -EPROTO, 0 },
	{ "a list of APIs without end", FAKE_CALL, endless_list, 0, list_fails, 0, 0 },
	{ "a list of APIs that ends within one", FAKE_CALL, odd_list, 0, list_fails, -EPROTO, 0 },
};

void run_words(const struct words *first, unsigned int count)
{
	for (const struct words *w = first; w < first + count; w++)
		run_case(&(struct host_case){ .name = w->name,
					      .script = say_words,
					      .argument = w,
					      .open = w->open,
					      .use = w->use,
					      .wanted = w->wanted,
					      .timeout_ms = w->timeout_ms });
}

/* ---- Batches no longer than the host takes ------------------------------------------------------------------ */

static bool takes_two(struct fake_host *h, const struct fake_event *e)
{
	uint32_t members = 0;

	if (e->step == FAKE_HELLO)
		small_batch(h, e);
	else if (e->step != FAKE_BATCH)
		return false;
	if (e->step == FAKE_HELLO)
		return true;
	for (uint32_t at = 0; at < e->header.inline_size; members++) {
		struct winapi_batch_entry entry;

		memcpy(&entry, e->data + at, sizeof(entry));
		at += (uint32_t)sizeof(entry) + (entry.inline_size + 7) / 8 * 8;
	}
	if (members > 2)
		say(h, e, WINAPI_STATUS_TOO_LARGE, NULL, 0);
	return members > 2;
}

static const char *batch_is_split(struct winapi *handle, const struct host_case *c)
{
	struct winapi_batch_item items[5];

	(void)c;
	memset(items, 0, sizeof(items));
	for (unsigned int i = 0; i < 5; i++)
		items[i].api = WINAPI_API_ECHO;
	EXPECT(winapi_batch(handle, items, 5, 0) == 0);
	for (unsigned int i = 0; i < 5; i++)
		EXPECT(items[i].result == 0);
	return NULL;
}

static const struct host_case split = { "batches of two at most", takes_two, NULL, 0, 0, batch_is_split, 0 };

void host_words(void)
{
	run_words(words, sizeof(words) / sizeof(words[0]));
	run_case(&split);
}
