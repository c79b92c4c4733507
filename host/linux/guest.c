/* SPDX-License-Identifier: MIT */
#include "guest.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../common/hot.h"
#include "../../common/vmbus_user_socket.h"
#include "eventfd.h"
#include "hostd.h"
#include "platform_linux.h"

#define MAX_OUTGOING 4096u /* records: a guest that doesn't read its socket is dropped */
#define RECORDS_A_TURN 64

/* ---- Log -------------------------------------------------------------------------------------------- */

void guest_complain(struct guest *guest, const char *what)
{
	if (log_allowed(&guest->log_limit))
		wp_log(WP_LOG_WARNING, "guest %u: %s", guest->number, what);
}

void guest_fail(struct guest *guest, const char *why)
{
	if (guest->fd < 0)
		return;
	wp_log(WP_LOG_WARNING, "guest %u: %s: dropped", guest->number, why);
	guest_drop(guest);
}

static void fail_now(struct task *task)
{
	struct guest *guest = (struct guest *)((char *)task - offsetof(struct guest, fail_task));

	guest_fail(guest, guest->failing);
}

void guest_fail_soon(struct guest *guest, const char *why)
{
	const char *none = NULL;

	if (!__atomic_compare_exchange_n(&guest->failing, &none, why, false, __ATOMIC_ACQ_REL,
					 __ATOMIC_RELAXED))
		return;
	guest->fail_task.run = fail_now;
	ring_thread_post(guest->thread, &guest->fail_task);
}

/* Any thread. */
static bool failing(const struct guest *guest)
{
	return __atomic_load_n(&guest->failing, __ATOMIC_RELAXED);
}

/* ---- Sending ---------------------------------------------------------------------------------------- */

struct outgoing {
	struct outgoing *next;
	int fd; /* to go with it, ours to close; -1: none */
	uint32_t type;
	uint32_t size;
	uint8_t payload[];
};

static void await_writable(struct guest *guest, bool await)
{
	struct epoll_event event = { .events = EPOLLIN | (await ? EPOLLOUT : 0u),
				     .data.ptr = &guest->source };

	if (guest->writable_awaited != await)
		epoll_ctl(guest->thread->epoll, EPOLL_CTL_MOD, guest->fd, &event);
	guest->writable_awaited = await;
}

static void enqueue(struct guest *guest, uint32_t type, const void *payload, uint32_t size, int fd)
{
	struct outgoing *record;

	if (guest->out_count == MAX_OUTGOING) {
		guest_fail_soon(guest, "doesn't read its socket");
		return;
	}
	record = malloc(sizeof(*record) + size);
	if (record)
		record->fd = fd >= 0 ? dup(fd) : -1;
	if (!record || (fd >= 0 && record->fd < 0)) {
		free(record);
		guest_fail_soon(guest, "no memory or descriptor for its messages");
		return;
	}
	record->next = NULL;
	record->type = type;
	record->size = size;
	memcpy(record->payload, payload, size);
	*guest->out_last = record;
	guest->out_last = &record->next;
	guest->out_count++;
	await_writable(guest, true);
}

static void dequeue(struct guest *guest)
{
	struct outgoing *record = guest->out;

	guest->out = record->next;
	if (!guest->out)
		guest->out_last = &guest->out;
	guest->out_count--;
	if (record->fd >= 0)
		close(record->fd);
	free(record);
}

/*
 * 0, or -errno: -EAGAIN without room. A message that is lost would leave the guest waiting without end, so its loss
 * ends the guest; but that the socket has hung up is noticed when it is read.
 */
static int send_now(struct guest *guest, uint32_t type, const void *payload, uint32_t size, int fd)
{
	int err = vmbus_user_send(guest->fd, type, payload, size, fd, MSG_DONTWAIT);

	if (err && err != -EAGAIN && err != -EPIPE && err != -ECONNRESET)
		guest_fail_soon(guest, "a message can't be sent to it");
	return err;
}

static void flush_queue(struct guest *guest)
{
	while (guest->out && !failing(guest)) {
		const struct outgoing *first = guest->out;

		if (send_now(guest, first->type, first->payload, first->size, first->fd) == -EAGAIN)
			return;
		dequeue(guest);
	}
	await_writable(guest, false);
}

static void guest_send(struct guest *guest, uint32_t type, const void *payload, uint32_t size, int fd)
{
	if (guest->fd < 0 || failing(guest))
		return;
	if (guest->out || send_now(guest, type, payload, size, fd) == -EAGAIN)
		enqueue(guest, type, payload, size, fd);
}

/* The peer may hold the same open file, which epoll would then go on watching. */
static void close_watched(struct guest *guest, int *fd)
{
	epoll_ctl(guest->thread->epoll, EPOLL_CTL_DEL, *fd, NULL);
	close(*fd);
	*fd = -1;
}

/* ---- What the VMBus server asks for ----------------------------------------------------------------- */

/* A channel's way to wake us: its eventfd, in the guest's hands too. */
struct kick {
	struct kick *next;
	struct source source;
	struct guest *guest;
	struct vmbus_channel *channel;
	int fd;
	struct task free_task;
};

HOT_PATH static void on_kick(struct source *source, uint32_t events)
{
	struct kick *kick = (struct kick *)((char *)source - offsetof(struct kick, source));

	(void)events;
	if (kick->fd >= 0)
		vmbus_channel_kick(kick->channel);
}

static void send_message(void *owner, uint32_t vp, const void *message, uint32_t size)
{
	struct vmbus_user_message out = { .connection_id = vp };

	memcpy(out.data, message, size);
	guest_send(owner, VMBUS_USER_HOST_MESSAGE, &out,
		   (uint32_t)offsetof(struct vmbus_user_message, data) + size, -1);
}

static uint8_t *translate(void *owner, uint64_t gpa, uint64_t size)
{
	struct guest *guest = owner;

	return guest_memory_translate(&guest->memory, gpa, size);
}

static void *map_ring(void *owner, const uint64_t *pfn, uint32_t count)
{
	struct guest *guest = owner;
	void *ring = guest_memory_map_ring(&guest->memory, pfn, count);

	if (!ring && errno == ENOSPC)
		guest_complain(guest, "a ring is in too many pieces, or no mappings are left for it");
	return ring;
}

static void unmap_ring(void *owner, void *ring, uint32_t count)
{
	struct guest *guest = owner;

	(void)count;
	guest_memory_unmap_ring(&guest->memory, ring);
	guest_memory_idle(guest);
}

/* The relid's bit in SINT2's part of the VP's event flags page, 256 bytes for each SINT. */
static void set_event_flag(uint8_t *page, uint32_t relid)
{
	uint8_t *word = page + VMBUS_SINT * 256u + relid / 32 * 4;

	__atomic_fetch_or((uint32_t *)word, 1u << relid % 32, __ATOMIC_SEQ_CST);
}

/* On the ring thread. A region that leaves holds no such page any more. */
static uint8_t *event_flags(struct guest *guest, uint64_t gpa)
{
	return gpa == VMBUS_USER_FLAGS_OFF ? NULL :
					     guest_memory_translate(&guest->memory, gpa, VMBUS_PAGE_SIZE);
}

/* After regions changed: completions signal from any thread, which can't look through what comes and goes on this. */
static void find_event_flags(struct guest *guest)
{
	wp_lock(&guest->vp_lock);
	for (unsigned int i = 0; i < VMBUS_USER_MAX_VPS; i++)
		guest->vp[i].flags = event_flags(guest, guest->vp[i].flags_gpa);
	wp_unlock(&guest->vp_lock);
}

HOT_PATH static void signal_guest(void *owner, uint32_t relid, uint32_t vp)
{
	struct guest *guest = owner;
	struct guest_vp *to;
	int err;

	wp_lock(&guest->vp_lock);
	to = &guest->vp[vp < VMBUS_USER_MAX_VPS && guest->vp[vp].call >= 0 ? vp : 0];
	if (to->call >= 0 && !failing(guest)) {
		if (to->flags)
			set_event_flag(to->flags, relid);
		/* The guest made it so, and each time it does holds up the others of this thread. */
		err = eventfd_signal(to->call);
		if (err)
			guest_fail_soon(guest, err == -ENOMEM ? "no timer is left to signal it with" :
								"its call eventfd can't be written");
	}
	wp_unlock(&guest->vp_lock);
}

static int channel_added(void *owner, struct vmbus_channel *channel, uint32_t relid, uint32_t connection_id)
{
	struct vmbus_user_channel added = { .relid = relid, .connection_id = connection_id };
	struct guest *guest = owner;
	struct kick *kick = calloc(1, sizeof(*kick));

	if (!kick)
		return -ENOMEM;
	kick->guest = guest;
	kick->channel = channel;
	kick->source.ready = on_kick;
	kick->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	/* Edge-triggered, so it never has to be read. */
	if (kick->fd < 0 || ring_thread_watch(guest->thread, kick->fd, EPOLLIN | EPOLLET, &kick->source)) {
		if (kick->fd >= 0)
			close(kick->fd);
		free(kick);
		return -EMFILE;
	}
	kick->next = guest->kicks;
	guest->kicks = kick;
	guest_send(guest, VMBUS_USER_CHANNEL, &added, sizeof(added), kick->fd);
	return 0;
}

static void kick_free(struct task *task)
{
	free((char *)task - offsetof(struct kick, free_task));
}

static void channel_gone(void *owner, struct vmbus_channel *channel, uint32_t relid)
{
	struct vmbus_user_channel gone = { .relid = relid };
	struct guest *guest = owner;
	struct kick **at = &guest->kicks, *kick;

	while ((*at)->channel != channel)
		at = &(*at)->next;
	kick = *at;
	*at = kick->next;
	close_watched(guest, &kick->fd);
	kick->free_task.run = kick_free;
	ring_thread_bury(guest->thread, &kick->free_task);
	guest_send(guest, VMBUS_USER_CHANNEL_GONE, &gone, sizeof(gone), -1);
}

static void complain(void *owner, const char *what)
{
	guest_complain(owner, what);
}

static const struct vmbus_server_ops server_ops = {
	.send_message = send_message,
	.translate = translate,
	.map_ring = map_ring,
	.unmap_ring = unmap_ring,
	.signal = signal_guest,
	.channel_added = channel_added,
	.channel_gone = channel_gone,
	.complain = complain,
};

/* ---- Regions that leave ------------------------------------------------------------------------------ */

static void region_done(struct guest *guest, uint64_t gpa, int err)
{
	struct vmbus_user_region_done done = { .gpa = gpa, .error = err };

	guest_send(guest, VMBUS_USER_REGION_DONE, &done, sizeof(done), -1);
}

static bool region_used(struct guest *guest, const struct guest_region *region)
{
	return (guest->server && vmbus_server_uses(guest->server, region->gpa, region->size)) ||
	       device_uses(&guest->device, region->data, region->size);
}

static void let_regions_leave(struct guest *guest)
{
	for (uint32_t i = 0; i < guest->memory.count;) {
		struct guest_region *region = &guest->memory.regions[i];
		uint64_t gpa = region->gpa;

		if (!region->leaving || region_used(guest, region)) {
			i++;
			continue;
		}
		guest_memory_remove(&guest->memory, region);
		region_done(guest, gpa, 0);
	}
}

static void idle_now(struct task *task)
{
	struct guest *guest = (struct guest *)((char *)task - offsetof(struct guest, idle_task));

	__atomic_store_n(&guest->idle_posted, 0, __ATOMIC_RELEASE);
	let_regions_leave(guest);
}

void guest_memory_idle(struct guest *guest)
{
	if (!__atomic_load_n(&guest->memory.leaving, __ATOMIC_ACQUIRE))
		return;
	if (!__atomic_exchange_n(&guest->idle_posted, 1, __ATOMIC_ACQ_REL)) {
		guest->idle_task.run = idle_now;
		ring_thread_post(guest->thread, &guest->idle_task);
	}
}

/* ---- Records from the front-end ---------------------------------------------------------------------- */

struct incoming {
	struct vmbus_user_header header;
	uint8_t payload[VMBUS_USER_MAX_PAYLOAD];
	int fd; /* the taker's; -1: none */
};

static int take_fd(struct incoming *in)
{
	int fd = in->fd;

	in->fd = -1;
	return fd;
}

static int refuse(struct guest *guest, int err, const char *reason)
{
	struct vmbus_user_refused refused = { .error = err };

	strncpy(refused.reason, reason, sizeof(refused.reason) - 1);
	guest_send(guest, VMBUS_USER_REFUSED, &refused, sizeof(refused), -1);
	return err;
}

static int start_server(struct guest *guest, const struct vmbus_user_state *state,
			const struct vmbus_user_entry *entries)
{
	const struct hostd_config *config = &guest->thread->hostd->config;
	struct vmbus_user_ready ready = {
		.version = VMBUS_USER_VERSION,
		.max_regions = config->max_regions,
		.max_region_bytes = config->max_region_bytes,
	};
	struct vmbus_offer offer;
	const char *wrong;

	guest->server = vmbus_server_create(&server_ops, guest, &config->vmbus);
	if (!guest->server)
		return refuse(guest, -ENOMEM, "out of memory");
	wrong = vmbus_server_check_state(guest->server, state, entries);
	if (wrong)
		return refuse(guest, -EPROTO, wrong);
	guest_send(guest, VMBUS_USER_READY, &ready, sizeof(ready), -1);
	vmbus_server_restore(guest->server, state, entries);
	device_describe(&guest->device, &offer);
	guest->device.channel = vmbus_server_offer(guest->server, &offer);
	return guest->device.channel ? 0 : -ENOMEM;
}

static int on_state(struct guest *guest, struct incoming *in)
{
	struct vmbus_user_state state;

	if (guest->server)
		return -EPROTO;
	if (in->header.size < sizeof(state))
		return refuse(guest, -EPROTO, "malformed STATE");
	memcpy(&state, in->payload, sizeof(state));
	if (state.magic != VMBUS_USER_MAGIC)
		return refuse(guest, -EPROTO, "not a vmbus-user front-end");
	if (state.version != VMBUS_USER_VERSION)
		return refuse(guest, -EPROTONOSUPPORT, "only version 1 of vmbus-user is spoken here");
	if (state.reserved || state.entry_count > VMBUS_USER_MAX_ENTRIES ||
	    in->header.size != sizeof(state) + state.entry_count * sizeof(struct vmbus_user_entry))
		return refuse(guest, -EPROTO, "malformed STATE");
	return start_server(guest, &state, (const void *)(in->payload + sizeof(state)));
}

static int on_region_add(struct guest *guest, struct incoming *in)
{
	struct vmbus_user_region region;
	int err = -EBADF;

	if (in->header.size != sizeof(region))
		return -EPROTO;
	memcpy(&region, in->payload, sizeof(region));
	if (in->fd >= 0)
		err = guest_memory_add(&guest->memory, region.gpa, region.size, take_fd(in));
	if (!err)
		find_event_flags(guest);
	if (err == -ENOSPC)
		guest_complain(guest, "a region is over a limit, or no mappings are left for it");
	region_done(guest, region.gpa, err);
	return 0;
}

static int on_region_del(struct guest *guest, struct incoming *in)
{
	struct vmbus_user_region request;
	struct guest_region *region;

	if (in->header.size != sizeof(request))
		return -EPROTO;
	memcpy(&request, in->payload, sizeof(request));
	if (request.size)
		return -EPROTO;
	region = guest_memory_find(&guest->memory, request.gpa);
	if (!region || region->leaving) {
		region_done(guest, request.gpa, -ENOENT);
		return 0;
	}
	guest_memory_leave(&guest->memory, region);
	find_event_flags(guest);
	let_regions_leave(guest);
	return 0;
}

static int on_vp(struct guest *guest, struct incoming *in)
{
	struct vmbus_user_vp vp;
	int old;

	if (in->header.size != sizeof(vp))
		return -EPROTO;
	memcpy(&vp, in->payload, sizeof(vp));
	if (vp.index >= VMBUS_USER_MAX_VPS || vp.reserved || in->fd < 0 || !eventfd_check(in->fd))
		return -EPROTO;
	if (vp.event_flags_gpa != VMBUS_USER_FLAGS_OFF && vp.event_flags_gpa % VMBUS_PAGE_SIZE)
		return -EPROTO;
	wp_lock(&guest->vp_lock);
	old = guest->vp[vp.index].call;
	guest->vp[vp.index] =
		(struct guest_vp){ take_fd(in), vp.event_flags_gpa, event_flags(guest, vp.event_flags_gpa) };
	wp_unlock(&guest->vp_lock);
	if (old >= 0)
		close(old);
	return 0;
}

static int on_message(struct guest *guest, struct incoming *in)
{
	const uint32_t head = offsetof(struct vmbus_user_message, data);
	struct vmbus_user_message message;

	if (in->header.size < head || in->header.size > sizeof(message))
		return -EPROTO;
	memcpy(&message, in->payload, head);
	if (message.reserved)
		return -EPROTO;
	return vmbus_server_message(guest->server, in->payload + head, in->header.size - head);
}

static int on_record(struct guest *guest, struct incoming *in)
{
	if (in->header.type == VMBUS_USER_STATE)
		return on_state(guest, in);
	if (!guest->server)
		return -EPROTO;
	switch (in->header.type) {
	case VMBUS_USER_REGION_ADD:
		return on_region_add(guest, in);
	case VMBUS_USER_REGION_DEL:
		return on_region_del(guest, in);
	case VMBUS_USER_VP:
		return on_vp(guest, in);
	case VMBUS_USER_GUEST_MESSAGE:
		return on_message(guest, in);
	default:
		return -EPROTO;
	}
}

static int receive(struct guest *guest, struct incoming *in)
{
	return vmbus_user_receive(guest->fd, in, offsetof(struct incoming, fd), &in->fd, MSG_DONTWAIT);
}

static int read_socket(struct guest *guest)
{
	struct incoming in;
	int got = 0;

	for (int i = 0; i < RECORDS_A_TURN && guest->fd >= 0 && !failing(guest); i++) {
		got = receive(guest, &in);
		if (got > 0) {
			int err = on_record(guest, &in);

			got = err ? err : got;
		}
		if (in.fd >= 0)
			close(in.fd);
		if (got <= 0)
			break;
	}
	return got < 0 ? got : 0;
}

static void on_socket(struct source *source, uint32_t events)
{
	struct guest *guest = (struct guest *)((char *)source - offsetof(struct guest, source));
	int err;

	if (guest->fd < 0)
		return;
	if (events & EPOLLOUT)
		flush_queue(guest);
	if (guest->fd < 0 || !(events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		return;
	err = read_socket(guest);
	if (err == -ECONNRESET || err == -EPIPE)
		guest_drop(guest);
	else if (err)
		guest_fail(guest,
			   err == -ENOMEM ? "out of memory" : "broke the rules of vmbus-user or VMBus");
}

/* ---- Begin and end ----------------------------------------------------------------------------------- */

static void guest_begin(struct task *task)
{
	struct guest *guest = (struct guest *)((char *)task - offsetof(struct guest, add_task));

	guest->next = guest->thread->guests;
	guest->thread->guests = guest;
	wp_log(WP_LOG_DEBUG, "guest %u connected", guest->number);
	if (ring_thread_watch(guest->thread, guest->fd, EPOLLIN, &guest->source))
		guest_fail(guest, "no memory to watch its socket");
}

struct guest *guest_start(struct ring_thread *thread, int fd, const struct wp_identity *identity,
			  bool trusted, unsigned int number)
{
	const struct hostd_config *config = &thread->hostd->config;
	struct guest *guest = calloc(1, sizeof(*guest));

	if (!guest) {
		close(fd);
		return NULL;
	}
	guest->thread = thread;
	guest->number = number;
	guest->fd = fd;
	guest->source.ready = on_socket;
	guest->identity = *identity;
	guest->identity.known = !trusted;
	guest->one_cpu = platform_shares_one_cpu((pid_t)identity->pid);
	guest->out_last = &guest->out;
	wp_lock_init(&guest->vp_lock);
	for (unsigned int i = 0; i < VMBUS_USER_MAX_VPS; i++)
		guest->vp[i] = (struct guest_vp){ -1, VMBUS_USER_FLAGS_OFF, NULL };
	guest_memory_init(&guest->memory, &thread->hostd->mappings, config->max_regions,
			  config->max_region_bytes, trusted);
	device_init(&guest->device, guest);
	__atomic_fetch_add(&thread->guest_count, 1, __ATOMIC_RELAXED);
	guest->add_task.run = guest_begin;
	ring_thread_post(thread, &guest->add_task);
	return guest;
}

static void guest_free(struct task *task)
{
	struct guest *guest = (struct guest *)((char *)task - offsetof(struct guest, free_task));
	struct ring_thread *thread = guest->thread;
	struct guest **at = &thread->guests;

	while (*at != guest)
		at = &(*at)->next;
	*at = guest->next;
	if (guest->server)
		vmbus_server_destroy(guest->server);
	while (guest->out)
		dequeue(guest);
	for (unsigned int i = 0; i < VMBUS_USER_MAX_VPS; i++)
		if (guest->vp[i].call >= 0)
			close(guest->vp[i].call);
	guest_memory_free(&guest->memory);
	device_free(&guest->device);
	wp_lock_destroy(&guest->vp_lock);
	wp_log(WP_LOG_DEBUG, "guest %u gone", guest->number);
	__atomic_fetch_sub(&thread->guest_count, 1, __ATOMIC_RELAXED);
	hostd_guest_gone(thread->hostd);
	free(guest);
}

/* Events at hand may still name the guest, and its own tasks may be in the inbox: they run before. */
static void guest_free_later(struct task *task)
{
	struct guest *guest = (struct guest *)((char *)task - offsetof(struct guest, free_task));

	task->run = guest_free;
	ring_thread_bury(guest->thread, task);
}

void guest_channel_closed(struct guest *guest)
{
	if (guest->fd >= 0 || guest->free_task.run)
		return;
	if (guest->server && !vmbus_server_shut_down(guest->server))
		return;
	guest->free_task.run = guest_free_later;
	ring_thread_post(guest->thread, &guest->free_task);
}

void guest_drop(struct guest *guest)
{
	if (guest->fd < 0)
		return;
	close_watched(guest, &guest->fd);
	guest_channel_closed(guest);
}
