/* SPDX-License-Identifier: MIT */
/*
 * The KMCL functions that the driver imports, as host/windows/kmcl.h tells their documented semantics. What is
 * no error of KMCL's but a mistake of its caller is a finding.
 *
 * Assumed, as no public document says: KMCL strips VMBus' own header and has none of its own; a packet's buffer
 * is KMCL's and valid until the packet is completed; a completion for which the ring has no room is
 * KMCL's to keep; a packet that didn't ask for a completion is handed out like any other and its
 * completion dropped; a ring whose contents make no sense ends the channel as a rescind does; the state
 * callbacks' version.
 */
#define WINAPI_KMCL_ASSUMED
#include "standin.h"

#include <stdlib.h>
#include <string.h>

#include "../../host/vmbus/vmbus_server.h"
#include "../../host/windows/kmcl.h"

#define BUDGET 64u /* packets in a turn */

enum where {
	PACKET_QUEUED, /* in channel->again: to be handed out */
	PACKET_OFFERED, /* in the driver's callback for the first time, or again */
	PACKET_PENDING, /* the driver was told to wait for its external data */
	PACKET_DEFERRED, /* the driver wants it at PASSIVE_LEVEL */
};

struct kmcl_completion {
	struct kmcl_completion *next; /* of those that aren't completed */
	struct kmcl_completion *next_again;
	struct kmcl_channel *channel;
	enum where where;
	bool passive; /* hand it out at PASSIVE_LEVEL */
	bool wants_completion;
	uint32_t rounds; /* until it is handed out */
	uint32_t pends; /* times more that its external data is STATUS_PENDING */
	uint64_t transaction_id;
	struct vmbus_segment *segments; /* of its external data, or NULL */
	uint32_t segment_count;
	PMDL mdl;
	uint32_t size;
	uint8_t *data;
};

struct reply {
	struct reply *next;
	uint64_t transaction_id;
	uint32_t size;
	uint8_t data[];
};

struct gpadl_map {
	struct gpadl_map *next;
	uint32_t gpadl;
	PMDL mdl;
};

struct kmcl_channel {
	struct vm *vm;
	GUID type, instance;
	bool typed;
	struct kmcl_state_callbacks state;
	kmcl_packet_fn *packet;
	kmcl_batch_fn *batch;
	PVOID pointer;
	uint32_t max_packet, max_external, max_chain, quota;
	bool passive;
	bool enabled; /* between Enable and Disable */

	/* under the VM's lock */
	struct vmbus_channel *bus; /* NULL: not offered, or lost */
	bool attached; /* the VM's thread turns it */
	bool open;
	bool starting; /* Started and PostStarted are due */
	bool closing; /* Suspend and Closed are due */
	bool revoked;
	struct gpadl_map *maps;

	/* the VM's thread's own */
	struct kmcl_completion *again, **again_last; /* to be handed out */

	struct lx_lock out_lock; /* completions come from any thread */
	struct kmcl_completion *packets;
	uint32_t outstanding;
	bool failed; /* PacketFail: no more packets */
	bool stalled; /* a packet waits for a completion */
	struct reply *replies, **replies_last; /* for which the ring has no room */
};

/* ---- Outstanding packets ------------------------------------------------------------------------------ */

bool channel_uses(struct kmcl_channel *channel, const uint8_t *start, uint64_t size)
{
	bool uses = false;

	lx_lock(&channel->out_lock);
	for (const struct kmcl_completion *p = channel->packets; p && !uses; p = p->next)
		for (uint32_t i = 0; i < p->segment_count && !uses; i++)
			uses = p->segments[i].data >= start && p->segments[i].data < start + size;
	lx_unlock(&channel->out_lock);
	return uses;
}

static struct kmcl_completion *packet_new(struct kmcl_channel *channel, struct vmbus_packet *from)
{
	struct kmcl_completion *p = malloc(sizeof(*p));
	uint8_t *data = malloc(from->payload_size + 1);

	if (!p || !data) {
		free(p);
		free(data);
		return NULL;
	}
	*p = (struct kmcl_completion){
		.channel = channel,
		.where = PACKET_QUEUED,
		.passive = channel->passive,
		.wants_completion = from->wants_completion,
		.rounds = settings.late,
		.pends = from->segments ? settings.pend : 0,
		.transaction_id = from->transaction_id,
		.segments = from->segments,
		.segment_count = from->segment_count,
		.size = from->payload_size,
		.data = data,
	};
	memcpy(data, from->payload, from->payload_size);
	from->segments = NULL;
	lx_lock(&channel->out_lock);
	p->next = channel->packets;
	channel->packets = p;
	channel->outstanding++;
	lx_unlock(&channel->out_lock);
	hold(HELD_PACKET, 1);
	return p;
}

/* Out of the list, under out_lock; a packet that isn't there was completed before. */
static bool packet_remove(struct kmcl_channel *channel, struct kmcl_completion *packet)
{
	struct kmcl_completion **at = &channel->packets;

	while (*at && *at != packet)
		at = &(*at)->next;
	if (!*at)
		return false;
	*at = packet->next;
	return true;
}

/* What the driver might still look at is spoilt. */
static void packet_free(struct kmcl_completion *packet)
{
	hold(HELD_PACKET, -1);
	mdl_free(packet->mdl, "a packet ends");
	free(packet->segments);
	memset(packet->data, 0xdd, packet->size);
	free(packet->data);
	memset(packet, 0xdd, sizeof(*packet));
	free(packet);
}

/* Ends a packet: under out_lock, which it gives up. */
static void packet_end(struct kmcl_channel *channel, struct kmcl_completion *packet)
{
	struct vm *vm = channel->vm;
	bool external = packet->segments, awaited = !--channel->outstanding || channel->stalled;

	channel->stalled = false;
	/* With the last packet the channel may go, and with the channel the VM. */
	vm_keep(vm);
	lx_unlock(&channel->out_lock);
	packet_free(packet);
	if (external || awaited)
		vm_changed(vm);
	vm_release(vm);
}

/* ---- Replies ------------------------------------------------------------------------------------------ */

static void reply_keep(struct kmcl_channel *channel, uint64_t transaction_id, const void *data, uint32_t size)
{
	struct reply *reply = malloc(sizeof(*reply) + size);

	if (!reply)
		return;
	*reply = (struct reply){ .transaction_id = transaction_id, .size = size };
	memcpy(reply->data, data, size);
	*channel->replies_last = reply;
	channel->replies_last = &reply->next;
}

static void reply_drop(struct kmcl_channel *channel)
{
	struct reply *reply = channel->replies;

	channel->replies = reply->next;
	if (!channel->replies)
		channel->replies_last = &channel->replies;
	free(reply);
}

static void reply_send(struct kmcl_channel *channel, uint64_t transaction_id, const void *data, uint32_t size)
{
	if (channel->replies || vmbus_channel_send(channel->bus, VMBUS_PACKET_COMPLETION, 0, transaction_id,
						   data, size) == -EAGAIN)
		reply_keep(channel, transaction_id, data, size);
	else
		vmbus_channel_publish(channel->bus);
}

/* True: some still wait for room. */
static bool replies_flush(struct kmcl_channel *channel)
{
	bool left;

	lx_lock(&channel->out_lock);
	while (channel->replies) {
		struct reply *reply = channel->replies;

		if (vmbus_channel_send(channel->bus, VMBUS_PACKET_COMPLETION, 0, reply->transaction_id,
				       reply->data, reply->size) == -EAGAIN)
			break;
		reply_drop(channel);
		vmbus_channel_publish(channel->bus);
	}
	left = channel->replies;
	lx_unlock(&channel->out_lock);
	return left;
}

/* ---- Handing out -------------------------------------------------------------------------------------- */

static void put_again(struct kmcl_channel *channel, struct kmcl_completion *packet)
{
	packet->next_again = NULL;
	*channel->again_last = packet;
	channel->again_last = &packet->next_again;
}

/* One callback. The driver may have completed the packet, so it isn't looked at unless it asked for more. */
static void hand_out(struct kmcl_channel *channel, struct kmcl_completion *packet)
{
	KIRQL level = packet->passive ? misuse_level(MISUSE_PACKET) : DISPATCH_LEVEL;
	bool back = false;

	packet->where = PACKET_OFFERED;
	irql_set(level);
	channel->packet(channel, packet, packet->data, packet->size,
			packet->segments ? KMCL_PACKET_HAS_EXTERNAL_DATA : 0);
	irql_check("return from the packet callback", level);
	irql_set(PASSIVE_LEVEL);
	lx_lock(&channel->out_lock);
	for (const struct kmcl_completion *p = channel->packets; p && !back; p = p->next)
		back = p == packet && (p->where == PACKET_PENDING || p->where == PACKET_DEFERRED);
	lx_unlock(&channel->out_lock);
	if (!back)
		return;
	if (packet->where == PACKET_DEFERRED)
		packet->passive = true;
	packet->where = PACKET_QUEUED;
	put_again(channel, packet);
}

static bool has_failed(struct kmcl_channel *channel)
{
	return __atomic_load_n(&channel->failed, __ATOMIC_RELAXED);
}

/* Hands out what waits, each once. */
static uint32_t hand_out_again(struct kmcl_channel *channel)
{
	struct kmcl_completion *packet = channel->again, *next;
	uint32_t handed = 0;

	channel->again = NULL;
	channel->again_last = &channel->again;
	for (; packet; packet = next) {
		next = packet->next_again;
		if (packet->rounds || has_failed(channel)) {
			packet->rounds -= packet->rounds > 0;
			put_again(channel, packet);
		} else {
			hand_out(channel, packet);
			handed++;
		}
	}
	return handed;
}

static bool must_suspend(void)
{
	uint32_t n = __atomic_load_n(&settings.suspend_at, __ATOMIC_RELAXED);

	return n && __atomic_sub_fetch(&settings.suspend_at, 1, __ATOMIC_RELAXED) == 0;
}

static bool may_take(struct kmcl_channel *channel)
{
	bool may;

	lx_lock(&channel->out_lock);
	may = !channel->failed && !channel->replies &&
	      (!channel->quota || channel->outstanding < channel->quota);
	channel->stalled = !may;
	lx_unlock(&channel->out_lock);
	return may;
}

/* Under the VM's lock: one packet from the ring to those that wait. 1, 0: none, negative: the channel ends. */
static int take_packet(struct kmcl_channel *channel)
{
	struct kmcl_completion *p;
	struct vmbus_packet packet;
	int got = vmbus_channel_next(channel->bus, &packet);

	if (got <= 0)
		return got;
	if (packet.payload_size > channel->max_packet || packet.segment_bytes > channel->max_external) {
		vmbus_channel_leave(channel->bus, &packet);
		return -EPROTO;
	}
	p = packet_new(channel, &packet);
	if (!p) {
		vmbus_channel_leave(channel->bus, &packet);
		return -ENOMEM;
	}
	vmbus_channel_take(channel->bus, &packet);
	put_again(channel, p);
	return must_suspend() ? -ECANCELED : 1;
}

static bool take_packets(struct kmcl_channel *channel)
{
	uint32_t taken = 0, handed;
	int got = 0;

	vm_lock(channel->vm);
	if (!channel->open || channel->closing || !vmbus_channel_pending(channel->bus)) {
		vm_unlock(channel->vm);
		handed = channel->again ? hand_out_again(channel) : 0;
		goto batch;
	}
	vmbus_channel_mask(channel->bus);
	while (taken < BUDGET && may_take(channel) && (got = take_packet(channel)) > 0)
		taken++;
	vmbus_channel_release(channel->bus, false);
	if (got < 0)
		vmbus_channel_rescind(channel->bus);
	vm_unlock(channel->vm);
	handed = hand_out_again(channel);
batch:
	if (handed && channel->batch)
		channel->batch(channel, handed);
	return taken || handed || got < 0;
}

/* ---- Changes of state --------------------------------------------------------------------------------- */

static void call_back(struct kmcl_channel *channel, kmcl_state_fn *fn, const char *name)
{
	if (!fn)
		return;
	fn(channel);
	irql_check(name, PASSIVE_LEVEL);
}

static void channel_start(struct kmcl_channel *channel)
{
	call_back(channel, channel->state.started, "return from Started");
	call_back(channel, channel->state.post_started, "return from PostStarted");
}

/* What the driver never took, or was told to wait for, ends with the queue. */
static void drop_again(struct kmcl_channel *channel)
{
	while (channel->again) {
		struct kmcl_completion *packet = channel->again;

		channel->again = packet->next_again;
		lx_lock(&channel->out_lock);
		packet_remove(channel, packet);
		packet_end(channel, packet);
	}
	channel->again_last = &channel->again;
}

static void await_completions(struct kmcl_channel *channel)
{
	vm_lock(channel->vm);
	while (__atomic_load_n(&channel->outstanding, __ATOMIC_ACQUIRE))
		vm_await(channel->vm);
	vm_unlock(channel->vm);
}

static void channel_end(struct kmcl_channel *channel)
{
	drop_again(channel);
	irql_set(misuse_level(MISUSE_SUSPEND));
	call_back(channel, channel->state.suspend, "return from Suspend");
	irql_set(PASSIVE_LEVEL);
	await_completions(channel);
	call_back(channel, channel->state.closed, "return from Closed");
	vm_lock(channel->vm);
	while (channel->maps) {
		struct gpadl_map *map = channel->maps;

		fault("GPADL %u is mapped after Closed", map->gpadl);
		channel->maps = map->next;
		vmbus_gpadl_unmap(channel->bus, map->gpadl);
		mdl_free(map->mdl, NULL);
		hold(HELD_GPADL, -1);
		free(map);
	}
	lx_lock(&channel->out_lock);
	while (channel->replies)
		reply_drop(channel);
	channel->failed = false;
	lx_unlock(&channel->out_lock);
	channel->open = false;
	channel->closing = false;
	vmbus_channel_closed(channel->bus);
	vm_unlock(channel->vm);
	vm_changed(channel->vm);
}

/* Revoked and closed: the VM's thread lets it go. */
static void channel_detach(struct kmcl_channel *channel)
{
	vm_lock(channel->vm);
	vm_forget(channel->vm, channel);
	channel->attached = false;
	channel->bus = NULL;
	vm_unlock(channel->vm);
	vm_changed(channel->vm);
}

bool channel_turn(struct kmcl_channel *channel)
{
	bool starting, closing, gone;

	vm_lock(channel->vm);
	starting = channel->starting;
	closing = channel->closing && !settings.hold_close;
	gone = channel->revoked && !channel->open;
	channel->starting = false;
	vm_unlock(channel->vm);
	if (starting)
		channel_start(channel);
	else if (closing)
		channel_end(channel);
	else if (gone)
		channel_detach(channel);
	else if (channel->open && !channel->closing)
		return !(channel->replies && replies_flush(channel)) && take_packets(channel);
	else
		return false;
	return true;
}

bool channel_sleep(struct kmcl_channel *channel)
{
	bool more;

	if (channel->starting || (channel->closing && !settings.hold_close) ||
	    (channel->revoked && !channel->open))
		return true;
	if (channel->again)
		return !has_failed(channel);
	if (!channel->open || channel->closing)
		return false;
	more = vmbus_channel_unmask(channel->bus);
	/* What can't be taken isn't worth staying awake for: a completion or the guest's signal comes. */
	return more && may_take(channel);
}

void channel_lost(struct kmcl_channel *channel)
{
	channel->attached = false;
	channel->bus = NULL;
}

/* ---- The bus' side ------------------------------------------------------------------------------------ */

static uint32_t opened(void *device, struct vmbus_channel *bus)
{
	struct kmcl_channel *channel = device;
	NTSTATUS status = STATUS_SUCCESS;

	channel->bus = bus;
	irql_set(misuse_level(MISUSE_OPENED));
	if (channel->state.opened)
		status = channel->state.opened(channel);
	irql_check("return from Opened", PASSIVE_LEVEL);
	irql_set(PASSIVE_LEVEL);
	if (!NT_SUCCESS(status))
		return (uint32_t)status;
	channel->open = true;
	channel->starting = true;
	return 0;
}

static void closing(void *device, struct vmbus_channel *bus)
{
	struct kmcl_channel *channel = device;

	(void)bus;
	channel->closing = true;
	vm_changed(channel->vm);
}

/* The thread is awake, which is all that a kick is for. */
static void kicked(void *device, struct vmbus_channel *bus)
{
	(void)device;
	(void)bus;
}

static const struct vmbus_device_ops device_ops = {
	.opened = opened,
	.closing = closing,
	.kicked = kicked,
};

/* ---- KMCL: setting up --------------------------------------------------------------------------------- */

NTSTATUS NTAPI VmbChannelAllocate(PDEVICE_OBJECT parent, BOOLEAN server, struct kmcl_channel **result)
{
	struct kmcl_channel *channel;

	irql_check("VmbChannelAllocate", PASSIVE_LEVEL);
	if (!parent || !server)
		return STATUS_INVALID_PARAMETER;
	channel = must_fail("VmbChannelAllocate") ? NULL : calloc(1, sizeof(*channel));
	if (!channel)
		return STATUS_INSUFFICIENT_RESOURCES;
	channel->again_last = &channel->again;
	channel->replies_last = &channel->replies;
	hold(HELD_CHANNEL, 1);
	*result = channel;
	return STATUS_SUCCESS;
}

VOID NTAPI VmbChannelCleanup(struct kmcl_channel *channel)
{
	irql_check("VmbChannelCleanup", PASSIVE_LEVEL);
	if (channel->enabled) {
		fault("VmbChannelCleanup of a channel that is enabled");
		return;
	}
	if (channel->vm)
		vm_release(channel->vm);
	hold(HELD_CHANNEL, -1);
	memset(channel, 0xdd, sizeof(*channel));
	free(channel);
}

/* Everything that begins with Init is for the time before Enable. */
static NTSTATUS init_check(struct kmcl_channel *channel, const char *name)
{
	irql_check(name, PASSIVE_LEVEL);
	if (channel->enabled) {
		fault("%s after VmbChannelEnable", name);
		return STATUS_INVALID_DEVICE_STATE;
	}
	return must_fail(name) ? STATUS_INSUFFICIENT_RESOURCES : STATUS_SUCCESS;
}

NTSTATUS NTAPI VmbChannelInitSetFriendlyName(struct kmcl_channel *channel, PCUNICODE_STRING name)
{
	(void)name;
	return init_check(channel, "VmbChannelInitSetFriendlyName");
}

NTSTATUS NTAPI VmbChannelInitSetMaximumExternalData(struct kmcl_channel *channel, UINT32 bytes,
						    UINT32 chain_length)
{
	channel->max_external = bytes;
	channel->max_chain = chain_length;
	return init_check(channel, "VmbChannelInitSetMaximumExternalData");
}

NTSTATUS NTAPI VmbChannelInitSetMaximumPacketSize(struct kmcl_channel *channel, UINT32 bytes)
{
	channel->max_packet = bytes;
	return init_check(channel, "VmbChannelInitSetMaximumPacketSize");
}

NTSTATUS NTAPI VmbChannelInitSetProcessPacketCallbacks(struct kmcl_channel *channel, kmcl_packet_fn *packet,
						       kmcl_batch_fn *batch)
{
	channel->packet = packet;
	channel->batch = batch;
	return init_check(channel, "VmbChannelInitSetProcessPacketCallbacks");
}

NTSTATUS NTAPI VmbChannelInitSetStateChangeCallbacks(struct kmcl_channel *channel,
						     struct kmcl_state_callbacks *callbacks)
{
	if (callbacks->version != KMCL_ASSUMED_STATE_CALLBACKS_VERSION ||
	    callbacks->size != sizeof(*callbacks))
		return STATUS_INVALID_PARAMETER;
	channel->state = *callbacks;
	return init_check(channel, "VmbChannelInitSetStateChangeCallbacks");
}

NTSTATUS NTAPI VmbServerChannelInitSetSaveRestorePacketCallbacks(struct kmcl_channel *channel,
								 kmcl_save_fn *save, kmcl_restore_fn *restore)
{
	(void)save;
	(void)restore;
	return init_check(channel, "VmbServerChannelInitSetSaveRestorePacketCallbacks");
}

NTSTATUS NTAPI VmbServerChannelInitSetTargetInterfaceId(struct kmcl_channel *channel, GUID type,
							GUID instance)
{
	channel->type = type;
	channel->instance = instance;
	channel->typed = true;
	return init_check(channel, "VmbServerChannelInitSetTargetInterfaceId");
}

NTSTATUS NTAPI VmbServerChannelInitSetVmbusHandle(struct kmcl_channel *channel, HANDLE vmbus)
{
	NTSTATUS status = init_check(channel, "VmbServerChannelInitSetVmbusHandle");

	if (!NT_SUCCESS(status))
		return status;
	if (channel->vm)
		vm_release(channel->vm);
	channel->vm = vm_of_handle(vmbus);
	return channel->vm ? STATUS_SUCCESS : STATUS_INVALID_HANDLE;
}

NTSTATUS NTAPI VmbConvertVmbusHandleToKernelHandle(HANDLE user, PHANDLE kernel)
{
	HANDLE process;
	int copied;

	irql_check("VmbConvertVmbusHandleToKernelHandle", PASSIVE_LEVEL);
	if (must_fail("VmbConvertVmbusHandleToKernelHandle"))
		return STATUS_INSUFFICIENT_RESOURCES;
	/* Where Wine runs the dispatch of a request, this is the requestor's. */
	process = OpenProcess(WIN32_PROCESS_DUP_HANDLE, 0, (ULONG)(ULONG_PTR)PsGetCurrentProcessId());
	if (!process)
		return STATUS_ACCESS_DENIED;
	copied = DuplicateHandle(process, user, WIN32_CURRENT_PROCESS, kernel, 0, 0, WIN32_SAME_ACCESS);
	CloseHandle(process);
	if (!copied)
		return STATUS_INVALID_HANDLE;
	hold(HELD_HANDLE, 1);
	return STATUS_SUCCESS;
}

VOID NTAPI VmbChannelSetPointer(struct kmcl_channel *channel, PVOID pointer)
{
	channel->pointer = pointer;
}

PVOID NTAPI VmbChannelGetPointer(struct kmcl_channel *channel)
{
	return channel->pointer;
}

VOID NTAPI VmbChannelSetIncomingProcessingAtPassive(struct kmcl_channel *channel, BOOLEAN passive)
{
	channel->passive = passive;
}

VOID NTAPI VmbChannelSetTransactionQuota(struct kmcl_channel *channel, UINT32 quota)
{
	channel->quota = quota;
}

NTSTATUS NTAPI VmbChannelEnable(struct kmcl_channel *channel)
{
	NTSTATUS status = STATUS_SUCCESS;

	irql_check("VmbChannelEnable", PASSIVE_LEVEL);
	if (channel->enabled || !channel->vm || !channel->typed || !channel->packet) {
		fault("VmbChannelEnable of a channel that isn't ready");
		return STATUS_INVALID_DEVICE_STATE;
	}
	if (must_fail("VmbChannelEnable"))
		return STATUS_INSUFFICIENT_RESOURCES;
	vm_lock(channel->vm);
	channel->revoked = false;
	channel->bus = vm_offer(channel->vm, channel, (const uint8_t *)&channel->type,
				(const uint8_t *)&channel->instance, &device_ops);
	if (channel->bus)
		channel->attached = channel->enabled = true;
	else
		status = STATUS_DEVICE_NOT_CONNECTED;
	vm_unlock(channel->vm);
	vm_changed(channel->vm);
	return status;
}

VOID NTAPI VmbChannelDisable(struct kmcl_channel *channel)
{
	irql_check("VmbChannelDisable", PASSIVE_LEVEL);
	if (!channel->enabled) {
		fault("VmbChannelDisable of a channel that isn't enabled");
		return;
	}
	vm_lock(channel->vm);
	channel->revoked = true;
	if (channel->bus)
		vmbus_channel_rescind(channel->bus);
	while (channel->attached) {
		vm_unlock(channel->vm);
		vm_changed(channel->vm);
		vm_lock(channel->vm);
		if (channel->attached)
			vm_await(channel->vm);
	}
	vm_unlock(channel->vm);
	channel->enabled = false;
}

/* ---- KMCL: packets ------------------------------------------------------------------------------------ */

/* Takes the packet from the driver under out_lock, or tells why not. */
static bool packet_taken(struct kmcl_channel *channel, struct kmcl_completion *packet, const char *name)
{
	irql_check(name, DISPATCH_LEVEL);
	lx_lock(&channel->out_lock);
	if (packet_remove(channel, packet))
		return true;
	lx_unlock(&channel->out_lock);
	fault("%s of a packet that isn't the driver's", name);
	return false;
}

VOID NTAPI VmbChannelPacketComplete(struct kmcl_completion *packet, PVOID buffer, UINT32 size)
{
	struct kmcl_channel *channel = packet->channel;

	if (!packet_taken(channel, packet, "VmbChannelPacketComplete"))
		return;
	if (packet->wants_completion)
		reply_send(channel, packet->transaction_id, buffer, size);
	packet_end(channel, packet);
}

VOID NTAPI VmbChannelPacketFail(struct kmcl_completion *packet)
{
	struct kmcl_channel *channel = packet->channel;

	if (!packet_taken(channel, packet, "VmbChannelPacketFail"))
		return;
	channel->failed = true;
	packet_end(channel, packet);
}

VOID NTAPI VmbChannelPacketDeferToPassive(struct kmcl_completion *packet)
{
	irql_check("VmbChannelPacketDeferToPassive", DISPATCH_LEVEL);
	if (packet->where != PACKET_OFFERED)
		fault("VmbChannelPacketDeferToPassive outside of the packet's callback");
	packet->where = PACKET_DEFERRED;
}

NTSTATUS NTAPI VmbChannelPacketGetExternalData(struct kmcl_completion *packet, UINT32 flags, PMDL *mdl)
{
	struct kmcl_channel *channel = packet->channel;

	(void)flags;
	irql_check("VmbChannelPacketGetExternalData", DISPATCH_LEVEL);
	if (!packet->segments)
		return STATUS_INVALID_PARAMETER;
	if (packet->pends) {
		packet->pends--;
		packet->where = PACKET_PENDING;
		return STATUS_PENDING;
	}
	if (misuse(MISUSE_NESTED))
		channel->state.suspend(channel);
	if (!packet->mdl)
		packet->mdl = mdl_new(channel->vm, packet->segments, packet->segment_count,
				      settings.long_chain ? UINT32_MAX : channel->max_chain);
	if (!packet->mdl)
		return STATUS_INSUFFICIENT_RESOURCES;
	if (misuse(MISUSE_MAPPED))
		packet->mdl->MdlFlags |= MDL_SOURCE_IS_NONPAGED_POOL;
	*mdl = packet->mdl;
	return STATUS_SUCCESS;
}

/* ---- KMCL: GPADLs ------------------------------------------------------------------------------------- */

static NTSTATUS status_of(int err)
{
	return err == -ENOMEM ? STATUS_INSUFFICIENT_RESOURCES :
	       err == -EBUSY  ? STATUS_DEVICE_BUSY :
	       err == -ENOENT ? STATUS_NOT_FOUND :
				STATUS_INVALID_PARAMETER;
}

NTSTATUS NTAPI VmbChannelMapGpadl(struct kmcl_channel *channel, UINT32 flags, UINT32 gpadl, PMDL *mdl)
{
	struct gpadl_map *map = calloc(1, sizeof(*map));
	const struct vmbus_segment *segments;
	NTSTATUS status = STATUS_INSUFFICIENT_RESOURCES;
	uint32_t count;
	int err;

	(void)flags;
	irql_check("VmbChannelMapGpadl", PASSIVE_LEVEL);
	if (!map || must_fail("VmbChannelMapGpadl") || settings.no_gpadl) {
		free(map);
		return status;
	}
	vm_lock(channel->vm);
	err = channel->open ? vmbus_gpadl_map(channel->bus, gpadl, &segments, &count) : -ENOENT;
	if (err) {
		status = status_of(err);
	} else {
		map->gpadl = gpadl;
		map->mdl = mdl_new(channel->vm, segments, count, UINT32_MAX);
		if (!map->mdl)
			vmbus_gpadl_unmap(channel->bus, gpadl);
		else
			status = STATUS_SUCCESS;
	}
	if (NT_SUCCESS(status)) {
		map->next = channel->maps;
		channel->maps = map;
		*mdl = map->mdl;
		hold(HELD_GPADL, 1);
		map = NULL;
	}
	vm_unlock(channel->vm);
	free(map);
	return status;
}

VOID NTAPI VmbChannelUnmapGpadl(struct kmcl_channel *channel, UINT32 gpadl)
{
	struct gpadl_map **at = &channel->maps, *map;

	irql_check("VmbChannelUnmapGpadl", PASSIVE_LEVEL);
	vm_lock(channel->vm);
	while (*at && (*at)->gpadl != gpadl)
		at = &(*at)->next;
	map = *at;
	if (map) {
		*at = map->next;
		mdl_free(map->mdl, "VmbChannelUnmapGpadl");
		vmbus_gpadl_unmap(channel->bus, gpadl);
		hold(HELD_GPADL, -1);
	} else {
		fault("VmbChannelUnmapGpadl of GPADL %u, which isn't mapped", gpadl);
	}
	vm_unlock(channel->vm);
	vm_changed(channel->vm);
	free(map);
}
