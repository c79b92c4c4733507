/* SPDX-License-Identifier: MIT */
/*
 * A virtio-mmio transport (virtio 1.2, 4.2) for the kernel's vhost-vsock: AF_VSOCK between guest and host, to
 * be measured beside VMBus. Notifications and interrupts pass by eventfds, as those of VMBus do.
 */
#include <fcntl.h>
#include <linux/vhost.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>

#include "vmm.h"

#define DEVICE_ID 19u
#define QUEUES 3u /* receive, send, events; vhost serves the first two and there are never events */
#define VHOST_QUEUES 2u
#define QUEUE_SIZE 256u
#define FEATURES \
	(1ull << VIRTIO_F_VERSION_1 | 1ull << VIRTIO_RING_F_INDIRECT_DESC | 1ull << VIRTIO_RING_F_EVENT_IDX)

struct queue {
	uint32_t size;
	uint32_t ready;
	uint64_t descriptors;
	uint64_t available;
	uint64_t used;
	int kick;
};

static int vhost = -1;
static uint64_t cid;
static uint64_t offered, accepted;
static uint32_t features_select, accepted_select, queue_select, status;
static struct queue queues[QUEUES];

static void must(unsigned long request, const void *argument)
{
	if (ioctl(vhost, request, argument))
		die("vhost-vsock: request %lx", request);
}

void vsock_init(uint64_t guest_cid)
{
	vhost = open("/dev/vhost-vsock", O_RDWR | O_CLOEXEC);
	if (vhost < 0)
		die("/dev/vhost-vsock");
	cid = guest_cid;
	must(VHOST_SET_OWNER, NULL);
	must(VHOST_GET_FEATURES, &offered);
	must(VHOST_VSOCK_SET_GUEST_CID, &cid);
	offered &= FEATURES;
	for (uint32_t i = 0; i < VHOST_QUEUES; i++) {
		struct kvm_ioeventfd notify = { .addr = VSOCK_MMIO + VIRTIO_MMIO_QUEUE_NOTIFY,
						.len = 4,
						.datamatch = i,
						.flags = KVM_IOEVENTFD_FLAG_DATAMATCH };
		struct vhost_vring_file call = { i, eventfd(0, EFD_CLOEXEC) };
		struct kvm_irqfd irq = { .fd = (uint32_t)call.fd, .gsi = VSOCK_IRQ };

		queues[i].kick = notify.fd = eventfd(0, EFD_CLOEXEC);
		if (ioctl(vmm.vm, KVM_IOEVENTFD, &notify) || ioctl(vmm.vm, KVM_IRQFD, &irq))
			die("no notifications for vsock");
		must(VHOST_SET_VRING_CALL, &call);
	}
}

bool vsock_present(void)
{
	return vhost >= 0;
}

/* What a guest gives as an address of `size` bytes, as one of ours. */
static uint64_t user_address(uint64_t gpa, uint64_t size)
{
	void *at = guest_memory(gpa, size);

	if (!at)
		die("a queue of vsock isn't in memory");
	return (uintptr_t)at;
}

static void start_queue(uint32_t i)
{
	const struct queue *q = &queues[i];
	struct vhost_vring_state size = { i, q->size }, base = { i, 0 };
	struct vhost_vring_file kick = { i, q->kick };
	struct vhost_vring_addr address = { .index = i,
					    .desc_user_addr = user_address(q->descriptors, 16ull * q->size),
					    .avail_user_addr = user_address(q->available, 6 + 2ull * q->size),
					    .used_user_addr = user_address(q->used, 6 + 8ull * q->size) };

	must(VHOST_SET_VRING_NUM, &size);
	must(VHOST_SET_VRING_BASE, &base);
	must(VHOST_SET_VRING_ADDR, &address);
	must(VHOST_SET_VRING_KICK, &kick);
}

static void start(void)
{
	struct vhost_memory *memory = calloc(1, sizeof(*memory) + sizeof(memory->regions[0]));
	int running = 1;

	if (!memory)
		die("no memory");
	memory->nregions = 1;
	memory->regions[0] = (struct vhost_memory_region){ .memory_size = vmm.ram_size,
							   .userspace_addr = (uintptr_t)vmm.ram };
	must(VHOST_SET_FEATURES, &accepted);
	must(VHOST_SET_MEM_TABLE, memory);
	free(memory);
	for (uint32_t i = 0; i < VHOST_QUEUES; i++)
		start_queue(i);
	must(VHOST_VSOCK_SET_RUNNING, &running);
}

static void set_status(uint32_t value)
{
	int running = 0;

	if (value & VIRTIO_CONFIG_S_DRIVER_OK && !(status & VIRTIO_CONFIG_S_DRIVER_OK))
		start();
	else if (!value && status & VIRTIO_CONFIG_S_DRIVER_OK)
		must(VHOST_VSOCK_SET_RUNNING, &running);
	if (!value)
		for (uint32_t i = 0; i < QUEUES; i++)
			queues[i].ready = 0;
	status = value;
}

static void set_half(uint64_t *word, bool high, uint32_t value)
{
	*word = high ? (*word & UINT32_MAX) | (uint64_t)value << 32 : (*word & ~(uint64_t)UINT32_MAX) | value;
}

void vsock_write(uint64_t at, uint32_t value)
{
	struct queue *q = &queues[queue_select < QUEUES ? queue_select : QUEUES - 1];

	switch (at) {
	case VIRTIO_MMIO_DEVICE_FEATURES_SEL:
		features_select = value;
		break;
	case VIRTIO_MMIO_DRIVER_FEATURES_SEL:
		accepted_select = value;
		break;
	case VIRTIO_MMIO_DRIVER_FEATURES:
		set_half(&accepted, accepted_select, value);
		accepted &= offered;
		break;
	case VIRTIO_MMIO_QUEUE_SEL:
		queue_select = value;
		break;
	case VIRTIO_MMIO_QUEUE_NUM:
		q->size = value <= QUEUE_SIZE ? value : QUEUE_SIZE;
		break;
	case VIRTIO_MMIO_QUEUE_READY:
		q->ready = value;
		break;
	case VIRTIO_MMIO_QUEUE_DESC_LOW:
	case VIRTIO_MMIO_QUEUE_DESC_HIGH:
		set_half(&q->descriptors, at == VIRTIO_MMIO_QUEUE_DESC_HIGH, value);
		break;
	case VIRTIO_MMIO_QUEUE_AVAIL_LOW:
	case VIRTIO_MMIO_QUEUE_AVAIL_HIGH:
		set_half(&q->available, at == VIRTIO_MMIO_QUEUE_AVAIL_HIGH, value);
		break;
	case VIRTIO_MMIO_QUEUE_USED_LOW:
	case VIRTIO_MMIO_QUEUE_USED_HIGH:
		set_half(&q->used, at == VIRTIO_MMIO_QUEUE_USED_HIGH, value);
		break;
	case VIRTIO_MMIO_STATUS:
		set_status(value);
		break;
	}
}

uint32_t vsock_read(uint64_t at)
{
	switch (at) {
	case VIRTIO_MMIO_MAGIC_VALUE:
		return 0x74726976; /* "virt" */
	case VIRTIO_MMIO_VERSION:
		return 2;
	case VIRTIO_MMIO_DEVICE_ID:
		return DEVICE_ID;
	case VIRTIO_MMIO_DEVICE_FEATURES:
		return features_select < 2 ? (uint32_t)(offered >> 32 * features_select) : 0;
	case VIRTIO_MMIO_QUEUE_NUM_MAX:
		return queue_select < QUEUES ? QUEUE_SIZE : 0;
	case VIRTIO_MMIO_QUEUE_READY:
		return queue_select < QUEUES ? queues[queue_select].ready : 0;
	case VIRTIO_MMIO_INTERRUPT_STATUS:
		return VIRTIO_MMIO_INT_VRING; /* nothing else raises it */
	case VIRTIO_MMIO_STATUS:
		return status;
	case VIRTIO_MMIO_CONFIG:
		return (uint32_t)cid;
	case VIRTIO_MMIO_CONFIG + 4:
		return (uint32_t)(cid >> 32);
	default:
		return 0;
	}
}
