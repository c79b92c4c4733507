/* SPDX-License-Identifier: MIT */
/*
 * What happens to processes, not to arguments: killed in the middle of a call, forked, descriptors passed on, shut
 * down, the driver taken from under open files. Against winapi-hostd, which tells what is left at its side. Run as
 * root.
 */
#include "guest.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define KILLS 60u
#define SIZE (8 * PAGE)
#define DRIVER "/sys/bus/vmbus/drivers/winapi_client/"

static int fd;

/* ---- Helpers ------------------------------------------------------------------------------------------- */

static struct winapi_provider_stats host_stats(void)
{
	struct winapi_provider_stats stats = { 0 };
	struct winapi_ioc_call c = { .out = (uintptr_t)&stats,
				     .out_capacity = sizeof(stats),
				     .timeout_ms = PATIENCE_MS,
				     .method = WINAPI_INTROSPECTION_STATS };

	if (call(fd, &c))
		bail("the host has no statistics");
	return stats;
}

/* Once all that the others had is gone at the host, too: ours is the only session. */
static bool host_settles(void)
{
	uint64_t end = now_ms() + PATIENCE_MS;
	struct winapi_provider_stats s;

	do {
		s = host_stats();
		if (s.provider_sessions == 1 && s.provider_buffers == s.session_buffers)
			return true;
		usleep(20000);
	} while (now_ms() < end);
	printf("# the host has %llu sessions and %llu buffers\n", (unsigned long long)s.provider_sessions,
	       (unsigned long long)s.provider_buffers);
	return false;
}

/* A call that keeps the host busy for long, unless it is told to stop. */
struct long_call {
	struct winapi_perf_throughput_request request;
	struct winapi_perf_throughput_reply reply;
	struct winapi_ioc_buffer_ref ref;
	struct winapi_ioc_call call;
};

static void long_call(struct long_call *l, uint32_t id, uint64_t length)
{
	l->request = (struct winapi_perf_throughput_request){ WINAPI_PERF_READ, WINAPI_PERF_MAX_ITERATIONS };
	l->ref = (struct winapi_ioc_buffer_ref){ .id = id, .access = HOST_READS, .length = length };
	l->call = (struct winapi_ioc_call){ .in = (uintptr_t)&l->request,
					    .out = (uintptr_t)&l->reply,
					    .buffers = (uintptr_t)&l->ref,
					    .in_size = sizeof(l->request),
					    .out_capacity = sizeof(l->reply),
					    .buffer_count = 1,
					    .timeout_ms = WINAPI_IOC_NO_TIMEOUT,
					    .api = WINAPI_API_PERF_TEST,
					    .method = WINAPI_PERF_TEST_THROUGHPUT };
}
#define LONG_BYTES (16u << 20)

/* ---- Forks and descriptors ----------------------------------------------------------------------------- */

static int child_uses(void *argument)
{
	struct winapi_ioc_alloc *a = argument;
	uint8_t *map = mmap(NULL, a->map_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)a->map_offset);

	if (map == MAP_FAILED || echo(fd))
		return 1;
	map[0] = 0x42;
	return 0;
}

static void inherited(void)
{
	struct winapi_ioc_alloc a;
	uint8_t *map = buffer_alloc_mapped(fd, SIZE, 3, &a);

	if (!map)
		bail("no buffer");
	check_error(in_child(child_uses, &a), 0, "a forked child calls by the inherited descriptor");
	check(map[0] == 0x42 && host_sees(fd, a.id, map, SIZE),
	      "and writes to the buffer: parent and host see it");
	check_error(echo(fd), 0, "the child's end isn't the session's");
	check_error(buffer_free(fd, a.id), 0, "the buffer is freed");
	munmap(map, a.map_size);
}

static int send_descriptor(int to, int descriptor)
{
	union {
		char space[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = { { 0 } };
	char byte = 0;
	struct iovec iov = { &byte, 1 };
	struct msghdr message = { .msg_iov = &iov,
				  .msg_iovlen = 1,
				  .msg_control = &control,
				  .msg_controllen = sizeof(control.space) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&message);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &descriptor, sizeof(int));
	return sendmsg(to, &message, 0) == 1 ? 0 : -errno;
}

static int receive_descriptor(int from)
{
	union {
		char space[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	char byte;
	struct iovec iov = { &byte, 1 };
	struct msghdr message = { .msg_iov = &iov,
				  .msg_iovlen = 1,
				  .msg_control = &control,
				  .msg_controllen = sizeof(control.space) };
	int descriptor = -1;

	if (recvmsg(from, &message, 0) == 1 && CMSG_FIRSTHDR(&message))
		memcpy(&descriptor, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(int));
	return descriptor;
}

static int child_receives(void *argument)
{
	int passed = receive_descriptor(*(int *)argument);
	struct winapi_ioc_completion record;

	if (passed < 0 || echo(passed))
		return 1;
	/* The parent submitted; whoever has the file may read. */
	return read(passed, &record, sizeof(record)) == sizeof(record) && record.user_data == 17 ? 0 : 2;
}

static void passed_on(void)
{
	struct winapi_ioc_call c = echo_call(NULL, 0, NULL);
	struct winapi_ioc_submit s = { (uintptr_t)&c, 1, sizeof(c) };
	int ends[2], mine = device_open();

	c.user_data = 17;
	if (socketpair(AF_UNIX, SOCK_DGRAM, 0, ends) || mine < 0)
		bail("no sockets");
	check_error(device(mine, WINAPI_IOC_SUBMIT, &s), 1, "a call is submitted");
	check_error(send_descriptor(ends[1], mine), 0, "and its file sent away and closed");
	close(mine);
	check_error(in_child(child_receives, &ends[0]), 0, "who receives it calls, and reads the record");
	close(ends[0]);
	close(ends[1]);
}

static int child_reports(void *argument)
{
	struct winapi_ioc_call *c = argument;

	return device(fd, WINAPI_IOC_CALL, c) ? 1 : 0;
}

/* The driver writes to whoever calls, never to who opened the file. */
static void other_memory(void)
{
	char out[16] = "", copy[16];
	struct winapi_ioc_call c = echo_call("0123456789abcde", 16, out);

	memcpy(copy, out, sizeof(copy));
	check_error(in_child(child_reports, &c), 0, "a child's call");
	check(!memcmp(out, copy, sizeof(out)), "doesn't write to the parent's memory");
}

/* ---- Ends of calls ------------------------------------------------------------------------------------- */

static void *run_call(void *argument)
{
	struct long_call *l = argument;

	l->call.status = (uint32_t)device(fd, WINAPI_IOC_CALL, &l->call);
	return NULL;
}

static void busy(void)
{
	struct long_call l, m;
	struct winapi_ioc_alloc a;
	uint64_t end = now_ms() + PATIENCE_MS;
	struct winapi_ioc_submit s = { .count = 1, .call_size = sizeof(l.call) };
	struct winapi_ioc_cancel cancel = { 5 };
	struct winapi_ioc_completion record;
	int err;

	if (buffer_alloc(fd, LONG_BYTES, HOST_READS, &a))
		bail("no buffer");
	long_call(&l, a.id, LONG_BYTES);
	s.calls = (uintptr_t)&l.call;
	l.call.user_data = 5;
	check_error(device(fd, WINAPI_IOC_SUBMIT, &s), 1, "a call that takes long");
	check_error(buffer_free(fd, a.id), -EBUSY, "FREE of its buffer");
	check_error(echo(fd), 0, "an echo beside it");
	check_error(device(fd, WINAPI_IOC_CANCEL, &cancel), 0, "CANCEL of it");
	/* Its reply has no data: the record is all. */
	check(read(fd, &record, sizeof(record)) == sizeof(record) && record.user_data == 5,
	      "its one record comes");
	check(!record.result && record.status == WINAPI_STATUS_CANCELED, "and says CANCELED");
	check_error(device(fd, WINAPI_IOC_CANCEL, &cancel), -ENOENT, "CANCEL of it when it is over");
	long_call(&m, a.id, LONG_BYTES);
	m.call.timeout_ms = 20;
	check_error(call(fd, &m.call), -ETIMEDOUT, "CALL with a timeout, the host's or ours");
	do /* the host was told to stop; until it has, it has the buffer */
		err = buffer_free(fd, a.id);
	while (err == -EBUSY && now_ms() < end);
	check_error(err, 0, "FREE of its buffer once the host has stopped");
}

static void signal_nothing(int number)
{
	(void)number;
}

/* A signal that doesn't kill doesn't end a call, either. */
static void signals(void)
{
	struct sigaction action = { .sa_handler = signal_nothing };
	struct itimerspec every = { { 0, 2000000 }, { 0, 2000000 } };
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM };
	timer_t timer;
	int err = 0;

	sigaction(SIGALRM, &action, NULL);
	if (timer_create(CLOCK_MONOTONIC, &event, &timer) || timer_settime(timer, 0, &every, NULL))
		bail("no timer");
	for (unsigned int i = 0; i < 50 && !err; i++)
		err = echo(fd);
	timer_delete(timer);
	check_error(err, 0, "50 calls while signals arrive");
}

static void shut_down(void)
{
	struct winapi_ioc_alloc a;
	struct winapi_ioc_completion record;
	struct winapi_ioc_submit s = { .count = 1, .call_size = sizeof(struct winapi_ioc_call) };
	struct long_call l[2];
	pthread_t thread;
	int keep = fd;

	fd = device_open();
	if (fd < 0 || buffer_alloc(fd, LONG_BYTES, HOST_READS, &a))
		bail("no buffer");
	long_call(&l[0], a.id, LONG_BYTES);
	long_call(&l[1], a.id, LONG_BYTES);
	s.calls = (uintptr_t)&l[1].call;
	check_error(device(fd, WINAPI_IOC_SUBMIT, &s), 1, "a submitted call");
	pthread_create(&thread, NULL, run_call, &l[0]);
	usleep(100000);
	check(ioctl(fd, WINAPI_IOC_SHUTDOWN, 0) == 0, "SHUTDOWN while it and another run");
	pthread_join(thread, NULL);
	check_error((int)l[0].call.status, -ECANCELED, "ends the one");
	check(read(fd, &record, sizeof(record)) == sizeof(record) && record.result == -ECANCELED,
	      "and the other");
	check_error(echo(fd), -ECANCELED, "a call after it");
	close(fd);
	fd = keep;
	check(host_settles(), "the host has nothing of it any more");
}

/* ---- Killed at any point ------------------------------------------------------------------------------- */

/* Does all there is to do, until it is killed. */
static void live(uint64_t seed)
{
	struct chance c = { seed };
	uint8_t *memory = fresh_memory(64 * PAGE);
	struct long_call l;

	for (;;) {
		int file = device_open();
		uint32_t id = 0;
		struct winapi_ioc_alloc a = { 0 };
		struct winapi_ioc_buffer_ref ref = { .access = 1,
						     .address = (uintptr_t)memory,
						     .length = 16 * PAGE };
		struct winapi_ioc_submit s = { (uintptr_t)&l.call, 1, sizeof(l.call) };
		uint32_t crc;

		buffer_register(file, memory, (1 + below(&c, 64)) * PAGE, 3, &id);
		buffer_alloc(file, (1 + below(&c, 2000)) * PAGE, 3, &a);
		buffer_crc(file, &ref, &crc);
		echo(file);
		long_call(&l, a.id, PAGE);
		device(file, WINAPI_IOC_SUBMIT, &s);
		if (below(&c, 2)) {
			l.call.timeout_ms = below(&c, 20);
			device(file, WINAPI_IOC_CALL, &l.call);
		}
		if (below(&c, 2))
			buffer_free(file, id);
		close(file);
	}
}

static void kills(void)
{
	struct chance c = { 2024 };
	unsigned int killed = 0;

	for (unsigned int i = 0; i < KILLS; i++) {
		pid_t child = fork();
		int status;

		if (!child)
			live(i);
		usleep(below(&c, 150000));
		kill(child, SIGKILL);
		killed += waitpid(child, &status, 0) == child && WIFSIGNALED(status);
	}
	check(killed == KILLS, "%u processes killed while they call", KILLS);
	check_error(echo(fd), 0, "the device works");
	check(host_settles(), "the host has no session and no buffer of theirs");
}

static void *exec_now(void *nothing)
{
	usleep(50000);
	execl("/bin/true", "true", (char *)NULL);
	return nothing;
}

static int child_execs(void *nothing)
{
	struct winapi_ioc_alloc a;
	struct long_call l;
	pthread_t thread;

	(void)nothing;
	fd = device_open();
	if (fd < 0 || buffer_alloc(fd, LONG_BYTES, HOST_READS, &a))
		return 1;
	long_call(&l, a.id, LONG_BYTES);
	pthread_create(&thread, NULL, exec_now, NULL);
	device(fd, WINAPI_IOC_CALL, &l.call);
	return 2;
}

static void exec_in_call(void)
{
	check_error(in_child(child_execs, NULL), 0, "exec() by a thread while another calls");
	check(host_settles(), "the host has nothing of it any more");
}

/* ---- The driver leaves --------------------------------------------------------------------------------- */

static bool write_file(const char *path, const char *text)
{
	int file = open(path, O_WRONLY | O_CLOEXEC);
	bool written = file >= 0 && write(file, text, strlen(text)) == (ssize_t)strlen(text);

	if (file >= 0)
		close(file);
	return written;
}

static void module_in_use(void)
{
	long result = syscall(SYS_delete_module, "winapi_client", O_NONBLOCK);

	check(result < 0 && errno == EAGAIN, "the module can't be unloaded while the device is open");
	check_error(echo(fd), 0, "and goes on");
}

/* Unbinding is what unloading would do: it waits for nobody. */
static void unbind_in_call(void)
{
	struct winapi_ioc_submit s = { .count = 1, .call_size = sizeof(struct winapi_ioc_call) };
	struct winapi_ioc_completion record;
	struct winapi_ioc_alloc a;
	struct long_call l[2];
	struct pollfd p = { fd, POLLIN, 0 };
	uint8_t *map = buffer_alloc_mapped(fd, LONG_BYTES, HOST_READS, &a);
	uint8_t *memory = fresh_memory(SIZE);
	DIR *folder = opendir(DRIVER);
	struct dirent *entry;
	char name[64] = "";
	pthread_t thread;
	uint32_t id;

	while (folder && (entry = readdir(folder)))
		if (strlen(entry->d_name) == 36)
			snprintf(name, sizeof(name), "%s", entry->d_name);
	if (folder)
		closedir(folder);
	if (!map || buffer_register(fd, memory, SIZE, 3, &id))
		bail("no buffers");
	long_call(&l[0], a.id, LONG_BYTES);
	long_call(&l[1], a.id, LONG_BYTES);
	s.calls = (uintptr_t)&l[1].call;
	check_error(device(fd, WINAPI_IOC_SUBMIT, &s), 1, "a submitted call");
	pthread_create(&thread, NULL, run_call, &l[0]);
	usleep(100000);
	check(write_file(DRIVER "unbind", name), "the driver leaves the device");
	pthread_join(thread, NULL);
	check_error((int)l[0].call.status, -ENODEV, "which ends the call in flight");
	check(poll(&p, 1, (int)PATIENCE_MS) == 1, "poll() says so");
	check(read(fd, &record, sizeof(record)) == sizeof(record) && record.result == -ENODEV,
	      "as does the record");
	check(read(fd, &record, sizeof(record)) == 0, "then read() says that it's the end");
	check_error(echo(fd), -ENODEV, "a call");
	check_error(buffer_free(fd, a.id), -ENODEV, "FREE");
	map[5] = 5;
	check(map[5] == 5, "the buffer's mapping stays");
	munmap(map, a.map_size);
	munmap(memory, SIZE);
	check(write_file(DRIVER "bind", name), "the driver takes the device again");
	close(fd);
	fd = device_await();
	check_error(echo(fd), 0, "and it works");
}

int main(void)
{
	signal(SIGPIPE, SIG_IGN);
	setvbuf(stdout, NULL, _IOLBF, 0);
	fd = device_await();
	inherited();
	passed_on();
	other_memory();
	busy();
	signals();
	shut_down();
	exec_in_call();
	kills();
	module_in_use();
	unbind_in_call();
	check(host_settles(), "the host has only this session at the end");
	close(fd);
	check(pins_settle(), "no page is left pinned");
	return finish();
}
