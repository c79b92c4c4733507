/* SPDX-License-Identifier: MIT */
/*
 * VMBus' kernel-mode client library (KMCL), as far as this driver needs it, written from the public
 * documentation of vmbuskernelmodeclientlibapi.h. Type names are our own, so that a build with
 * Microsoft's header can have both and compare them (kmcl_check.c); function names are the documented
 * ones.
 *
 * Only documented facts stand here. What the documents leave open is marked "assumed", and a value that
 * isn't public exists only where WINAPI_KMCL_ASSUMED is defined, which tests do and nothing else may.
 *
 * Include after ntddk.h or wdm.h.
 */
#ifndef WINAPI_KMCL_H
#define WINAPI_KMCL_H

/* Handles, VMBCHANNEL, VMBPACKET and VMBPACKETCOMPLETION in the documents. */
struct kmcl_channel;
struct kmcl_packet; /* one of the server's own */
struct kmcl_completion; /* a guest's packet until it is completed or failed */

/* ---- Callbacks -------------------------------------------------------------------------------- */

/* PASSIVE_LEVEL. The guest opened; a failure rolls back to where no traffic flows. */
typedef NTSTATUS NTAPI kmcl_opened_fn(struct kmcl_channel *channel);
/* PASSIVE_LEVEL, for the other changes of state: */
typedef VOID NTAPI kmcl_state_fn(struct kmcl_channel *channel);

/* "version" and its value aren't public; kmcl_state_callbacks_init fills it in where that is allowed. */
struct kmcl_state_callbacks {
	UINT32 version;
	UINT32 size; /* bytes of this structure */
	kmcl_opened_fn *opened;
	/* After Suspend and the last completion. */
	kmcl_state_fn *closed;
	/*
	 * No packet callback runs or will; what is outstanding must still be completed, and KMCL waits for
	 * that before it goes on.
	 */
	kmcl_state_fn *suspend;
	/* Configured, no packet yet: must not wait for any. */
	kmcl_state_fn *started;
	kmcl_state_fn *post_started;
};

/*
 * A packet: `buffer` is what lies behind VMBus' and KMCL's headers. At DISPATCH_LEVEL or below, unless the
 * channel asks for PASSIVE_LEVEL. Each must in the end be completed, failed, or, before the callback
 * returns, deferred.
 * Assumed: `buffer` stays valid until one of these; KMCL's header is empty for this kind of channel.
 */
typedef VOID NTAPI kmcl_packet_fn(struct kmcl_channel *channel, struct kmcl_completion *packet, PVOID buffer,
				  UINT32 length, UINT32 flags);
#define KMCL_PACKET_HAS_EXTERNAL_DATA 0x1u
/* <= DISPATCH_LEVEL. `count` packets were handed out: the end of a batch. */
typedef VOID NTAPI kmcl_batch_fn(struct kmcl_channel *channel, UINT32 count);

/* PASSIVE_LEVEL. Saves or restores what the server keeps for a packet. */
typedef NTSTATUS NTAPI kmcl_save_fn(struct kmcl_channel *channel, struct kmcl_packet *packet, PVOID buffer,
				    UINT32 size, PUINT32 needed);
typedef NTSTATUS NTAPI kmcl_restore_fn(struct kmcl_channel *channel, struct kmcl_packet *packet, PVOID buffer,
				       UINT32 size);

/* ---- Methods ---------------------------------------------------------------------------------- */

/*
 * In the order of KMCL_CLIENT_INTERFACE_V1 and KMCL_SERVER_ONLY_METHODS: M(returns, name, arguments) for
 * those that the driver calls, P(name) for those that only keep their place.
 *
 * Allocate, Cleanup, Enable, Disable, Convert..., MapGpadl and UnmapGpadl are called at PASSIVE_LEVEL;
 * PacketComplete, PacketFail, PacketDeferToPassive and PacketGetExternalData also at DISPATCH_LEVEL, as a
 * packet callback may. (The documents name no level for most: that is the strictest reading.)
 *
 * PacketGetExternalData: STATUS_PENDING means to return and be called again. The MDLs are locked and have
 * no address yet; they are KMCL's and invalid after PacketComplete.
 * PacketFail: the packet is malformed; stops the queue. Assumed: it takes the packet, which isn't completed
 * then.
 * MapGpadl: one mapping for each GPADL at a time, pages only; UnmapGpadl pairs with it.
 * Disable: revokes the offer and waits until the channel is torn down, with Suspend and Closed.
 * Convert...: in the context of the process that owns the handle; the new one is the caller's to close.
 */
#define KMCL_CLIENT_METHODS(M, P) \
	M(NTSTATUS, VmbChannelAllocate, \
	  (PDEVICE_OBJECT parent, BOOLEAN server, struct kmcl_channel * *channel)) \
	M(VOID, VmbChannelCleanup, (struct kmcl_channel * channel)) \
	P(VmbChannelCreateGpadlFromBuffer) \
	P(VmbChannelCreateGpadlFromMdl) \
	P(VmbChannelDeleteGpadl) \
	M(VOID, VmbChannelDisable, (struct kmcl_channel * channel)) \
	M(NTSTATUS, VmbChannelEnable, (struct kmcl_channel * channel)) \
	P(VmbChannelGetInterfaceInstance) \
	P(VmbChannelGetMmioSpace) \
	M(PVOID, VmbChannelGetPointer, (struct kmcl_channel * channel)) \
	P(VmbChannelInitSetClientContextSize) \
	P(VmbChannelInitSetFlags) \
	M(NTSTATUS, VmbChannelInitSetFriendlyName, (struct kmcl_channel * channel, PCUNICODE_STRING name)) \
	M(NTSTATUS, VmbChannelInitSetMaximumExternalData, \
	  (struct kmcl_channel * channel, UINT32 bytes, UINT32 chain_length)) \
	M(NTSTATUS, VmbChannelInitSetMaximumPacketSize, (struct kmcl_channel * channel, UINT32 bytes)) \
	M(NTSTATUS, VmbChannelInitSetProcessPacketCallbacks, \
	  (struct kmcl_channel * channel, kmcl_packet_fn * packet, kmcl_batch_fn * batch)) \
	M(NTSTATUS, VmbChannelInitSetStateChangeCallbacks, \
	  (struct kmcl_channel * channel, struct kmcl_state_callbacks * callbacks)) \
	M(VOID, VmbChannelPacketComplete, (struct kmcl_completion * packet, PVOID buffer, UINT32 size)) \
	M(VOID, VmbChannelPacketDeferToPassive, (struct kmcl_completion * packet)) \
	M(VOID, VmbChannelPacketFail, (struct kmcl_completion * packet)) \
	M(NTSTATUS, VmbChannelPacketGetExternalData, \
	  (struct kmcl_completion * packet, UINT32 flags, PMDL * mdl)) \
	P(VmbChannelPause) \
	P(VmbChannelSendSynchronousRequest) \
	M(VOID, VmbChannelSetIncomingProcessingAtPassive, (struct kmcl_channel * channel, BOOLEAN passive)) \
	P(VmbChannelSetInterruptLatency) \
	M(VOID, VmbChannelSetPointer, (struct kmcl_channel * channel, PVOID pointer)) \
	M(VOID, VmbChannelSetTransactionQuota, (struct kmcl_channel * channel, UINT32 quota)) \
	P(VmbChannelSizeofPacket) \
	P(VmbChannelStart) \
	P(VmbClientChannelInitSetRingBufferPageCount) \
	P(VmbClientChannelInitSetTargetPnp) \
	P(VmbPacketAllocate) \
	P(VmbPacketFree) \
	P(VmbPacketGetChannel) \
	P(VmbPacketGetPointer) \
	P(VmbPacketInitialize) \
	P(VmbPacketSend) \
	P(VmbPacketSendWithExternalMdl) \
	P(VmbPacketSendWithExternalPfns) \
	P(VmbPacketSetCompletionRoutine) \
	P(VmbPacketSetPointer)

/*
 * InitSetTargetInterfaceId: prototype by value, text by pointer. x64 passes a 16-byte structure by a
 * pointer to a copy, so both are the same call there; ARM64 differs.
 */
#define KMCL_SERVER_METHODS(M, P) \
	M(NTSTATUS, VmbChannelMapGpadl, \
	  (struct kmcl_channel * channel, UINT32 flags, UINT32 gpadl, PMDL * mdl)) \
	P(VmbChannelRestoreFromBuffer) \
	P(VmbChannelSaveBegin) \
	P(VmbChannelSaveContinue) \
	P(VmbChannelSaveEnd) \
	M(VOID, VmbChannelUnmapGpadl, (struct kmcl_channel * channel, UINT32 gpadl)) \
	M(NTSTATUS, VmbConvertVmbusHandleToKernelHandle, (HANDLE user, PHANDLE kernel)) \
	P(VmbPacketRestore) \
	P(VmbServerChannelInitSetFlags) \
	P(VmbServerChannelInitSetMmioMegabytes) \
	M(NTSTATUS, VmbServerChannelInitSetSaveRestorePacketCallbacks, \
	  (struct kmcl_channel * channel, kmcl_save_fn * save, kmcl_restore_fn * restore)) \
	M(NTSTATUS, VmbServerChannelInitSetTargetInterfaceId, \
	  (struct kmcl_channel * channel, GUID type, GUID instance)) \
	P(VmbServerChannelInitSetTargetVtl) \
	M(NTSTATUS, VmbServerChannelInitSetVmbusHandle, (struct kmcl_channel * channel, HANDLE vmbus))

/* KMCL_SERVER_INTERFACE_V1. */
struct kmcl_interface {
	INTERFACE head;
#define KMCL_METHOD(returns, name, arguments) returns(NTAPI *name) arguments;
#define KMCL_PLACE(name) PVOID name;
	KMCL_CLIENT_METHODS(KMCL_METHOD, KMCL_PLACE)
	KMCL_SERVER_METHODS(KMCL_METHOD, KMCL_PLACE)
#undef KMCL_METHOD
#undef KMCL_PLACE
};

/* ---- Not public ------------------------------------------------------------------------------- */

#ifdef WINAPI_KMCL_ASSUMED
#define KMCL_ASSUMED_STATE_CALLBACKS_VERSION 1u
#endif

#endif /* WINAPI_KMCL_H */
