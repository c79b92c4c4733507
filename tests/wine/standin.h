/* SPDX-License-Identifier: MIT */
/*
 * vmbkmclr.sys for tests: a stand-in for the module that carries KMCL, loaded by Wine into the driver's
 * process because the driver imports from it. What its parts share.
 *
 *	kmcl.c		the KMCL functions, channels and packets
 *	vm.c		a virtual machine: a vmbus-user connection with its bus, and its thread
 *	mdl.c		MDLs over a guest's pages
 *	shims.c		what the driver imports from Wine's kernel, checked, counted, or supplied
 *	irp.c		requests on their way to the driver and back
 *	irql.c		IRQLs, which Wine doesn't know
 *	race.c		requests at the same time
 *	security.c	who may open the driver's device
 *	control.c	the socket by which a test sets, asks and learns of VMs
 *
 * It stays loaded when the driver leaves, so that one process sees many loads.
 */
#ifndef TESTS_WINE_STANDIN_H
#define TESTS_WINE_STANDIN_H

#include <ntddk.h>

#include <stdbool.h>
#include <stdint.h>

#include "linux.h"
#include "win32.h"

/* One line in the log of this process' stand-in. */
__attribute__((format(printf, 1, 2))) void note(const char *format, ...);

/* ---- Findings ----------------------------------------------------------------------------------------- */

/*
 * The driver broke a rule that Windows, KMCL or Driver Verifier would punish. Kept for the test, which fails.
 */
__attribute__((format(printf, 1, 2))) void fault(const char *format, ...);
/* Writes the findings since the last time, a line each; how many bytes. */
size_t fault_take(char *text, size_t room);

/* ---- Settings ----------------------------------------------------------------------------------------- */

/* Set over the control socket; in force at once. */
struct settings {
	uint32_t fail_at; /* the n-th allocation from now fails; 0: none */
	uint32_t pend; /* external data: how many times each packet's is STATUS_PENDING */
	uint32_t late; /* packets wait for the n-th round after they came */
	uint32_t mdl_pages; /* most pages of one MDL; 0: what its 16-bit size can say */
	uint32_t no_pool2; /* this Windows has no ExAllocatePool2 */
	uint32_t suspend_at; /* the channel closes at the n-th packet from now; 0: no */
	uint32_t hold_close; /* channels that must close don't, meanwhile */
	uint32_t poll_always;
	uint32_t long_chain; /* MDL chains longer than the driver asked for */
	uint32_t impatient; /* waits that may time out do so at once */
	uint32_t no_gpadl; /* KMCL has no memory to map GPADLs */
	uint32_t misuse; /* enum misuse */
};
extern struct settings settings;

/* What Windows and KMCL never do, so that the checked driver's assertions have something to find. */
enum misuse {
	MISUSE_NONE,
	MISUSE_REQUEST, /* at DISPATCH_LEVEL */
	MISUSE_OPENED, /* likewise */
	MISUSE_PACKET, /* likewise, though the channel asked for PASSIVE_LEVEL */
	MISUSE_SUSPEND, /* likewise */
	MISUSE_NESTED, /* one callback from within another */
	MISUSE_MAPPED, /* MDLs that have an address */
};
bool misuse(enum misuse what);
KIRQL misuse_level(enum misuse what); /* DISPATCH_LEVEL or, as it ought to be, PASSIVE_LEVEL */

/* One more thing that can fail: true when it is this one's turn. */
bool must_fail(const char *what);
uint32_t allocations_seen(void); /* since the last restart */
void allocations_restart(void);

/* ---- What the driver holds ---------------------------------------------------------------------------- */

enum held {
	HELD_POOL,
	HELD_POOL_BYTES,
	HELD_MDL,
	HELD_MAPPING, /* MDLs with an address */
	HELD_GPADL, /* mapped */
	HELD_PACKET, /* not completed */
	HELD_CHANNEL, /* KMCL's, allocated */
	HELD_HANDLE,
	HELD_REFERENCE, /* to objects */
	HELD_THREAD, /* that runs */
	HELD_IRP, /* requests that aren't completed */
	HELD_DEVICE,
	HELD_LINK,
	HELD_ETW, /* registrations */
	HELD_KINDS,
};
extern const char *const held_names[HELD_KINDS];
void hold(enum held what, int64_t change);
int64_t held(enum held what);
void held_forget(void);

/* ---- irql.c ------------------------------------------------------------------------------------------- */

bool irql_start(void);
KIRQL irql_get(void);
void irql_set(KIRQL irql);
/* A finding unless the current IRQL is at most that. */
void irql_check(const char *routine, KIRQL most);

/* ---- shims.c ------------------------------------------------------------------------------------------ */

bool shims_start(void);

/* ---- irp.c -------------------------------------------------------------------------------------------- */

/* From now on the driver's dispatch routines are called through this. */
void irp_watch(PDRIVER_OBJECT driver);
NTSTATUS irp_dispatch(PDEVICE_OBJECT device, PIRP irp);
/* False: it isn't the driver's to complete. */
bool irp_completes(PIRP irp);
void irp_device_is(PDEVICE_OBJECT device);
PDEVICE_OBJECT irp_device(void); /* the driver's */

/* ---- race.c ------------------------------------------------------------------------------------------- */

/* Answers "ok:" and how often requests ended how, or what was wrong. `vm`: the handle of a VM that takes offers. */
void race(HANDLE vm, unsigned int rounds, char *answer, size_t room);

/* ---- security.c --------------------------------------------------------------------------------------- */

void security_created(PVOID device, ULONG characteristics);
void security_opened(PVOID object, ACCESS_MASK access, HANDLE handle);
void security_set(HANDLE handle, SECURITY_INFORMATION what, PVOID descriptor);
void security_named(void);

/* ---- mdl.c -------------------------------------------------------------------------------------------- */

struct vm;
struct vmbus_segment;

/*
 * A chain of MDLs over the pieces, locked and without an address; NULL: no memory, or more than `chain` of them.
 * The pieces are copied.
 */
PMDL mdl_new(struct vm *vm, const struct vmbus_segment *piece, uint32_t count, uint32_t chain);
/* `stays`: a mapping that the driver left is a finding. */
void mdl_free(PMDL mdl, const char *stays);
bool mdl_uses(PMDL mdl, const uint8_t *start, uint64_t size);
PVOID mdl_map(PMDL mdl);
void mdl_unmap(PVOID address, PMDL mdl);

/* ---- vm.c --------------------------------------------------------------------------------------------- */

struct kmcl_channel;
struct vmbus_channel;
struct vmbus_device_ops;

bool vms_start(const char *path);
/* The VM that a handle names, with a reference; NULL: none. */
struct vm *vm_of_handle(HANDLE handle);
HANDLE vm_handle(unsigned int number); /* the VM's own, or NULL */
void vm_keep(struct vm *vm); /* one reference more */
void vm_release(struct vm *vm);
/* Tells of the VMs that wait for an offer. */
void vms_announce(void);
unsigned int vms_count(void);
size_t vms_waiting(char *text, size_t room); /* their numbers */
void vms_changed(void); /* wakes them all */
/* No offer comes for the VM: its front-end is told so. */
void vm_refuse(unsigned int number);

/* The VM's bus is entered under this lock. Callbacks of the driver run without it, but for Opened. */
void vm_lock(struct vm *vm);
void vm_unlock(struct vm *vm);
/* After a change that its thread should see, or that vm_await waits for. Any IRQL, any lock. */
void vm_changed(struct vm *vm);
/* Under the lock, which it gives up meanwhile: until vm_changed. */
void vm_await(struct vm *vm);
bool vm_is_over(struct vm *vm); /* under the lock */

/* Under the lock: the bus' channel, or NULL. The VM turns the channel until vm_forget. */
struct vmbus_channel *vm_offer(struct vm *vm, struct kmcl_channel *channel, const uint8_t type[16],
			       const uint8_t instance[16], const struct vmbus_device_ops *ops);
void vm_forget(struct vm *vm, struct kmcl_channel *channel);
/* Pages side by side at an address of their own, for lx_munmap. Any lock but the memory's. */
void *vm_map_pieces(struct vm *vm, const struct vmbus_segment *piece, uint32_t count, size_t *size);

/* ---- kmcl.c ------------------------------------------------------------------------------------------- */

/* On the VM's thread, not under its lock. True: there was something to do. */
bool channel_turn(struct kmcl_channel *channel);
/* Under the VM's lock. True: there is something to do after all, so don't sleep. */
bool channel_sleep(struct kmcl_channel *channel);
/* Does an uncompleted packet have pages there? Under the VM's lock. */
bool channel_uses(struct kmcl_channel *channel, const uint8_t *start, uint64_t size);
/* The VM is gone. Under its lock. */
void channel_lost(struct kmcl_channel *channel);

/* ---- control.c ---------------------------------------------------------------------------------------- */

bool control_start(const char *path);
/* Tells the VM agents: "arrived N" or "gone N". */
void control_tell(const char *what, unsigned int number);

#endif /* TESTS_WINE_STANDIN_H */
