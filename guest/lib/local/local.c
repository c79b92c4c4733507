/* SPDX-License-Identifier: MIT */
/* The local transport from the first connect to the last munmap. */
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "local.h"

#define FIRST_GPA 0x100000ull

/* ---- The end ------------------------------------------------------------------------------------------- */

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void local_shut_down(struct winapi *handle)
{
	struct local *local = local_of(handle);

	local_lose(local, -ECANCELED, "the handle is being closed");
	/* A thread may be waiting for the host's answer to a control message. */
	shutdown(local->socket, SHUT_RDWR);
	/* Whoever drains may be writing a call's output. */
	lock_take(&local->receive_lock);
	lock_drop(&local->receive_lock);
}

/* In a child the memory isn't there, and the host is the parent's to reap. */
static void free_local(struct local *local, bool forked)
{
	close_fd(&local->socket);
	close_fd(&local->kick_fd);
	close_fd(&local->call_fd);
	close_fd(&local->sleep_fd);
	close_fd(&local->stir_fd);
	async_free(local);
	if (forked)
		close_fd(&local->host_pid_fd);
	else
		host_reap(local->host_pid_fd);
	buffers_forget_all(local);
	memory_forget_all(local, !forked);
	if (!forked && local->rings)
		munmap(local->rings, local->rings_size);
	calls_free(local);
	free(local);
}

static void local_release(struct winapi *handle)
{
	free_local(local_of(handle), false);
}

static void local_release_forked(struct winapi *handle)
{
	free_local(local_of(handle), true);
}

static void local_stats(struct winapi *handle, struct winapi_stats *stats)
{
	struct local *local = local_of(handle);

	/* Without the locks: who waits for room, or sleeps for all, has them for long. */
	stats->calls = __atomic_load_n(&local->calls, __ATOMIC_RELAXED);
	stats->replies = __atomic_load_n(&local->replies, __ATOMIC_RELAXED);
	stats->bad_replies = __atomic_load_n(&local->bad_replies, __ATOMIC_RELAXED);
	stats->timeouts = __atomic_load_n(&local->timeouts, __ATOMIC_RELAXED);
	stats->signals_sent = __atomic_load_n(&local->signals, __ATOMIC_RELAXED);
	stats->sleeps = __atomic_load_n(&local->sleeps, __ATOMIC_RELAXED);
	stats->bytes_bounced = __atomic_load_n(&local->bytes_bounced, __ATOMIC_RELAXED);
	stats->buffers = __atomic_load_n(&local->buffer_count, __ATOMIC_RELAXED);
	stats->buffer_bytes = __atomic_load_n(&local->buffer_bytes, __ATOMIC_RELAXED);
}

static const struct transport_ops local_ops = {
	.shut_down = local_shut_down,
	.release = local_release,
	.release_forked = local_release_forked,
	.call = calls_call,
	.submit = async_submit,
	.complete = async_complete,
	.cancel = async_cancel,
	.fd = async_fd,
	.batch = calls_batch,
	.batch_room = calls_batch_room,
	.buffer_alloc = buffers_alloc,
	.buffer_register = buffers_register,
	.buffer_free = buffers_free,
	.stats = local_stats,
};

/* ---- CPUs ---------------------------------------------------------------------------------------------- */

/* Where the host may run: its peer credentials name it. Everywhere, if that can't be told. */
static void host_cpus(const struct local *local, cpu_set_t *set)
{
	struct ucred peer = { .pid = 0 };
	socklen_t size = sizeof(peer);

	if (!getsockopt(local->socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) && peer.pid > 0 &&
	    peer.pid != getpid() && !sched_getaffinity(peer.pid, sizeof(*set), set))
		return;
	sched_getaffinity(0, sizeof(*set), set);
}

/*
 * With one CPU for both sides, a poller only keeps the other from running. With more, some threads of this
 * side may poll at a time: as many as have CPUs that the host doesn't need.
 */
static void count_cpus(struct local *local)
{
	cpu_set_t ours, hosts, both;

	CPU_ZERO(&ours);
	CPU_ZERO(&hosts);
	if (sched_getaffinity(0, sizeof(ours), &ours))
		CPU_SET(0, &ours);
	host_cpus(local, &hosts);
	CPU_OR(&both, &ours, &hosts);
	if (CPU_COUNT(&both) < 2)
		local->base.poll = WINAPI_POLL_NEVER;
	CPU_AND(&both, &ours, &hosts);
	local->cpus = (uint32_t)CPU_COUNT(&ours);
	if (CPU_COUNT(&both) && local->cpus > 1)
		local->cpus--;
}

/* ---- Rings --------------------------------------------------------------------------------------------- */

/* One ring of the file at `offset`: its header once, its data twice. */
static uint8_t *map_ring(uint8_t *at, int fd, uint64_t offset, uint64_t data)
{
	const int protection = PROT_READ | PROT_WRITE, flags = MAP_SHARED | MAP_FIXED | MAP_POPULATE;

	if (mmap(at, VMBUS_PAGE_SIZE + data, protection, flags, fd, (off_t)offset) == MAP_FAILED ||
	    mmap(at + VMBUS_PAGE_SIZE + data, data, protection, flags, fd,
		 (off_t)(offset + VMBUS_PAGE_SIZE)) == MAP_FAILED)
		return NULL;
	return at;
}

static int map_rings(struct local *local, int fd, uint64_t data)
{
	uint64_t one = VMBUS_PAGE_SIZE + 2 * data;
	uint8_t *at;

	local->rings_size = 2 * one;
	at = mmap(NULL, local->rings_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (at == MAP_FAILED)
		return fail(-ENOMEM, "no address space for the rings");
	local->rings = at;
	if (!map_ring(at, fd, 0, data) || !map_ring(at + one, fd, VMBUS_PAGE_SIZE + data, data))
		return fail(-ENOMEM, "the rings can't be mapped");
	madvise(at, local->rings_size, MADV_DONTFORK);
	vmbus_ring_out_init(&local->out, (struct vmbus_ring_header *)at, at + VMBUS_PAGE_SIZE,
			    (uint32_t)data);
	vmbus_ring_in_init(&local->in, (struct vmbus_ring_header *)(at + one), at + one + VMBUS_PAGE_SIZE,
			   (uint32_t)data);
	/* Whoever waits looks by itself, and unmasks before it sleeps. */
	vmbus_ring_mask(&local->in);
	return 0;
}

static int open_rings(struct local *local, uint32_t data, uint64_t deadline)
{
	struct piece rings = { .gpa = local->next_gpa, .size = 2 * (VMBUS_PAGE_SIZE + (uint64_t)data) };
	int fd = memory_file(rings.size), err;

	if (fd < 0)
		return fail(fd, "no shared memory for the rings: %s", winapi_strerror(fd));
	local->next_gpa += rings.size + VMBUS_PAGE_SIZE;
	err = map_rings(local, fd, data);
	if (!err)
		err = bus_add_region(local, rings.gpa, rings.size, fd, deadline);
	close(fd);
	return err ? err : bus_open_channel(local, &rings, data, deadline);
}

/* ---- The provider -------------------------------------------------------------------------------------- */

static uint64_t at_most(uint64_t value, uint64_t bound)
{
	return value < bound ? value : bound;
}

static int hello(struct local *local, uint64_t deadline)
{
	struct winapi_hello_request request = { .min_version = WINAPI_VERSION_MIN,
						.max_version = WINAPI_VERSION_MAX,
						.features = WINAPI_FEATURES_V1 };
	struct winapi_hello_reply reply;
	struct winapi_info *info = &local->base.info;
	uint32_t size = sizeof(reply);
	int err = calls_control(local, WINAPI_MSG_HELLO, &request, sizeof(request), &reply, &size, deadline,
				NULL);

	if (err)
		return err;
	if (size != sizeof(reply) || reply.version != WINAPI_VERSION_1 || !reply.max_in_flight ||
	    reply.max_inline > WINAPI_MAX_INLINE)
		return fail(-EPROTO, "the host's HELLO makes no sense");
	memcpy(info->transport, "local", 6);
	memcpy(info->provider, reply.provider, sizeof(info->provider));
	info->provider[sizeof(info->provider) - 1] = '\0';
	info->protocol_version = reply.version;
	info->flags = WINAPI_INFO_BOUNCES;
	info->features = reply.features & WINAPI_FEATURES_V1;
	info->ring_size = local->out.size;
	info->max_in_flight = reply.max_in_flight;
	info->max_inline = reply.max_inline;
	info->max_buffers_per_call = (uint32_t)at_most(reply.max_buffers_per_call, WINAPI_MAX_BUFFERS);
	info->max_batch = (uint32_t)at_most(reply.max_batch, WINAPI_MAX_BATCH);
	info->max_buffers = reply.max_buffers;
	info->max_buffer_size = at_most(reply.max_buffer_size, WINAPI_MAX_BUFFER_SIZE);
	info->max_bytes = reply.max_bytes;
	return 0;
}

static int open_session(struct local *local, uint64_t deadline)
{
	struct winapi_session_open_request request = { .uid = getuid(),
						       .gid = getgid(),
						       .pid = (uint32_t)getpid() };
	struct winapi_session_open_reply reply = { 0 };
	uint32_t size = sizeof(reply);
	uint64_t named = 0;
	int err = calls_control(local, WINAPI_MSG_SESSION_OPEN, &request, sizeof(request), &reply, &size,
				deadline, &named);

	if (!err && (size != sizeof(reply) || !reply.session_id || named != reply.session_id))
		err = fail(-EPROTO, "the host opened no session");
	local->session = reply.session_id;
	return err;
}

/* The table for HELLO's own request is small; the real one has the size that HELLO allows. */
static int greet(struct local *local, uint64_t deadline)
{
	uint32_t limit;
	int err = calls_init(local, 1);

	if (!err)
		err = hello(local, deadline);
	if (err)
		return err;
	limit = local->base.info.max_in_flight;
	calls_free(local);
	local->in_flight = 0;
	err = calls_init(local, limit < WINAPI_IN_FLIGHT_MAX ? limit : WINAPI_IN_FLIGHT_MAX);
	local->base.info.max_in_flight = local->max_in_flight;
	return err ? err : open_session(local, deadline);
}

/* ---- Open ---------------------------------------------------------------------------------------------- */

static struct local *new_local(const struct winapi_open_options *options)
{
	struct local *local = aligned_alloc(128, sizeof(*local));

	if (!local)
		return NULL;
	memset(local, 0, sizeof(*local));
	local->base.ops = &local_ops;
	local->base.timeout_ms = options->timeout_ms;
	local->base.poll = options->poll;
	local->base.inside = 1;
	local->base.info.max_buffer_size = WINAPI_MAX_BUFFER_SIZE;
	local->socket = local->host_pid_fd = local->kick_fd = local->poll_fd = local->timer_fd = -1;
	local->sleep_fd = -1;
	local->call_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	local->notify_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	local->stir_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	local->next_gpa = FIRST_GPA;
	local->async_deadline = NO_DEADLINE;
	return local;
}

static int reach_host(struct local *local, const char *path, uint64_t deadline)
{
	int fd;

	if (!*path)
		return host_start_private(local->base.poll, &local->socket, &local->host_pid_fd);
	fd = host_connect(path, deadline);
	if (fd < 0)
		return fd;
	local->socket = fd;
	return 0;
}

int local_open(struct winapi **handle, const char *path, const struct winapi_open_options *options)
{
	uint64_t deadline = deadline_after(clock_ns(), options->timeout_ms);
	struct local *local = new_local(options);
	int err;

	if (!local)
		return fail(-ENOMEM, "no memory for a handle");
	err = process_number(&local->base.process);
	if (err)
		fail(err, "a forked child couldn't be told apart: %s", winapi_strerror(err));
	else if (local->call_fd < 0 || local->notify_fd < 0 || local->stir_fd < 0)
		err = fail(-EMFILE, "no descriptors left");
	else
		err = reach_host(local, path, deadline);
	if (!err)
		err = wait_init(local);
	if (!err) {
		count_cpus(local);
		lock_take(&local->bus_lock);
		err = bus_connect(local, deadline);
		lock_drop(&local->bus_lock);
	}
	if (!err)
		err = open_rings(local, options->ring_size, deadline);
	if (!err)
		err = greet(local, deadline);
	if (err) {
		free_local(local, false);
		return err;
	}
	*handle = &local->base;
	return 0;
}
