/* SPDX-License-Identifier: MIT */
/*
 * Virtual machines. Each vmbus-user connection is one: a guest, its memory and its bus, which host/vmbus
 * serves. What stands for the VMBus handle that a VM's worker process has is a named event.
 *
 * Each VM has a thread. It polls the rings for a while after traffic and then sleeps, as winapi-hostd does:
 * under KMCL waiting is the bus' business.
 */
#include "standin.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "guest_memory.h"

#define MAX_CHANNELS 8u /* offers to one VM */
#define MAX_KICKS 16u
#define RECORDS_A_TURN 64
#define POLL_NS 50000u
#define LOOK_NS 100000u /* how often a polling thread looks at its socket */

struct kick {
	int fd; /* -1: unused */
	struct vmbus_channel *channel;
};

struct vm {
	struct vm *next;
	unsigned int number;
	uint32_t refs; /* atomic */
	HANDLE event;

	struct lx_lock lock; /* all down to the next lock */
	struct vmbus_server *server; /* NULL until STATE */
	struct vmbus_user_state state;
	struct vmbus_user_entry *entries;
	bool greeted; /* READY was sent */
	bool broken; /* the front-end left, or broke the rules */
	bool over; /* and nothing touches its memory any more */
	int socket;
	struct kmcl_channel *channels[MAX_CHANNELS];
	struct kick kicks[MAX_KICKS];

	struct lx_lock memory_lock; /* after `lock` */
	struct memory memory;

	struct lx_lock vp_lock; /* the last one: completions signal from any thread */
	struct {
		int call; /* eventfd, -1: none */
		uint64_t flags_gpa;
	} vp[VMBUS_USER_MAX_VPS];

	uint32_t changes; /* atomic: counts, for vm_await */
	uint32_t waiters; /* atomic: in vm_await */
	uint32_t asleep; /* atomic */
	int wake; /* eventfd */
	uint64_t looked_ns; /* the thread's own: when it last looked around, */
	uint32_t looked_changes; /* and what `changes` was before */
};

static struct lx_lock vms_lock;
static struct vm *vms;

/* ---- References and waiting --------------------------------------------------------------------------- */

static void vm_free(struct vm *vm)
{
	CloseHandle(vm->event);
	lx_close(vm->wake);
	free(vm->entries);
	free(vm);
}

void vm_release(struct vm *vm)
{
	if (!__atomic_sub_fetch(&vm->refs, 1, __ATOMIC_ACQ_REL))
		vm_free(vm);
}

void vm_keep(struct vm *vm)
{
	__atomic_add_fetch(&vm->refs, 1, __ATOMIC_RELAXED);
}

struct vm *vm_of_handle(HANDLE handle)
{
	struct vm *vm;

	lx_lock(&vms_lock);
	for (vm = vms; vm && NtCompareObjects(vm->event, handle); vm = vm->next)
		;
	if (vm)
		vm_keep(vm);
	lx_unlock(&vms_lock);
	return vm;
}

HANDLE vm_handle(unsigned int number)
{
	HANDLE handle = NULL;

	lx_lock(&vms_lock);
	for (const struct vm *vm = vms; vm && !handle; vm = vm->next)
		if (vm->number == number)
			handle = vm->event;
	lx_unlock(&vms_lock);
	return handle;
}

void vm_lock(struct vm *vm)
{
	lx_lock(&vm->lock);
}

void vm_unlock(struct vm *vm)
{
	lx_unlock(&vm->lock);
}

void vm_changed(struct vm *vm)
{
	static const uint64_t one = 1;

	__atomic_add_fetch(&vm->changes, 1, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&vm->waiters, __ATOMIC_SEQ_CST))
		lx_futex_wake(&vm->changes);
	if (__atomic_load_n(&vm->asleep, __ATOMIC_SEQ_CST))
		lx_write(vm->wake, &one, sizeof(one));
}

void vm_await(struct vm *vm)
{
	uint32_t seen;

	__atomic_add_fetch(&vm->waiters, 1, __ATOMIC_SEQ_CST);
	seen = __atomic_load_n(&vm->changes, __ATOMIC_SEQ_CST);
	lx_unlock(&vm->lock);
	lx_futex_wait(&vm->changes, seen);
	__atomic_sub_fetch(&vm->waiters, 1, __ATOMIC_SEQ_CST);
	lx_lock(&vm->lock);
}

bool vm_is_over(struct vm *vm)
{
	return vm->over;
}

void *vm_map_pieces(struct vm *vm, const struct vmbus_segment *piece, uint32_t count, size_t *size)
{
	void *at;

	lx_lock(&vm->memory_lock);
	at = memory_map_pieces(&vm->memory, piece, count, size);
	lx_unlock(&vm->memory_lock);
	return at;
}

/* ---- To the front-end --------------------------------------------------------------------------------- */

static void vm_break(struct vm *vm, const char *why)
{
	if (!vm->broken && why)
		note("VM %u: %s", vm->number, why);
	vm->broken = true;
}

/* A guest that doesn't read what it asked for is dropped, not hoarded for. */
static void vm_send(struct vm *vm, uint32_t type, const void *payload, uint32_t size, int fd)
{
	struct {
		struct vmbus_user_header header;
		uint8_t payload[sizeof(struct vmbus_user_message)];
	} record = { .header = { .type = type, .size = size } };

	memcpy(record.payload, payload, size);
	if (!vm->broken && lx_send(vm->socket, &record, sizeof(record.header) + size, fd) < 0)
		vm_break(vm, "doesn't read its socket");
}

static void refuse(struct vm *vm, int err, const char *reason)
{
	struct vmbus_user_refused refused = { .error = err };

	strncpy(refused.reason, reason, sizeof(refused.reason) - 1);
	vm_send(vm, VMBUS_USER_REFUSED, &refused, sizeof(refused), -1);
	vm_break(vm, reason);
}

void vms_announce(void)
{
	lx_lock(&vms_lock);
	for (struct vm *vm = vms; vm; vm = vm->next) {
		lx_lock(&vm->lock);
		if (vm->server && !vm->greeted)
			control_tell("arrived", vm->number);
		lx_unlock(&vm->lock);
	}
	lx_unlock(&vms_lock);
}

size_t vms_waiting(char *text, size_t room)
{
	size_t at = 0;

	lx_lock(&vms_lock);
	for (struct vm *vm = vms; vm && at + 20 < room; vm = vm->next)
		if (vm->server && !vm->greeted)
			at += (size_t)snprintf(text + at, room - at, "%u ", vm->number);
	lx_unlock(&vms_lock);
	return at;
}

void vms_changed(void)
{
	lx_lock(&vms_lock);
	for (struct vm *vm = vms; vm; vm = vm->next)
		vm_changed(vm);
	lx_unlock(&vms_lock);
}

unsigned int vms_count(void)
{
	unsigned int count = 0;

	lx_lock(&vms_lock);
	for (const struct vm *vm = vms; vm; vm = vm->next)
		count++;
	lx_unlock(&vms_lock);
	return count;
}

void vm_refuse(unsigned int number)
{
	lx_lock(&vms_lock);
	for (struct vm *vm = vms; vm; vm = vm->next) {
		if (vm->number != number)
			continue;
		lx_lock(&vm->lock);
		if (!vm->greeted)
			refuse(vm, -ENODEV, "the driver makes no offer");
		lx_unlock(&vm->lock);
		vm_changed(vm);
	}
	lx_unlock(&vms_lock);
}

/* ---- What the VMBus server asks for ------------------------------------------------------------------- */

static void send_message(void *owner, uint32_t vp, const void *message, uint32_t size)
{
	struct vmbus_user_message out = { .connection_id = vp };

	memcpy(out.data, message, size);
	vm_send(owner, VMBUS_USER_HOST_MESSAGE, &out,
		(uint32_t)offsetof(struct vmbus_user_message, data) + size, -1);
}

static uint8_t *translate(void *owner, uint64_t gpa, uint64_t size)
{
	struct vm *vm = owner;
	uint8_t *data;

	lx_lock(&vm->memory_lock);
	data = memory_at(&vm->memory, gpa, size);
	lx_unlock(&vm->memory_lock);
	return data;
}

static void *map_ring(void *owner, const uint64_t *pfn, uint32_t count)
{
	struct vm *vm = owner;
	void *ring;

	lx_lock(&vm->memory_lock);
	ring = memory_map_ring(&vm->memory, pfn, count);
	lx_unlock(&vm->memory_lock);
	return ring;
}

static void unmap_ring(void *owner, void *ring, uint32_t count)
{
	(void)owner;
	memory_unmap_ring(ring, count);
}

/* Under the lock to the end: the page's region may leave meanwhile. */
static void set_event_flag(struct vm *vm, uint64_t page, uint32_t relid)
{
	uint8_t *word;

	lx_lock(&vm->memory_lock);
	word = memory_at(&vm->memory, page + VMBUS_SINT * 256u + relid / 32 * 4, 4);
	if (word)
		__atomic_fetch_or((uint32_t *)(void *)word, 1u << relid % 32, __ATOMIC_SEQ_CST);
	lx_unlock(&vm->memory_lock);
}

/*
 * An eventfd that is full may block who writes it. (One that the guest fills between the look and the write, and
 * has made blocking, holds its own VM's thread up, which is good enough here: winapi-hostd does better.)
 */
static void call_vp(int call)
{
	static const uint64_t one = 1;
	struct lx_pollfd writable = { call, LX_POLLOUT, 0 };

	if (lx_poll(&writable, 1, 0) == 1 && writable.revents == LX_POLLOUT)
		lx_write(call, &one, sizeof(one));
}

static void signal_guest(void *owner, uint32_t relid, uint32_t target)
{
	struct vm *vm = owner;
	uint32_t at;

	lx_lock(&vm->vp_lock);
	at = target < VMBUS_USER_MAX_VPS && vm->vp[target].call >= 0 ? target : 0;
	if (vm->vp[at].call >= 0) {
		if (vm->vp[at].flags_gpa != VMBUS_USER_FLAGS_OFF)
			set_event_flag(vm, vm->vp[at].flags_gpa, relid);
		call_vp(vm->vp[at].call);
	}
	lx_unlock(&vm->vp_lock);
}

static int channel_added(void *owner, struct vmbus_channel *channel, uint32_t relid, uint32_t connection_id)
{
	struct vmbus_user_channel added = { .relid = relid, .connection_id = connection_id };
	struct vm *vm = owner;
	unsigned int i = 0;

	while (i < MAX_KICKS && vm->kicks[i].fd >= 0)
		i++;
	if (i == MAX_KICKS)
		return -ENOMEM;
	vm->kicks[i] = (struct kick){ lx_eventfd(), channel };
	if (vm->kicks[i].fd < 0)
		return -ENOMEM;
	vm_send(vm, VMBUS_USER_CHANNEL, &added, sizeof(added), vm->kicks[i].fd);
	return 0;
}

static void channel_gone(void *owner, struct vmbus_channel *channel, uint32_t relid)
{
	struct vmbus_user_channel gone = { .relid = relid };
	struct vm *vm = owner;

	for (unsigned int i = 0; i < MAX_KICKS; i++) {
		if (vm->kicks[i].fd < 0 || vm->kicks[i].channel != channel)
			continue;
		lx_close(vm->kicks[i].fd);
		vm->kicks[i] = (struct kick){ -1, NULL };
	}
	vm_send(vm, VMBUS_USER_CHANNEL_GONE, &gone, sizeof(gone), -1);
}

static void complain(void *owner, const char *what)
{
	struct vm *vm = owner;

	note("VM %u: %s", vm->number, what);
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

/* ---- Offers ------------------------------------------------------------------------------------------- */

/* The front-end looks for its device right after READY, so that waits for the first offer. */
static bool greet(struct vm *vm)
{
	struct vmbus_user_ready ready = {
		.version = VMBUS_USER_VERSION,
		.max_regions = MEMORY_MAX_REGIONS,
		.max_region_bytes = MEMORY_MAX_BYTES,
	};

	if (vm->greeted)
		return true;
	vm->greeted = true;
	vm_send(vm, VMBUS_USER_READY, &ready, sizeof(ready), -1);
	if (!vmbus_server_restore(vm->server, &vm->state, vm->entries))
		return true;
	vm_break(vm, "its STATE can't be restored");
	return false;
}

struct vmbus_channel *vm_offer(struct vm *vm, struct kmcl_channel *channel, const uint8_t type[16],
			       const uint8_t instance[16], const struct vmbus_device_ops *ops)
{
	struct vmbus_offer offer = { .ops = ops, .device = channel };
	struct vmbus_channel *bus;
	unsigned int i = 0;

	memcpy(offer.interface_type, type, 16);
	memcpy(offer.interface_instance, instance, 16);
	while (i < MAX_CHANNELS && vm->channels[i])
		i++;
	if (i == MAX_CHANNELS || vm->broken || !vm->server || !greet(vm))
		return NULL;
	bus = vmbus_server_offer(vm->server, &offer);
	if (bus)
		vm->channels[i] = channel;
	return bus;
}

void vm_forget(struct vm *vm, struct kmcl_channel *channel)
{
	for (unsigned int i = 0; i < MAX_CHANNELS; i++)
		if (vm->channels[i] == channel)
			vm->channels[i] = NULL;
}

/* ---- Records from the front-end ----------------------------------------------------------------------- */

struct record {
	struct vmbus_user_header header;
	uint8_t payload[VMBUS_USER_MAX_PAYLOAD];
	int fd; /* the taker's; -1: none */
};

static void region_done(struct vm *vm, uint64_t gpa, int err)
{
	struct vmbus_user_region_done done = { .gpa = gpa, .error = err };

	vm_send(vm, VMBUS_USER_REGION_DONE, &done, sizeof(done), -1);
}

static bool region_used(struct vm *vm, const struct memory_region *region)
{
	bool used = vmbus_server_uses(vm->server, region->gpa, region->size);

	for (unsigned int i = 0; i < MAX_CHANNELS && !used; i++)
		used = vm->channels[i] && channel_uses(vm->channels[i], region->data, region->size);
	return used;
}

static void let_regions_leave(struct vm *vm)
{
	for (uint32_t i = 0; i < vm->memory.count;) {
		struct memory_region *region = &vm->memory.regions[i];
		uint64_t gpa = region->gpa;

		if (!region->leaving || region_used(vm, region)) {
			i++;
			continue;
		}
		lx_lock(&vm->memory_lock);
		memory_remove(&vm->memory, region);
		lx_unlock(&vm->memory_lock);
		region_done(vm, gpa, 0);
	}
}

static int on_state(struct vm *vm, struct record *in)
{
	size_t bytes;

	if (vm->server || in->header.size < sizeof(vm->state))
		return -EPROTO;
	memcpy(&vm->state, in->payload, sizeof(vm->state));
	if (vm->state.magic != VMBUS_USER_MAGIC || vm->state.version != VMBUS_USER_VERSION) {
		refuse(vm, -LX_EPROTONOSUPPORT, "only version 1 of vmbus-user is spoken here");
		return 0;
	}
	bytes = in->header.size - sizeof(vm->state);
	if (vm->state.reserved || vm->state.entry_count > VMBUS_USER_MAX_ENTRIES ||
	    bytes != vm->state.entry_count * sizeof(*vm->entries)) {
		refuse(vm, -LX_EPROTO, "malformed STATE");
		return 0;
	}
	vm->entries = malloc(bytes + 1);
	vm->server = vm->entries ? vmbus_server_create(&server_ops, vm, NULL) : NULL;
	if (!vm->server)
		return -ENOMEM;
	memcpy(vm->entries, in->payload + sizeof(vm->state), bytes);
	control_tell("arrived", vm->number);
	return 0;
}

static int on_region_add(struct vm *vm, struct record *in)
{
	struct vmbus_user_region region;
	int err = -EBADF;

	if (in->header.size != sizeof(region))
		return -EPROTO;
	memcpy(&region, in->payload, sizeof(region));
	if (in->fd >= 0) {
		lx_lock(&vm->memory_lock);
		err = memory_add(&vm->memory, region.gpa, region.size, in->fd);
		lx_unlock(&vm->memory_lock);
		in->fd = -1;
	}
	region_done(vm, region.gpa, err);
	return 0;
}

static int on_region_del(struct vm *vm, struct record *in)
{
	struct vmbus_user_region request;
	struct memory_region *region;

	if (in->header.size != sizeof(request))
		return -EPROTO;
	memcpy(&request, in->payload, sizeof(request));
	region = memory_find(&vm->memory, request.gpa);
	if (region && !region->leaving)
		region->leaving = true; /* let_regions_leave does the rest */
	else
		region_done(vm, request.gpa, -ENOENT);
	return 0;
}

static int on_vp(struct vm *vm, struct record *in)
{
	struct vmbus_user_vp vp;
	int old;

	if (in->header.size != sizeof(vp))
		return -EPROTO;
	memcpy(&vp, in->payload, sizeof(vp));
	if (vp.index >= VMBUS_USER_MAX_VPS || vp.reserved || in->fd < 0 || !lx_is_eventfd(in->fd))
		return -EPROTO;
	if (vp.event_flags_gpa != VMBUS_USER_FLAGS_OFF && vp.event_flags_gpa % VMBUS_PAGE_SIZE)
		return -EPROTO;
	lx_lock(&vm->vp_lock);
	old = vm->vp[vp.index].call;
	vm->vp[vp.index].call = in->fd;
	vm->vp[vp.index].flags_gpa = vp.event_flags_gpa;
	in->fd = -1;
	lx_unlock(&vm->vp_lock);
	if (old >= 0)
		lx_close(old);
	return 0;
}

static int on_message(struct vm *vm, struct record *in)
{
	const uint32_t head = offsetof(struct vmbus_user_message, data);

	if (in->header.size < head || in->header.size > sizeof(struct vmbus_user_message))
		return -EPROTO;
	return vmbus_server_message(vm->server, in->payload + head, in->header.size - head);
}

static int on_record(struct vm *vm, struct record *in)
{
	if (in->header.type == VMBUS_USER_STATE)
		return on_state(vm, in);
	if (!vm->server)
		return -EPROTO;
	switch (in->header.type) {
	case VMBUS_USER_REGION_ADD:
		return on_region_add(vm, in);
	case VMBUS_USER_REGION_DEL:
		return on_region_del(vm, in);
	case VMBUS_USER_VP:
		return on_vp(vm, in);
	case VMBUS_USER_GUEST_MESSAGE:
		return on_message(vm, in);
	default:
		return -EPROTO;
	}
}

/* 1: a record, 0: none now, negative: the connection is over. */
static int receive(struct vm *vm, struct record *in)
{
	const size_t room = sizeof(in->header) + sizeof(in->payload);
	bool odd;
	long long n = lx_receive(vm->socket, in, room, &in->fd, &odd);

	if (n == -EAGAIN)
		return 0;
	if (n <= 0)
		return -ENODEV;
	if (odd || n < (long long)sizeof(in->header) || n > (long long)room ||
	    in->header.size != (uint64_t)n - sizeof(in->header))
		return -EPROTO;
	return 1;
}

/* Before the first offer nothing is read behind STATE. */
static void read_socket(struct vm *vm)
{
	struct record in;

	for (int i = 0; i < RECORDS_A_TURN && !vm->broken && (vm->greeted || !vm->server); i++) {
		int got = receive(vm, &in);
		int err = got > 0 ? on_record(vm, &in) : got;

		if (in.fd >= 0)
			lx_close(in.fd);
		if (err)
			vm_break(vm, err == -ENODEV ? NULL : "broke the rules of vmbus-user or VMBus");
		if (got <= 0)
			break;
	}
	let_regions_leave(vm);
}

/* ---- The thread --------------------------------------------------------------------------------------- */

static void look(struct vm *vm)
{
	vm->looked_changes = __atomic_load_n(&vm->changes, __ATOMIC_SEQ_CST);
	lx_lock(&vm->lock);
	read_socket(vm);
	lx_unlock(&vm->lock);
	vm->looked_ns = lx_clock_ns();
}

static bool turn_channels(struct vm *vm)
{
	bool found = false;

	/* Only this thread forgets a channel, and then at the end of a turn. */
	for (unsigned int i = 0; i < MAX_CHANNELS; i++) {
		struct kmcl_channel *channel = __atomic_load_n(&vm->channels[i], __ATOMIC_ACQUIRE);

		if (channel && channel_turn(channel))
			found = true;
	}
	return found;
}

/* Whether the guest is gone and the last channel closed. */
static bool shut_down(struct vm *vm)
{
	bool over;

	if (!__atomic_load_n(&vm->broken, __ATOMIC_RELAXED))
		return false;
	lx_lock(&vm->lock);
	over = vm->broken && (!vm->server || vmbus_server_shut_down(vm->server));
	if (over) {
		vm->over = true;
		for (unsigned int i = 0; i < MAX_CHANNELS; i++)
			if (vm->channels[i])
				channel_lost(vm->channels[i]);
		memset(vm->channels, 0, sizeof(vm->channels));
	}
	lx_unlock(&vm->lock);
	return over;
}

static unsigned int fill_poll(struct vm *vm, struct lx_pollfd *fds)
{
	unsigned int n = 0;

	fds[n++] = (struct lx_pollfd){ vm->wake, LX_POLLIN, 0 };
	/* Until the first offer only the end of the connection matters, which poll always tells. */
	fds[n++] = (struct lx_pollfd){ vm->socket, vm->greeted || !vm->server ? LX_POLLIN : 0, 0 };
	for (unsigned int i = 0; i < MAX_KICKS; i++)
		if (vm->kicks[i].fd >= 0)
			fds[n++] = (struct lx_pollfd){ vm->kicks[i].fd, LX_POLLIN, 0 };
	return n;
}

static bool may_sleep(struct vm *vm)
{
	for (unsigned int i = 0; i < MAX_CHANNELS; i++)
		if (vm->channels[i] && channel_sleep(vm->channels[i]))
			return false;
	return !vm->broken;
}

static void sleep_until_event(struct vm *vm)
{
	struct lx_pollfd fds[2 + MAX_KICKS];
	unsigned int n = 0;
	uint64_t drained;

	lx_lock(&vm->lock);
	if (may_sleep(vm))
		n = fill_poll(vm, fds);
	lx_unlock(&vm->lock);
	if (!n)
		return;
	/* Against vm_changed: one of the two sees the other. */
	__atomic_store_n(&vm->asleep, 1, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&vm->changes, __ATOMIC_SEQ_CST) == vm->looked_changes)
		lx_poll(fds, n, -1);
	__atomic_store_n(&vm->asleep, 0, __ATOMIC_SEQ_CST);
	for (unsigned int i = 0; i < n; i++)
		if (i != 1 && fds[i].revents)
			lx_read(fds[i].fd, &drained, sizeof(drained));
	if (fds[1].revents && !(vm->greeted || !vm->server)) {
		lx_lock(&vm->lock);
		vm_break(vm, NULL);
		lx_unlock(&vm->lock);
	}
	look(vm);
}

static bool keep_polling(struct vm *vm, uint64_t *idle_since, uint32_t *turns)
{
	uint64_t now;

	if (*idle_since && ++*turns % 16)
		return true;
	now = lx_clock_ns();
	if (!*idle_since)
		*idle_since = now;
	if (now - vm->looked_ns > LOOK_NS)
		look(vm);
	return settings.poll_always ? vm->greeted : now - *idle_since < POLL_NS;
}

static void vm_end(struct vm *vm)
{
	struct vm **at = &vms;

	lx_lock(&vms_lock);
	while (*at != vm)
		at = &(*at)->next;
	*at = vm->next;
	lx_unlock(&vms_lock);
	vmbus_server_destroy(vm->server);
	memory_free(&vm->memory);
	for (unsigned int i = 0; i < VMBUS_USER_MAX_VPS; i++)
		if (vm->vp[i].call >= 0)
			lx_close(vm->vp[i].call);
	lx_close(vm->socket);
	vm_changed(vm);
	control_tell("gone", vm->number);
	vm_release(vm);
}

static ULONG NTAPI vm_run(void *argument)
{
	struct vm *vm = argument;
	uint64_t idle_since = 0;
	uint32_t turns = 0, busy = 0;

	look(vm);
	while (!shut_down(vm)) {
		if (turn_channels(vm)) {
			idle_since = 0;
			if (++busy % 256 == 0)
				look(vm);
		} else if (keep_polling(vm, &idle_since, &turns)) {
			__builtin_ia32_pause();
		} else {
			sleep_until_event(vm);
			idle_since = 0;
		}
	}
	vm_end(vm);
	return 0;
}

static void vm_begin(int socket)
{
	static unsigned int numbers;
	struct vm *vm = calloc(1, sizeof(*vm));
	char name[48];

	if (!vm) {
		lx_close(socket);
		return;
	}
	vm->number = ++numbers;
	vm->refs = 1;
	vm->socket = socket;
	vm->wake = lx_eventfd();
	for (unsigned int i = 0; i < VMBUS_USER_MAX_VPS; i++)
		vm->vp[i].call = -1;
	for (unsigned int i = 0; i < MAX_KICKS; i++)
		vm->kicks[i].fd = -1;
	snprintf(name, sizeof(name), "Global\\winapi-vm-%u", vm->number);
	vm->event = CreateEventA(NULL, 1, 0, name);
	lx_lock(&vms_lock);
	vm->next = vms;
	vms = vm;
	lx_unlock(&vms_lock);
	CloseHandle(CreateThread(NULL, 0, vm_run, vm, 0, NULL));
}

static ULONG NTAPI accept_run(void *argument)
{
	int listener = (int)(intptr_t)argument;

	for (;;) {
		int fd = lx_accept(listener);

		if (fd >= 0)
			vm_begin(fd);
	}
	return 0;
}

bool vms_start(const char *path)
{
	int fd = lx_listen(path);
	HANDLE thread = fd >= 0 ? CreateThread(NULL, 0, accept_run, (void *)(intptr_t)fd, 0, NULL) : NULL;

	if (thread)
		CloseHandle(thread);
	return thread;
}
