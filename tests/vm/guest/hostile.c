/* SPDX-License-Identifier: MIT */
/*
 * Walks through the scenarios of the test back-end (tests/vm/backend/scenarios.c). For each: arm it, do what
 * provokes it, and see the documented error; then the host is honest again, so everything must work again, on
 * the channel of before or on the next.
 * Usage: vm_hostile [TEXT [EXCEPT]]     (only scenarios whose names contain TEXT, and not EXCEPT)
 */
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "backend.h"

#define SHORT_MS 200u /* for calls that nobody answers */
#define DRIVER "/sys/bus/vmbus/drivers/winapi_client/"
#define MAX_SCENARIOS 400u

static int fd;

struct expectation {
	const char *name; /* the scenario's */
	/* Provokes it. NULL, or what was wrong. */
	const char *(*provoke)(const struct expectation *e);
	int wanted; /* the error that must be seen, or how many replies are dropped */
	int also; /* another error that may be: a race between the host's two deeds */
	unsigned int channels; /* how many are opened anew because of it */
};

/* "what: errno", for the one that reads the output */
static const char *wrong(const char *what, int err)
{
	static char text[200];

	snprintf(text, sizeof(text), "%s: %d (%s)", what, err, strerror(err < 0 ? -err : 0));
	return text;
}

static const char *verdict(const struct expectation *e, const char *what, int err)
{
	return err == e->wanted || (e->also && err == e->also) ? NULL : wrong(what, err);
}

/* ---- Calls --------------------------------------------------------------------------------------------- */

static int short_call(void)
{
	struct winapi_ioc_call c = echo_call("", 0, NULL);

	c.timeout_ms = SHORT_MS;
	return call(fd, &c);
}

/* The right reply is taken, the wrong ones are counted. */
static const char *drops(const struct expectation *e)
{
	uint64_t before = device_stats(fd).bad_replies, after;
	int err = echo(fd);

	if (!err)
		err = echo(fd); /* takes what came after the right one */
	if (err)
		return wrong("an echo", err);
	after = device_stats(fd).bad_replies - before;
	return after == (uint64_t)e->wanted ? NULL : wrong("bad_replies grew by", (int)after);
}

static const char *calls(const struct expectation *e)
{
	return verdict(e, "an echo", echo(fd));
}

static const char *gives_up(const struct expectation *e)
{
	return verdict(e, "a call", short_call());
}

/* The host breaks the ring and says no more: calls time out at most, until the channel is gone. */
static const char *breaks(const struct expectation *e)
{
	uint64_t end = now_ms() + PATIENCE_MS;
	int err;

	do
		err = short_call();
	while (err == -ETIMEDOUT && now_ms() < end);
	return verdict(e, "calls end with", err);
}

static const char *too_long(const struct expectation *e)
{
	struct winapi_ioc_call c;
	char out[4] = "abc";
	int err;

	c = echo_call("hey", sizeof(out), out);
	err = call(fd, &c);
	if (err || c.out_size != WINAPI_MAX_INLINE || strcmp(out, "abc"))
		return wrong("a reply over the caller's room", err);
	return verdict(e, "an echo", echo(fd));
}

static const char *stale(const struct expectation *e)
{
	int err = short_call();

	return err == -ETIMEDOUT ? drops(e) : wrong("a call that isn't answered", err);
}

static int take_records(unsigned int count)
{
	for (unsigned int i = 0; i < count; i++) {
		struct winapi_ioc_completion record;

		if (read(fd, &record, sizeof(record)) != sizeof(record))
			return -errno;
		if (record.result)
			return record.result;
	}
	return 0;
}

static const char *crossed(const struct expectation *e)
{
	struct winapi_ioc_call two[2] = { echo_call("", 0, NULL), echo_call("", 0, NULL) };
	struct winapi_ioc_submit s = { (uintptr_t)two, 2, sizeof(two[0]) };
	uint64_t before = device_stats(fd).bad_replies;
	int err = device(fd, WINAPI_IOC_SUBMIT, &s);

	if (err != 2)
		return wrong("a submission of two", err);
	err = take_records(2);
	if (err)
		return wrong("their records", err);
	return device_stats(fd).bad_replies - before == (uint64_t)e->wanted ? NULL : "bad_replies is wrong";
}

static int batch(uint32_t timeout_ms)
{
	struct winapi_batch_entry members[3] = { { .api = WINAPI_API_ECHO },
						 { .api = WINAPI_API_ECHO, .index = 1 },
						 { .api = WINAPI_API_ECHO, .index = 2 } };
	uint8_t out[sizeof(members) + 64];
	struct winapi_ioc_call c = echo_call(members, sizeof(members), out);

	c.out_capacity = sizeof(out);
	c.api = 0;
	c.flags = WINAPI_IOC_CALL_BATCH;
	c.timeout_ms = timeout_ms;
	return call(fd, &c);
}

/* The driver doesn't look into a batch: its library does. */
static const char *batches(const struct expectation *e)
{
	return verdict(e, "a batch", batch(e->wanted == -ETIMEDOUT ? SHORT_MS : PATIENCE_MS));
}

/* A call that the host holds back times out, so that the driver cancels it. */
static const char *cancels(const struct expectation *e)
{
	int err = backend_number(fd, BACKEND_HOLD, 2);

	if (!err)
		err = short_call();
	if (err != e->wanted && err != e->also)
		return wrong("a call that is held back", err);
	err = backend_number(fd, BACKEND_HOLD, 0);
	return !err || err == e->also ? NULL : wrong("a call after it", err);
}

/* ---- Sessions ------------------------------------------------------------------------------------------ */

static const char *opens(const struct expectation *e)
{
	int other = device_open();

	if (other < 0)
		return verdict(e, "open()", other);
	close(other);
	return verdict(e, "open()", 0);
}

static const char *closes(const struct expectation *e)
{
	int other = device_open();

	(void)e;
	if (other < 0)
		return wrong("open()", other);
	close(other);
	return NULL;
}

/* ---- Buffers ------------------------------------------------------------------------------------------- */

static const char *allocates(const struct expectation *e)
{
	struct winapi_ioc_alloc a;
	int err = buffer_alloc(fd, 300 << 10, WINAPI_ACCESS_BOTH, &a);

	if (!err)
		buffer_free(fd, a.id);
	return verdict(e, "ALLOC", err);
}

static const char *frees(const struct expectation *e)
{
	struct winapi_ioc_alloc a;
	int err = buffer_alloc(fd, 300 << 10, WINAPI_ACCESS_BOTH, &a);

	return err ? wrong("ALLOC", err) : verdict(e, "FREE", buffer_free(fd, a.id));
}

/* ---- The channel --------------------------------------------------------------------------------------- */

static const char *restarts(const struct expectation *e)
{
	int err = backend(fd, BACKEND_RESTART, NULL, 0, NULL, NULL);

	(void)e;
	return !err || err == -ENODEV ? NULL : wrong("RESTART", err);
}

static bool write_file(const char *path, const char *text)
{
	int file = open(path, O_WRONLY | O_CLOEXEC);
	bool written = file >= 0 && write(file, text, strlen(text)) == (ssize_t)strlen(text);

	if (file >= 0)
		close(file);
	return written;
}

/* The driver leaves the device, with our file open, and takes it again. */
static const char *rebinds(const struct expectation *e)
{
	DIR *folder = opendir(DRIVER);
	struct dirent *entry;
	char name[64] = "";
	int err;

	while (folder && (entry = readdir(folder)))
		if (strlen(entry->d_name) == 36)
			snprintf(name, sizeof(name), "%s", entry->d_name);
	if (folder)
		closedir(folder);
	if (!write_file(DRIVER "unbind", name))
		return wrong("unbind", -errno);
	err = echo(fd);
	if (err != -ENODEV)
		return wrong("a call on a file from before", err);
	/* Fails where the host has taken the device back meanwhile: then it comes by itself. */
	if (!write_file(DRIVER "bind", name) && !e->also)
		return wrong("bind", -errno);
	return NULL;
}

/* ---- A ring that isn't read ------------------------------------------------------------------------------ */

/* Until it is as full as it gets, of calls that nobody answers. How many; 0: something else stood in their way. */
static unsigned int fill_ring(int file)
{
	static const uint32_t sizes[] = { WINAPI_MAX_INLINE, 0 };
	static const char data[WINAPI_MAX_INLINE];
	unsigned int count = 0;
	int flags = fcntl(file, F_GETFL), err = 1;

	fcntl(file, F_SETFL, flags | O_NONBLOCK);
	for (unsigned int i = 0; i < 2; i++) {
		struct winapi_ioc_call c = echo_call(data, sizes[i], NULL);
		struct winapi_ioc_submit s = { (uintptr_t)&c, 1, sizeof(c) };

		c.timeout_ms = WINAPI_IOC_NO_TIMEOUT;
		while ((err = device(file, WINAPI_IOC_SUBMIT, &s)) == 1)
			count++;
	}
	fcntl(file, F_SETFL, flags);
	return err == -EAGAIN && count + 8 < device_info(file).max_in_flight ? count : 0;
}

/* Who waits for room in the ring, by CALL or SUBMIT. */
static struct waiter {
	pthread_t thread;
	int file;
	unsigned long request;
	int err;
} waiters[2];

static void *wait_for_room(void *argument)
{
	struct waiter *w = argument;
	struct winapi_ioc_call c = echo_call(NULL, 0, NULL);
	struct winapi_ioc_submit s = { (uintptr_t)&c, 1, sizeof(c) };

	c.timeout_ms = WINAPI_IOC_NO_TIMEOUT;
	w->err = device(w->file, w->request, w->request == WINAPI_IOC_CALL ? (void *)&c : (void *)&s);
	return NULL;
}

static void begin_waiting(int file)
{
	waiters[0] = (struct waiter){ .file = file, .request = WINAPI_IOC_CALL };
	waiters[1] = (struct waiter){ .file = file, .request = WINAPI_IOC_SUBMIT };
	for (unsigned int i = 0; i < 2; i++)
		pthread_create(&waiters[i].thread, NULL, wait_for_room, &waiters[i]);
}

/* Both of them do. */
static bool both_wait(void)
{
	uint64_t end = now_ms() + PATIENCE_MS;
	unsigned int sending;
	char line[200];

	do {
		FILE *requests = fopen("/sys/kernel/debug/winapi/winapi/requests", "re");

		usleep(20000); /* and they have gone to sleep when they are seen */
		for (sending = 0; requests && fgets(line, sizeof(line), requests);)
			sending += strstr(line, " sending ") != NULL;
		if (requests)
			fclose(requests);
	} while (sending < 2 && now_ms() < end);
	return sending == 2;
}

static const char *waiters_end(int wanted)
{
	struct timespec end;

	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += PATIENCE_MS / 1000;
	for (unsigned int i = 0; i < 2; i++) {
		if (pthread_timedjoin_np(waiters[i].thread, NULL, &end))
			return i ? "SUBMIT still waits for room" : "CALL still waits for room";
		if (waiters[i].err != wanted)
			return wrong(i ? "SUBMIT without room" : "CALL without room", waiters[i].err);
	}
	return NULL;
}

/* What was submitted has ended, too, and then there is no more. */
static const char *records_end(int file, unsigned int count, int wanted)
{
	struct winapi_ioc_completion record;

	for (unsigned int i = 0; i < count; i++)
		if (read(file, &record, sizeof(record)) != sizeof(record) || record.result != wanted)
			return wrong("a record of the full ring's", record.result);
	if (read(file, &record, sizeof(record)) >= 0 || errno != -wanted)
		return "more records than calls";
	return NULL;
}

/* A file that has filled the ring: -1 or, in *fault, what went wrong. */
static int full_ring(unsigned int *count, const char **fault)
{
	struct winapi_ioc_call c = echo_call(NULL, 0, NULL);
	int file = device_open(), err = echo(fd); /* the last that is read */

	c.timeout_ms = SHORT_MS;
	*fault = NULL;
	*count = fill_ring(file);
	if (err || !*count)
		*fault = wrong("filling the ring", err);
	else if ((err = call(file, &c)) != -ETIMEDOUT)
		*fault = wrong("a call with a timeout, without room", err);
	return file;
}

/*
 * Closing a file has the driver itself wait for room, and the driver leaves all the same; the next channel is honest.
 */
static const char *begin_anew(const struct expectation *e, int file, const char *fault)
{
	const char *fault_of_leaving;

	close(file);
	fault_of_leaving = rebinds(e);
	return fault ? fault : fault_of_leaving;
}

static const char *shut_while_full(const struct expectation *e)
{
	const char *fault;
	unsigned int count;
	int file = full_ring(&count, &fault);

	begin_waiting(file);
	if (!fault && (!both_wait() || ioctl(file, WINAPI_IOC_SHUTDOWN, 0)))
		fault = "no SHUTDOWN while two wait";
	if (!fault)
		fault = waiters_end(e->wanted);
	if (!fault)
		fault = records_end(file, count, e->wanted);
	return begin_anew(e, file, fault);
}

static const char *killed_while_full(const struct expectation *e)
{
	uint64_t end = now_ms() + PATIENCE_MS;
	const char *fault;
	unsigned int count;
	int file = full_ring(&count, &fault);
	pid_t child = fork(), ended = 0;

	if (!child) {
		begin_waiting(file);
		pause();
	}
	if (!fault && !both_wait())
		fault = "nobody waits";
	kill(child, SIGKILL);
	while ((ended = waitpid(child, NULL, WNOHANG)) == 0 && now_ms() < end)
		usleep(20000);
	if (!fault && ended != child)
		fault = "who was killed still waits for room";
	return begin_anew(e, file, fault);
}

static const char *left_while_full(const struct expectation *e)
{
	const char *fault;
	unsigned int count;
	int file = full_ring(&count, &fault);

	begin_waiting(file);
	if (!fault && !both_wait())
		fault = "nobody waits";
	fault = begin_anew(e, file, fault);
	return fault ? fault : waiters_end(e->wanted);
}

/* ---- HELLO --------------------------------------------------------------------------------------------- */

static const char *await_channel(uint64_t wanted)
{
	struct backend_counters c = { 0 };
	uint64_t end = now_ms() + PATIENCE_MS;

	do {
		if (backend_counters(fd, &c)) {
			close(fd);
			fd = device_await();
		} else if (c.channel < wanted) {
			usleep(20000);
		}
	} while (c.channel < wanted && now_ms() < end);
	return c.channel == wanted ? NULL :
				     wrong("channels since the scenario began", (int)(c.channel - wanted));
}

/* Whatever the host said, what the driver passes on is within bounds. */
static const char *meet(const struct expectation *e)
{
	struct backend_counters c;
	struct winapi_ioc_info info;
	const char *fault;

	if (backend_counters(fd, &c))
		return "no counters";
	fault = restarts(e);
	if (!fault)
		fault = await_channel(c.channel + 1);
	if (fault)
		return fault;
	info = device_info(fd);
	if (!info.max_in_flight || info.max_in_flight > 4096 || info.max_inline > WINAPI_MAX_INLINE ||
	    info.max_buffers_per_call > WINAPI_MAX_BUFFERS || info.max_buffer_size > WINAPI_MAX_BUFFER_SIZE ||
	    info.features & ~WINAPI_FEATURES_V1 || !memchr(info.provider, 0, sizeof(info.provider)) ||
	    info.max_batch > WINAPI_MAX_BATCH || info.protocol_version != WINAPI_VERSION_1)
		return "INFO is out of bounds";
	return NULL;
}

/* Then the host is told to begin anew, with other words. */
static const char *bounded(const struct expectation *e)
{
	const char *fault = meet(e);

	return fault ? fault : restarts(e);
}

static const char *without_features(const struct expectation *e)
{
	const char *fault = meet(e);

	if (!fault && (batch(SHORT_MS) != e->wanted || device_info(fd).features))
		fault = "a batch with a host that has none";
	return fault ? fault : restarts(e);
}

/* ---- The table ----------------------------------------------------------------------------------------- */

static const struct expectation cases[] = {
	{ "reply: id 0", drops, 1, 0, 0 },
	{ "reply: id of ones", drops, 1, 0, 0 },
	{ "reply: another index", drops, 1, 0, 0 },
	{ "reply: an index past the table", drops, 1, 0, 0 },
	{ "reply: an older generation", drops, 1, 0, 0 },
	{ "reply: a later generation", drops, 1, 0, 0 },
	{ "reply: an id of far off", drops, 1, 0, 0 },
	{ "reply: two ids", drops, 1, 0, 0 },
	{ "reply: magic", drops, 1, 0, 0 },
	{ "reply: version", drops, 1, 0, 0 },
	{ "reply: type", drops, 1, 0, 0 },
	{ "reply: api", drops, 1, 0, 0 },
	{ "reply: method", drops, 1, 0, 0 },
	{ "reply: says it is none", drops, 1, 0, 0 },
	{ "reply: unknown flags", drops, 1, 0, 0 },
	{ "reply: buffers", drops, 1, 0, 0 },
	{ "reply: reserved", drops, 1, 0, 0 },
	{ "reply: longer than its packet", drops, 1, 0, 0 },
	{ "reply: over the bound of inline data", drops, 1, 0, 0 },
	{ "reply: 4 GiB", drops, 1, 0, 0 },
	{ "reply: another session", drops, 1, 0, 0 },
	{ "reply: no session", drops, 1, 0, 0 },
	{ "reply: another time", drops, 1, 0, 0 },
	{ "reply: to a CANCEL that wasn't sent", drops, 1, 0, 0 },
	{ "reply: three times", drops, 2, 0, 0 },
	{ "reply: 56 bytes", drops, 1, 0, 0 },
	{ "reply: no bytes", drops, 1, 0, 0 },
	{ "reply: in-band", drops, 1, 0, 0 },
	{ "reply: in-band, asks for a completion", drops, 1, 0, 0 },
	{ "reply: unknown packet type", drops, 1, 0, 0 },
	{ "reply: two calls crossed", crossed, 2, 0, 0 },
	{ "reply: after the caller gave up, twice", stale, 1, 0, 0 },
	{ "reply: too long for the caller", too_long, 0, 0, 0 },
	{ "reply: an error with data", drops, 1, 0, 0 },
	{ "reply: unknown status", calls, -EPROTO, 0, 0 },
	{ "reply: the least status", calls, -EPROTO, 0, 0 },
	{ "batch: garbled", batches, 0, 0, 0 },
	{ "flood: replies", drops, 3000, 0, 0 },
	{ "flood: packets", drops, 3000, 0, 0 },
	{ "flood: interrupts", drops, 0, 0, 0 },
	{ "ring: restless", drops, 0, 0, 0 },
	{ "ring: write index at the end", breaks, -ENODEV, 0, 1 },
	{ "ring: write index far out", breaks, -ENODEV, 0, 1 },
	{ "ring: write index unaligned", breaks, -ENODEV, 0, 1 },
	{ "ring: write index backwards", breaks, -ENODEV, 0, 1 },
	{ "ring: the guest's read index moved", breaks, -ENODEV, 0, 1 },
	{ "ring: read index at the end", breaks, -ENODEV, 0, 1 },
	{ "ring: read index unaligned", breaks, -ENODEV, 0, 1 },
	{ "ring: read index beyond", breaks, -ENODEV, 0, 1 },
	{ "ring: read index far out", breaks, -ENODEV, 0, 1 },
	{ "ring: the guest's write index moved", breaks, -ENODEV, 0, 1 },
	{ "ring: broken and taken back at once", breaks, -ENODEV, 0, 1 },
	{ "ring: broken and taken back soon", breaks, -ENODEV, 0, 1 },
	{ "ring: full of ones", breaks, -ENODEV, 0, 1 },
	{ "ring: not read, and SHUTDOWN", shut_while_full, -ECANCELED, 0, 1 },
	{ "ring: not read, and a kill", killed_while_full, 0, 0, 1 },
	{ "ring: not read, and the driver leaves", left_while_full, -ENODEV, 0, 1 },
	{ "packet: length 0", breaks, -ENODEV, 0, 1 },
	{ "packet: length 8", breaks, -ENODEV, 0, 1 },
	{ "packet: offset 0", breaks, -ENODEV, 0, 1 },
	{ "packet: offset past its length", breaks, -ENODEV, 0, 1 },
	{ "packet: the largest offset", breaks, -ENODEV, 0, 1 },
	{ "packet: longer than the ring", breaks, -ENODEV, 0, 1 },
	{ "packet: longer than written", breaks, -ENODEV, 0, 1 },
	{ "silence: ring GPADL", restarts, 0, 0, 1 },
	{ "silence: open", restarts, 0, 0, 2 },
	{ "silence: HELLO", restarts, 0, 0, 2 },
	{ "silence: SESSION_OPEN", opens, -ENODEV, 0, 1 },
	{ "silence: GPADL", allocates, -ENODEV, 0, 1 },
	{ "silence: REGISTER", allocates, -ENODEV, 0, 1 },
	{ "silence: CALL, for good", gives_up, -ETIMEDOUT, 0, 0 },
	{ "silence: CALL, until the end", calls, -ENODEV, 0, 1 },
	{ "silence: BATCH", batches, -ETIMEDOUT, 0, 0 },
	{ "silence: CANCEL", cancels, -ETIMEDOUT, 0, 0 },
	{ "silence: UNREGISTER", frees, 0, -ENODEV, 1 },
	{ "silence: SESSION_CLOSE", closes, 0, 0, 1 },
	{ "late: ring GPADL", restarts, 0, 0, 1 },
	{ "late: open", restarts, 0, 0, 1 },
	{ "late: HELLO", restarts, 0, 0, 1 },
	{ "late: SESSION_OPEN", opens, 0, 0, 0 },
	{ "late: GPADL", allocates, 0, 0, 0 },
	{ "late: REGISTER", allocates, 0, 0, 0 },
	{ "late: UNREGISTER", frees, 0, 0, 0 },
	{ "late: teardown", frees, 0, 0, 0 },
	{ "late: SESSION_CLOSE", closes, 0, 0, 0 },
	{ "late: ring teardown", rebinds, 0, 0, 1 },
	{ "refused: ring GPADL", restarts, 0, 0, 1 },
	{ "refused: open", restarts, 0, 0, 2 },
	{ "refused: HELLO", restarts, 0, 0, 2 },
	{ "refused: SESSION_OPEN", opens, -EUSERS, 0, 0 },
	{ "refused: GPADL", allocates, -EDQUOT, 0, 0 },
	{ "refused: REGISTER", allocates, -ENOSPC, 0, 0 },
	{ "refused: UNREGISTER", frees, 0, 0, 0 },
	{ "refused: SESSION_CLOSE", closes, 0, 0, 0 },
	{ "twice: ring GPADL", restarts, 0, 0, 1 },
	{ "twice: open", restarts, 0, 0, 1 },
	{ "twice: HELLO", restarts, 0, 0, 1 },
	{ "twice: SESSION_OPEN", opens, 0, 0, 0 },
	{ "twice: GPADL", allocates, 0, 0, 0 },
	{ "twice: REGISTER", allocates, 0, 0, 0 },
	{ "twice: UNREGISTER", frees, 0, 0, 0 },
	{ "twice: teardown", frees, 0, 0, 0 },
	{ "twice: SESSION_CLOSE", closes, 0, 0, 0 },
	{ "twice: ring teardown", rebinds, 0, 0, 1 },
	{ "strange answers: GPADL", allocates, 0, 0, 0 },
	{ "rescind: ring GPADL", restarts, 0, 0, 1 },
	{ "rescind: open", restarts, 0, 0, 2 },
	{ "rescind: HELLO", restarts, 0, 0, 2 },
	{ "rescind: SESSION_OPEN", opens, -ENODEV, 0, 1 },
	{ "rescind: GPADL", allocates, -ENODEV, 0, 1 },
	{ "rescind: REGISTER", allocates, -ENODEV, 0, 1 },
	{ "rescind: CALL", calls, -ENODEV, 0, 1 },
	{ "rescind: BATCH", batches, -ENODEV, 0, 1 },
	{ "rescind: CANCEL", cancels, -ETIMEDOUT, -ENODEV, 1 },
	{ "rescind: UNREGISTER", frees, 0, -ENODEV, 1 },
	{ "rescind: teardown", frees, 0, -ENODEV, 1 },
	{ "rescind: SESSION_CLOSE", closes, 0, 0, 1 },
	{ "rescind: close", rebinds, 0, 1, 1 },
	{ "rescind first: ring GPADL", restarts, 0, 0, 1 },
	{ "rescind first: open", restarts, 0, 0, 2 },
	{ "rescind first: GPADL", allocates, -ENODEV, 0, 1 },
	{ "rescind first: teardown", frees, 0, -ENODEV, 1 },
	{ "rescind first: teardown, late", frees, 0, -ENODEV, 1 },
	{ "rescind first: ring teardown", rebinds, 0, 1, 1 },
	{ "rescind first: ring teardown, late", rebinds, 0, 1, 1 },
	{ "rescind after: ring GPADL", restarts, 0, 0, 1 },
	{ "rescind after: open", restarts, 0, 0, 2 },
	{ "rescind after: HELLO", restarts, 0, 0, 2 },
	{ "rescind after: SESSION_OPEN", opens, 0, -ENODEV, 1 },
	{ "rescind after: GPADL", allocates, 0, -ENODEV, 1 },
	{ "rescind after: REGISTER", allocates, 0, -ENODEV, 1 },
	{ "rescind after: CALL", calls, 0, -ENODEV, 1 },
	{ "rescind after: UNREGISTER", frees, 0, -ENODEV, 1 },
	{ "rescind after: teardown", frees, 0, -ENODEV, 1 },
	{ "rescind after: SESSION_CLOSE", closes, 0, 0, 1 },
	{ "HELLO: version 0", restarts, 0, 0, 2 },
	{ "HELLO: version 2", restarts, 0, 0, 2 },
	{ "HELLO: nothing in flight", restarts, 0, 0, 2 },
	{ "HELLO: one in flight", bounded, 0, 0, 2 },
	{ "HELLO: 4 G in flight", bounded, 0, 0, 2 },
	{ "HELLO: no inline data", restarts, 0, 0, 2 },
	{ "HELLO: too much inline data", bounded, 0, 0, 2 },
	{ "HELLO: 4 GiB of inline data", bounded, 0, 0, 2 },
	{ "HELLO: a name without end", bounded, 0, 0, 2 },
	{ "HELLO: no buffers", restarts, 0, 0, 2 },
	{ "HELLO: buffers without bound", bounded, 0, 0, 2 },
	{ "HELLO: 65,535 buffers in a call", bounded, 0, 0, 2 },
	{ "HELLO: all features", bounded, 0, 0, 2 },
	{ "HELLO: no features", without_features, -EOPNOTSUPP, 0, 2 },
	{ "HELLO: batches of none", bounded, 0, 0, 2 },
	{ "HELLO: batches of 4 G", bounded, 0, 0, 2 },
	{ "HELLO: no sessions", restarts, 0, 0, 2 },
	{ "HELLO: reserved", restarts, 0, 0, 2 },
	{ "HELLO: too short", restarts, 0, 0, 2 },
	{ "HELLO: too long", restarts, 0, 0, 2 },
	{ "HELLO: unknown status", restarts, 0, 0, 2 },
	{ "SESSION_OPEN: session 0", opens, -EPROTO, 0, 0 },
	{ "SESSION_OPEN: two sessions", opens, -EPROTO, 0, 0 },
	{ "SESSION_OPEN: no session", opens, -EPROTO, 0, 0 },
	{ "SESSION_OPEN: half a session", opens, -EPROTO, 0, 0 },
	{ "SESSION_OPEN: unknown status", opens, -EIO, 0, 0 },
	{ "REGISTER: handle 0", allocates, -EPROTO, 0, 0 },
	{ "REGISTER: no handle", allocates, -EPROTO, 0, 0 },
	{ "REGISTER: half a handle", allocates, -EPROTO, 0, 0 },
	{ "REGISTER: unknown status", allocates, -EIO, 0, 0 },
	{ "UNREGISTER: unknown status", frees, 0, 0, 0 },
	{ "UNREGISTER: with data", frees, 0, 0, 0 },
};

#define CASES (sizeof(cases) / sizeof(cases[0]))

static const struct expectation *find(const char *name)
{
	for (unsigned int i = 0; i < CASES; i++)
		if (!strcmp(cases[i].name, name))
			return &cases[i];
	return NULL;
}

/* The host did what it was armed for, the channels that this took are there, and everything goes on. */
static const char *recovers(const struct expectation *e, uint64_t channels)
{
	struct backend_counters c = { 0 };
	uint64_t end = now_ms() + PATIENCE_MS;
	struct winapi_ioc_alloc a;
	const char *fault = await_channel(channels + e->channels);
	int err;

	if (fault)
		return fault;
	do /* what closing a file starts comes later */
		err = backend_counters(fd, &c);
	while (!err && !c.fired && now_ms() < end);
	if (err || c.fired < 1)
		return wrong("the scenario never came about", err);
	err = echo(fd);
	if (!err)
		err = batch(PATIENCE_MS);
	if (!err)
		err = buffer_alloc(fd, 200 << 10, WINAPI_ACCESS_BOTH, &a);
	if (!err)
		err = buffer_free(fd, a.id);
	return err ? wrong("afterwards", err) : NULL;
}

static void run(const struct expectation *e)
{
	struct backend_counters c;
	const char *fault = NULL;
	int err = backend_counters(fd, &c);

	if (err || backend(fd, BACKEND_ARM, e->name, (uint32_t)strlen(e->name), NULL, NULL))
		fault = wrong("arming it", err);
	if (!fault)
		fault = e->provoke(e);
	if (fault)
		printf("# %s\n", fault);
	if (!fault) {
		fault = recovers(e, c.channel);
		if (fault)
			printf("# %s\n", fault);
	}
	check(!fault, "%s", e->name);
	if (!fault)
		return;
	/* Whatever is left of it must not touch the next. */
	close(fd);
	fd = device_await();
	backend(fd, BACKEND_RESTART, NULL, 0, NULL, NULL);
	close(fd);
	usleep(1500000);
	fd = device_await();
}

int main(int argc, char **argv)
{
	const char *filter = argc > 1 ? argv[1] : "", *except = argc > 2 ? argv[2] : "\n";
	char names[WINAPI_MAX_INLINE];
	uint32_t count = 0, size;

	setvbuf(stdout, NULL, _IOLBF, 0);
	fd = device_await();
	for (;;) {
		size = sizeof(names);
		if (backend(fd, BACKEND_LIST, &count, sizeof(count), names, &size))
			bail("this host has no scenarios");
		if (!size)
			break;
		for (uint32_t at = 0; at < size; at += (uint32_t)strlen(names + at) + 1, count++) {
			const struct expectation *e = find(names + at);

			if (!e)
				check(false, "%s: a scenario that nobody expects", names + at);
			else if (strstr(e->name, filter) && !strstr(e->name, except))
				run(e);
		}
	}
	check(count == CASES, "%u scenarios, as many as are expected", count);
	close(fd);
	return finish();
}
