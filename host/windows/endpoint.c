/* SPDX-License-Identifier: MIT */
#include "endpoint.h"

#include "mdl.h"
#include "trace.h"

/* The errnos that cross wp_transport_ops. */
#define ENOENT_OF_CORE 2
#define ENOMEM_OF_CORE 12

#define MAX_PACKET 4096u /* bytes: the largest message has 3,392, what lies behind it is padding */
#define MAX_EXTERNAL ((64u << 20) + 4096u) /* bytes in a packet's pages: 64 MiB from anywhere in the first */
#define MAX_CHAIN 8u /* MDLs that hold them */
#define STALL_MS 10 /* for how long a packet is held that finds no request slot */

/* A guest's packet until it is completed. */
struct packet {
	struct packet *next; /* free ones */
	struct kmcl_completion *completion;
	PMDL mdl; /* its pages, when it has any, mapped */
	struct wp_segments external;
	struct wp_segment segment[MAX_CHAIN];
};

/* A GPADL that the core uses. */
struct gpadl {
	struct gpadl *next;
	uint32_t id;
	uint32_t count;
	PMDL mdl;
	struct wp_segment segment[];
};

static void bump(uint64_t *counter)
{
	wp_atomic_store64(counter, wp_atomic_load64(counter) + 1);
}

/* ---- Packets: memory is kept from one to the next, as many as were ever in flight ------------------- */

/* Only ever taken as a whole, so whatever the exchange finds is a list. */
static struct packet *take_given_back(struct endpoint *endpoint)
{
	return InterlockedExchangePointer(&endpoint->given_back, NULL);
}

static struct packet *packet_get(struct endpoint *endpoint)
{
	struct packet *packet = endpoint->spare;

	if (!packet)
		packet = take_given_back(endpoint);
	if (!packet)
		return wp_alloc(sizeof(*packet));
	endpoint->spare = packet->next;
	return packet;
}

static void packet_put(struct endpoint *endpoint, struct packet *packet)
{
	PVOID head;

	do {
		head = endpoint->given_back;
		packet->next = head;
	} while (InterlockedCompareExchangePointer(&endpoint->given_back, packet, head) != head);
}

static void packets_free(struct packet *packet)
{
	while (packet) {
		struct packet *next = packet->next;

		wp_free(packet);
		packet = next;
	}
}

/* ---- A packet's own pages ---------------------------------------------------------------------------- */

static NTSTATUS external_map(struct packet *packet)
{
	struct wp_segments *external = &packet->external;
	PMDL mdl = NULL;
	NTSTATUS status = kmcl.VmbChannelPacketGetExternalData(packet->completion, 0, &mdl);

	/* STATUS_PENDING is among the successes. */
	if (status != STATUS_SUCCESS)
		return status;
	external->segment = packet->segment;
	external->count = mdl_count(mdl);
	external->size = 0;
	if (!external->count || external->count > MAX_CHAIN)
		return STATUS_INVALID_PARAMETER;
	if (!mdl_map(mdl, external->count, packet->segment))
		return STATUS_INSUFFICIENT_RESOURCES;
	for (uint32_t i = 0; i < external->count; i++)
		external->size += packet->segment[i].size;
	packet->mdl = mdl;
	return STATUS_SUCCESS;
}

static void external_unmap(struct packet *packet)
{
	if (packet->mdl)
		mdl_unmap(packet->mdl, packet->external.count);
	packet->mdl = NULL;
}

/* ---- The provider core's side ------------------------------------------------------------------------- */

/* KMCL keeps what finds no room in the ring, and keeps the order. The pages are KMCL's again with the call. */
static int complete(void *transport, void *given, uint64_t request_id, const void *reply, uint32_t size)
{
	struct endpoint *endpoint = transport;
	struct packet *packet = given;
	struct kmcl_completion *completion = packet->completion;

	UNREFERENCED_PARAMETER(request_id);
	assert_irql_max(DISPATCH_LEVEL);
	if (packet->mdl)
		bump(&endpoint->counters.external_completed);
	external_unmap(packet);
	packet_put(endpoint, packet);
	bump(&endpoint->counters.completed);
	kmcl.VmbChannelPacketComplete(completion, (PVOID)(ULONG_PTR)reply, size);
	return 0;
}

/* A mapped GPADL with its segments, or NULL for lack of memory. The pages stay KMCL's to unmap. */
static struct gpadl *gpadl_new(uint32_t id, PMDL mdl)
{
	uint32_t count = mdl_count(mdl);
	struct gpadl *gpadl = wp_alloc(sizeof(*gpadl) + count * sizeof(gpadl->segment[0]));

	if (!gpadl)
		return NULL;
	gpadl->id = id;
	gpadl->count = count;
	gpadl->mdl = mdl;
	if (!mdl_map(mdl, count, gpadl->segment)) {
		wp_free(gpadl);
		return NULL;
	}
	return gpadl;
}

static int map_gpadl(void *transport, uint32_t id, struct wp_segments *segments)
{
	struct endpoint *endpoint = transport;
	struct gpadl *gpadl;
	PMDL mdl = NULL;
	NTSTATUS status;

	assert_passive();
	status = kmcl.VmbChannelMapGpadl(endpoint->channel, 0, id, &mdl);
	if (status == STATUS_INSUFFICIENT_RESOURCES || status == STATUS_NO_MEMORY)
		return -ENOMEM_OF_CORE;
	if (!NT_SUCCESS(status))
		return -ENOENT_OF_CORE;
	gpadl = gpadl_new(id, mdl);
	if (!gpadl) {
		kmcl.VmbChannelUnmapGpadl(endpoint->channel, id);
		return -ENOMEM_OF_CORE;
	}
	*segments = (struct wp_segments){ .segment = gpadl->segment, .count = gpadl->count };
	for (uint32_t i = 0; i < gpadl->count; i++)
		segments->size += gpadl->segment[i].size;
	wp_lock(&endpoint->lock);
	gpadl->next = endpoint->gpadls;
	endpoint->gpadls = gpadl;
	bump(&endpoint->counters.gpadls_mapped);
	wp_unlock(&endpoint->lock);
	return 0;
}

static void unmap_gpadl(void *transport, uint32_t id)
{
	struct endpoint *endpoint = transport;
	struct gpadl **at = &endpoint->gpadls;
	struct gpadl *gpadl;

	assert_passive();
	wp_lock(&endpoint->lock);
	while ((*at)->id != id)
		at = &(*at)->next;
	gpadl = *at;
	*at = gpadl->next;
	bump(&endpoint->counters.gpadls_unmapped);
	wp_unlock(&endpoint->lock);
	mdl_unmap(gpadl->mdl, gpadl->count);
	kmcl.VmbChannelUnmapGpadl(endpoint->channel, id);
	wp_free(gpadl);
}

static void resume(void *transport)
{
	struct endpoint *endpoint = transport;

	KeSetEvent(&endpoint->resume, IO_NO_INCREMENT, FALSE);
}

static void core_closed(void *transport)
{
	struct endpoint *endpoint = transport;

	KeSetEvent(&endpoint->closed, IO_NO_INCREMENT, FALSE);
}

static const struct wp_transport_ops transport_ops = {
	.complete = complete,
	.map_gpadl = map_gpadl,
	.unmap_gpadl = unmap_gpadl,
	.resume = resume,
	.closed = core_closed,
};

/* ---- KMCL's side: one callback at a time, or the core would be entered twice --------------------------- */

#if WINAPI_CHECKED
static void enter(struct endpoint *endpoint)
{
	LONG inside = InterlockedIncrement(&endpoint->inside);

	winapi_assert(inside == 1);
}

static void leave(struct endpoint *endpoint)
{
	InterlockedDecrement(&endpoint->inside);
}
#else
static void enter(struct endpoint *endpoint)
{
	UNREFERENCED_PARAMETER(endpoint);
}

static void leave(struct endpoint *endpoint)
{
	UNREFERENCED_PARAMETER(endpoint);
}
#endif

/* ---- KMCL's side: packets ------------------------------------------------------------------------------ */

/* The packet is KMCL's again, and its queue stops. The offer is revoked by the offer's own thread. */
static void fail(struct endpoint *endpoint, struct kmcl_completion *completion, const char *why)
{
	kmcl.VmbChannelPacketFail(completion);
	if (endpoint->broken)
		return;
	endpoint->broken = true;
	bump(&endpoint->counters.malformed);
	trace_failed(endpoint->id, why);
	KeSetEvent(&endpoint->failed, IO_NO_INCREMENT, FALSE);
}

/* False: still no slot. The packet goes back to KMCL's queue, so that a Suspend can come in between. */
static bool await_slot(struct endpoint *endpoint)
{
	LARGE_INTEGER timeout = { .QuadPart = -STALL_MS * 10000ll };

	return KeWaitForSingleObject(&endpoint->resume, Executive, KernelMode, FALSE, &timeout) ==
	       STATUS_SUCCESS;
}

/* Hands it to the core. Unless the core takes it, its pages are unmapped when this returns. */
static enum wp_packet_result offer_to_core(struct endpoint *endpoint, struct packet *packet, const void *data,
					   uint32_t size)
{
	const struct wp_segments *external = packet->mdl ? &packet->external : NULL;
	enum wp_packet_result result;

	/* The transaction id is KMCL's secret. */
	result = wp_channel_packet(endpoint->core, packet, 0, data, size, external);
	if (result == WP_PACKET_BUSY) {
		bump(&endpoint->counters.stalled);
		if (await_slot(endpoint))
			result = wp_channel_packet(endpoint->core, packet, 0, data, size, external);
	}
	if (result != WP_PACKET_TAKEN)
		external_unmap(packet);
	return result;
}

/* A packet with memory for it, and its pages mapped when it has any. */
static void take(struct endpoint *endpoint, struct packet *packet, const void *data, uint32_t size)
{
	struct kmcl_completion *completion = packet->completion;
	bool external = packet->mdl != NULL;
	enum wp_packet_result result = offer_to_core(endpoint, packet, data, size);

	/* From here on a packet that was taken may be another one's already. */
	if (result == WP_PACKET_TAKEN) {
		bump(&endpoint->counters.packets);
		if (external)
			bump(&endpoint->counters.external_packets);
		return;
	}
	packet_put(endpoint, packet);
	if (result == WP_PACKET_BUSY)
		kmcl.VmbChannelPacketDeferToPassive(completion);
	else
		fail(endpoint, completion, "malformed packet");
}

static void process(struct endpoint *endpoint, struct kmcl_completion *completion, const void *data,
		    uint32_t size, bool external)
{
	struct packet *packet = packet_get(endpoint);
	NTSTATUS status = STATUS_SUCCESS;

	if (!packet) {
		fail(endpoint, completion, "no memory for a packet");
		return;
	}
	packet->completion = completion;
	packet->mdl = NULL;
	if (external)
		status = external_map(packet);
	if (status == STATUS_SUCCESS) {
		take(endpoint, packet, data, size);
		return;
	}
	packet_put(endpoint, packet);
	if (status == STATUS_PENDING)
		bump(&endpoint->counters.external_pending); /* and the packet comes again */
	else
		fail(endpoint, completion, "a packet's pages can't be mapped");
}

static VOID NTAPI on_packet(struct kmcl_channel *channel, struct kmcl_completion *completion, PVOID data,
			    UINT32 size, UINT32 flags)
{
	struct endpoint *endpoint = kmcl.VmbChannelGetPointer(channel);

	if (winapi_driver.parameters.incoming_at_dispatch && KeGetCurrentIrql() != PASSIVE_LEVEL) {
		bump(&endpoint->counters.deferred);
		kmcl.VmbChannelPacketDeferToPassive(completion);
		return;
	}
	assert_passive();
	enter(endpoint);
	if (endpoint->broken || !endpoint->core)
		fail(endpoint, completion, "a packet on a closed channel");
	else
		process(endpoint, completion, data, size, flags & KMCL_PACKET_HAS_EXTERNAL_DATA);
	leave(endpoint);
}

/* ---- KMCL's side: states ------------------------------------------------------------------------------- */

static NTSTATUS open_core(struct endpoint *endpoint)
{
	static const struct wp_identity unknown = { .known = false };

	winapi_assert(!endpoint->core);
	KeClearEvent(&endpoint->resume);
	KeClearEvent(&endpoint->closed);
	endpoint->core = wp_channel_open(winapi_driver.provider, &transport_ops, endpoint, &unknown);
	if (!endpoint->core)
		return STATUS_INSUFFICIENT_RESOURCES;
	bump(&endpoint->counters.opens);
	wp_atomic_store32(&endpoint->open, 1);
	trace_opened(endpoint->id);
	return STATUS_SUCCESS;
}

static NTSTATUS NTAPI on_opened(struct kmcl_channel *channel)
{
	struct endpoint *endpoint = kmcl.VmbChannelGetPointer(channel);
	NTSTATUS status;

	assert_passive();
	enter(endpoint);
	status = open_core(endpoint);
	leave(endpoint);
	return status;
}

/* Every packet that is out is completed when this returns, and every GPADL unmapped. */
static void close_core(struct endpoint *endpoint)
{
	wp_atomic_store32(&endpoint->open, 0);
	wp_channel_close(endpoint->core);
	KeWaitForSingleObject(&endpoint->closed, Executive, KernelMode, FALSE, NULL);
	endpoint->core = NULL;
	winapi_assert(!endpoint->gpadls);
	winapi_assert(endpoint->counters.packets == endpoint->counters.completed);
	packets_free(endpoint->spare);
	endpoint->spare = NULL;
	packets_free(take_given_back(endpoint));
	trace_closed(endpoint->id, endpoint->counters.packets);
}

/*
 * For Suspend, and for Closed of a channel that never started. What was queued is dropped, what runs is told to
 * stop and has looked at that after 1 MiB. A channel that starts again without having closed (nothing here pauses
 * one) must open again.
 */
static VOID NTAPI on_end(struct kmcl_channel *channel)
{
	struct endpoint *endpoint = kmcl.VmbChannelGetPointer(channel);

	assert_passive();
	enter(endpoint);
	if (endpoint->core)
		close_core(endpoint);
	leave(endpoint);
}

/* Sessions, handles and mapped memory don't travel: a saved guest sees its device go, and come with a new offer. */
static NTSTATUS NTAPI refuse_save(struct kmcl_channel *channel, struct kmcl_packet *packet, PVOID buffer,
				  UINT32 size, PUINT32 needed)
{
	UNREFERENCED_PARAMETER(channel);
	UNREFERENCED_PARAMETER(packet);
	UNREFERENCED_PARAMETER(buffer);
	UNREFERENCED_PARAMETER(size);
	*needed = 0;
	return STATUS_NOT_SUPPORTED;
}

static NTSTATUS NTAPI refuse_restore(struct kmcl_channel *channel, struct kmcl_packet *packet, PVOID buffer,
				     UINT32 size)
{
	UNREFERENCED_PARAMETER(channel);
	UNREFERENCED_PARAMETER(packet);
	UNREFERENCED_PARAMETER(buffer);
	UNREFERENCED_PARAMETER(size);
	return STATUS_NOT_SUPPORTED;
}

/* ---- Begin and end -------------------------------------------------------------------------------------- */

static NTSTATUS set_callbacks(struct kmcl_channel *channel)
{
	struct kmcl_state_callbacks callbacks;
	NTSTATUS status;

	kmcl_state_callbacks_init(&callbacks);
	callbacks.opened = on_opened;
	callbacks.closed = on_end;
	callbacks.suspend = on_end;
	status = kmcl.VmbChannelInitSetStateChangeCallbacks(channel, &callbacks);
	if (NT_SUCCESS(status))
		status = kmcl.VmbChannelInitSetProcessPacketCallbacks(channel, on_packet, NULL);
	if (NT_SUCCESS(status))
		status = kmcl.VmbServerChannelInitSetSaveRestorePacketCallbacks(channel, refuse_save,
										refuse_restore);
	return status;
}

static NTSTATUS set_limits(struct kmcl_channel *channel)
{
	NTSTATUS status = kmcl.VmbChannelInitSetMaximumPacketSize(channel, MAX_PACKET);
	UNICODE_STRING name;

	RtlInitUnicodeString(&name, L"winapi remoting");
	if (NT_SUCCESS(status))
		status = kmcl.VmbChannelInitSetMaximumExternalData(channel, MAX_EXTERNAL, MAX_CHAIN);
	if (NT_SUCCESS(status))
		status = kmcl.VmbChannelInitSetFriendlyName(channel, &name);
	/* As many as the core has slots for: a guest that doesn't read its replies fills no more of KMCL's queues. */
	kmcl.VmbChannelSetTransactionQuota(channel,
					   2 * wp_provider_limits(winapi_driver.provider)->max_in_flight);
	kmcl.VmbChannelSetIncomingProcessingAtPassive(channel,
						      !winapi_driver.parameters.incoming_at_dispatch);
	return status;
}

static NTSTATUS set_target(struct kmcl_channel *channel, HANDLE vmbus, const GUID *instance)
{
	static const uint8_t type_bytes[16] = WINAPI_INTERFACE_GUID_BYTES;
	NTSTATUS status = kmcl.VmbServerChannelInitSetVmbusHandle(channel, vmbus);
	GUID type;

	memcpy(&type, type_bytes, sizeof(type));
	if (NT_SUCCESS(status))
		status = kmcl.VmbServerChannelInitSetTargetInterfaceId(channel, type, *instance);
	return status;
}

_Use_decl_annotations_ NTSTATUS endpoint_create(struct endpoint *endpoint, uint64_t id, HANDLE vmbus,
						const GUID *instance)
{
	NTSTATUS status;

	endpoint->id = id;
	wp_lock_init(&endpoint->lock);
	KeInitializeEvent(&endpoint->failed, NotificationEvent, FALSE);
	KeInitializeEvent(&endpoint->resume, SynchronizationEvent, FALSE);
	KeInitializeEvent(&endpoint->closed, NotificationEvent, FALSE);
	status = kmcl.VmbChannelAllocate(winapi_driver.device, TRUE, &endpoint->channel);
	if (!NT_SUCCESS(status))
		return status;
	kmcl.VmbChannelSetPointer(endpoint->channel, endpoint);
	status = set_target(endpoint->channel, vmbus, instance);
	if (NT_SUCCESS(status))
		status = set_limits(endpoint->channel);
	if (NT_SUCCESS(status))
		status = set_callbacks(endpoint->channel);
	if (!NT_SUCCESS(status))
		endpoint_destroy(endpoint);
	return status;
}

_Use_decl_annotations_ NTSTATUS endpoint_offer(struct endpoint *endpoint)
{
	return kmcl.VmbChannelEnable(endpoint->channel);
}

_Use_decl_annotations_ void endpoint_revoke(struct endpoint *endpoint)
{
	kmcl.VmbChannelDisable(endpoint->channel);
	winapi_assert(!endpoint->core);
}

_Use_decl_annotations_ void endpoint_destroy(struct endpoint *endpoint)
{
	kmcl.VmbChannelCleanup(endpoint->channel);
	wp_lock_destroy(&endpoint->lock);
}
