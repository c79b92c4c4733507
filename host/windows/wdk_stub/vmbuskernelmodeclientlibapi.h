/* SPDX-License-Identifier: MIT */
/*
 * In the place of Microsoft's header where there is no WDK, so that the files that need it are compiled all the
 * same. Names, order and prototypes are those of Microsoft's public documentation; what isn't public has placeholders.
 * Nothing that was built with this may be loaded anywhere.
 */
#ifndef WINAPI_WDK_STUB_KMCL_H
#define WINAPI_WDK_STUB_KMCL_H

#ifndef WINAPI_WDK_STUB
#error "placeholders in the place of Microsoft's header: build with the WDK's own vmbuskernelmodeclientlibapi.h"
#endif

/* Placeholders. */
static const GUID KMCL_SERVER_INTERFACE_TYPE = { 0 };
#define KMCL_SERVER_INTERFACE_VERSION_V1 0
#define WINAPI_STUB_CALLBACKS_VERSION 0

typedef struct VMBCHANNEL__ *VMBCHANNEL;
typedef struct VMBPACKET__ *VMBPACKET;
typedef struct VMBPACKETCOMPLETION__ *VMBPACKETCOMPLETION;

typedef NTSTATUS(NTAPI *PFN_VMB_CHANNEL_OPENED)(VMBCHANNEL);
typedef VOID(NTAPI *PFN_VMB_CHANNEL_STATE)(VMBCHANNEL);

typedef struct _VMB_CHANNEL_STATE_CHANGE_CALLBACKS {
	UINT32 Version;
	UINT32 Size;
	PFN_VMB_CHANNEL_OPENED EvtChannelOpened;
	PFN_VMB_CHANNEL_STATE EvtChannelClosed;
	PFN_VMB_CHANNEL_STATE EvtChannelSuspend;
	PFN_VMB_CHANNEL_STATE EvtChannelStarted;
	PFN_VMB_CHANNEL_STATE EvtChannelPostStarted;
} VMB_CHANNEL_STATE_CHANGE_CALLBACKS, *PVMB_CHANNEL_STATE_CHANGE_CALLBACKS;

static inline VOID VMB_CHANNEL_STATE_CHANGE_CALLBACKS_INIT(PVMB_CHANNEL_STATE_CHANGE_CALLBACKS callbacks)
{
	RtlZeroMemory(callbacks, sizeof(*callbacks));
	callbacks->Version = WINAPI_STUB_CALLBACKS_VERSION;
	callbacks->Size = sizeof(*callbacks);
}

/* Any function: only the places are compared. */
typedef VOID(NTAPI *WINAPI_STUB_METHOD)(VOID);

#define WINAPI_STUB_CLIENT_INTERFACE \
	USHORT Size, Version; \
	PVOID Context; \
	PINTERFACE_REFERENCE InterfaceReference; \
	PINTERFACE_DEREFERENCE InterfaceDereference; \
	WINAPI_STUB_METHOD VmbChannelAllocate, VmbChannelCleanup, VmbChannelCreateGpadlFromBuffer, \
		VmbChannelCreateGpadlFromMdl, VmbChannelDeleteGpadl, VmbChannelDisable, VmbChannelEnable, \
		VmbChannelGetInterfaceInstance, VmbChannelGetMmioSpace, VmbChannelGetPointer, \
		VmbChannelInitSetClientContextSize, VmbChannelInitSetFlags, VmbChannelInitSetFriendlyName, \
		VmbChannelInitSetMaximumExternalData, VmbChannelInitSetMaximumPacketSize, \
		VmbChannelInitSetProcessPacketCallbacks, VmbChannelInitSetStateChangeCallbacks, \
		VmbChannelPacketComplete, VmbChannelPacketDeferToPassive, VmbChannelPacketFail, \
		VmbChannelPacketGetExternalData, VmbChannelPause, VmbChannelSendSynchronousRequest, \
		VmbChannelSetIncomingProcessingAtPassive, VmbChannelSetInterruptLatency, \
		VmbChannelSetPointer, VmbChannelSetTransactionQuota, VmbChannelSizeofPacket, \
		VmbChannelStart, VmbClientChannelInitSetRingBufferPageCount, \
		VmbClientChannelInitSetTargetPnp, VmbPacketAllocate, VmbPacketFree, VmbPacketGetChannel, \
		VmbPacketGetPointer, VmbPacketInitialize, VmbPacketSend, VmbPacketSendWithExternalMdl, \
		VmbPacketSendWithExternalPfns, VmbPacketSetCompletionRoutine, VmbPacketSetPointer

#define WINAPI_STUB_SERVER_METHODS \
	WINAPI_STUB_METHOD VmbChannelMapGpadl, VmbChannelRestoreFromBuffer, VmbChannelSaveBegin, \
		VmbChannelSaveContinue, VmbChannelSaveEnd, VmbChannelUnmapGpadl, \
		VmbConvertVmbusHandleToKernelHandle, VmbPacketRestore, VmbServerChannelInitSetFlags, \
		VmbServerChannelInitSetMmioMegabytes, VmbServerChannelInitSetSaveRestorePacketCallbacks, \
		VmbServerChannelInitSetTargetInterfaceId, VmbServerChannelInitSetTargetVtl, \
		VmbServerChannelInitSetVmbusHandle

typedef struct _KMCL_SERVER_INTERFACE_V1 {
	WINAPI_STUB_CLIENT_INTERFACE;
	WINAPI_STUB_SERVER_METHODS;
} KMCL_SERVER_INTERFACE_V1, *PKMCL_SERVER_INTERFACE_V1;

#endif /* WINAPI_WDK_STUB_KMCL_H */
