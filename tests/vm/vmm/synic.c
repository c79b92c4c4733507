/* SPDX-License-Identifier: MIT */
/*
 * Interrupts to the guest. Each CPU has one GSI for its SINT 2; the back-end's call eventfd and our message
 * slot both raise it, and KVM tells through the resample eventfd when the guest has acknowledged a message.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "vmm.h"

#define FIRST_GSI 64u
#define MAX_QUEUED 1024u
#define SLOT_SIZE 256u
#define PENDING_FLAG 1u /* tells the guest to say EOM */

struct slot {
	uint32_t type; /* 0: free */
	uint8_t size;
	uint8_t flags;
	uint16_t reserved;
	uint64_t sender;
	uint8_t payload[VMBUS_MESSAGE_MAX];
};
_Static_assert(sizeof(struct slot) == SLOT_SIZE, "a message slot");

static struct queue {
	struct slot message[MAX_QUEUED];
	uint32_t first;
	uint32_t count;
	int acknowledged; /* eventfd */
} queue[MAX_CPUS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t room = PTHREAD_COND_INITIALIZER;

/* Puts what waits into the slot, as long as that is free. Under lock. */
static void pump(uint32_t vp)
{
	struct queue *q = &queue[vp];
	uint64_t page = vmm.vcpu[vp].message_page;
	struct slot *slot = page ? guest_memory(page + VMBUS_SINT * SLOT_SIZE, SLOT_SIZE) : NULL;

	while (slot && q->count) {
		struct kvm_irq_level irq = { .irq = FIRST_GSI + vp, .level = 1 };
		const struct slot *next = &q->message[q->first];

		if (__atomic_load_n(&slot->type, __ATOMIC_SEQ_CST)) {
			__atomic_or_fetch(&slot->flags, PENDING_FLAG, __ATOMIC_SEQ_CST);
			if (__atomic_load_n(&slot->type, __ATOMIC_SEQ_CST))
				return; /* the guest will acknowledge it */
		}
		memcpy((uint8_t *)slot + 4, (const uint8_t *)next + 4, sizeof(*slot) - 4);
		__atomic_store_n(&slot->type, next->type, __ATOMIC_SEQ_CST);
		q->first = (q->first + 1) % MAX_QUEUED;
		q->count--;
		pthread_cond_broadcast(&room);
		ioctl(vmm.vm, KVM_IRQ_LINE_STATUS, &irq);
	}
}

void synic_post(uint32_t vp, const void *message, uint32_t size)
{
	struct queue *q = &queue[vp];
	struct slot *m;

	pthread_mutex_lock(&lock);
	while (q->count == MAX_QUEUED)
		pthread_cond_wait(&room, &lock);
	m = &q->message[(q->first + q->count++) % MAX_QUEUED];
	*m = (struct slot){ .type = 1, .size = (uint8_t)size };
	memcpy(m->payload, message, size);
	pump(vp);
	pthread_mutex_unlock(&lock);
}

static void *acknowledgements(void *argument)
{
	struct vcpu *vcpu = argument;
	uint64_t count;

	while (read(queue[vcpu->index].acknowledged, &count, sizeof(count)) == sizeof(count)) {
		pthread_mutex_lock(&lock);
		pump(vcpu->index);
		pthread_mutex_unlock(&lock);
	}
	return NULL;
}

static void route(void)
{
	struct kvm_irq_routing *routing =
		calloc(1, sizeof(*routing) + (24 + MAX_CPUS) * sizeof(routing->entries[0]));

	if (!routing)
		die("no memory");
	for (uint32_t pin = 0; pin < 24; pin++)
		routing->entries[routing->nr++] = (struct kvm_irq_routing_entry){
			.gsi = pin, .type = KVM_IRQ_ROUTING_IRQCHIP, .u.irqchip = { KVM_IRQCHIP_IOAPIC, pin }
		};
	for (uint32_t i = 0; i < vmm.cpus; i++)
		routing->entries[routing->nr++] =
			(struct kvm_irq_routing_entry){ .gsi = FIRST_GSI + i,
							.type = KVM_IRQ_ROUTING_HV_SINT,
							.u.hv_sint = { .vcpu = i, .sint = VMBUS_SINT } };
	if (ioctl(vmm.vm, KVM_SET_GSI_ROUTING, routing))
		die("KVM_SET_GSI_ROUTING");
	free(routing);
}

static void add_irqfd(int fd, uint32_t gsi, int resample)
{
	struct kvm_irqfd irqfd = { .fd = (uint32_t)fd,
				   .gsi = gsi,
				   .flags = resample >= 0 ? KVM_IRQFD_FLAG_RESAMPLE : 0,
				   .resamplefd = resample >= 0 ? (uint32_t)resample : 0 };

	if (fd < 0 || ioctl(vmm.vm, KVM_IRQFD, &irqfd))
		die("KVM_IRQFD");
}

void synic_init(void)
{
	route();
	for (uint32_t i = 0; i < vmm.cpus; i++) {
		pthread_t thread;

		queue[i].acknowledged = eventfd(0, EFD_CLOEXEC);
		vmm.vcpu[i].call = eventfd(0, EFD_CLOEXEC);
		/* The line itself is raised by ioctl; the eventfd is there for its resampling. */
		add_irqfd(eventfd(0, EFD_CLOEXEC), FIRST_GSI + i, queue[i].acknowledged);
		add_irqfd(vmm.vcpu[i].call, FIRST_GSI + i, -1);
		if (pthread_create(&thread, NULL, acknowledgements, &vmm.vcpu[i]))
			die("no thread");
	}
}

/* The low bit of SIMP and SIEFP says that the page is in use. */
void synic_changed(struct vcpu *vcpu, uint64_t message_page, uint64_t event_page)
{
	uint64_t events = event_page & 1 ? event_page & ~0xfffull : VMBUS_USER_FLAGS_OFF;
	bool changed = events != vcpu->event_page;

	pthread_mutex_lock(&lock);
	vcpu->message_page = message_page & 1 ? message_page & ~0xfffull : 0;
	vcpu->event_page = events;
	if (!vcpu->message_page) { /* the guest has stopped listening */
		queue[vcpu->index].count = 0;
		pthread_cond_broadcast(&room);
	}
	pump(vcpu->index);
	pthread_mutex_unlock(&lock);
	if (changed)
		frontend_vp_changed(vcpu);
}
