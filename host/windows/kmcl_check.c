/* SPDX-License-Identifier: MIT */
/* Is kmcl.h what Microsoft's header says? Asked at compile time, in WDK builds; makes no code. */
#include "driver.h"

#include <vmbuskernelmodeclientlibapi.h>

#define SAME_SIZE(ours, theirs) WINAPI_STATIC_ASSERT(sizeof(ours) == sizeof(theirs))
#define SAME_PLACE(ours, mine, theirs, yours) \
	WINAPI_STATIC_ASSERT(__builtin_offsetof(ours, mine) == __builtin_offsetof(theirs, yours))

SAME_SIZE(struct kmcl_channel *, VMBCHANNEL);
SAME_SIZE(struct kmcl_packet *, VMBPACKET);
SAME_SIZE(struct kmcl_completion *, VMBPACKETCOMPLETION);

SAME_SIZE(struct kmcl_interface, KMCL_SERVER_INTERFACE_V1);
#define SAME_METHOD(returns, name, arguments) \
	SAME_PLACE(struct kmcl_interface, name, KMCL_SERVER_INTERFACE_V1, name);
#define SAME_GAP(name) SAME_PLACE(struct kmcl_interface, name, KMCL_SERVER_INTERFACE_V1, name);
KMCL_CLIENT_METHODS(SAME_METHOD, SAME_GAP)
KMCL_SERVER_METHODS(SAME_METHOD, SAME_GAP)

#define SAME_CALLBACK(mine, yours) \
	SAME_PLACE(struct kmcl_state_callbacks, mine, VMB_CHANNEL_STATE_CHANGE_CALLBACKS, yours)
SAME_SIZE(struct kmcl_state_callbacks, VMB_CHANNEL_STATE_CHANGE_CALLBACKS);
SAME_CALLBACK(version, Version);
SAME_CALLBACK(size, Size);
SAME_CALLBACK(opened, EvtChannelOpened);
SAME_CALLBACK(closed, EvtChannelClosed);
SAME_CALLBACK(suspend, EvtChannelSuspend);
SAME_CALLBACK(started, EvtChannelStarted);
SAME_CALLBACK(post_started, EvtChannelPostStarted);
