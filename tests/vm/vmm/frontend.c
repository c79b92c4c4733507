/* SPDX-License-Identifier: MIT */
/*
 * The vmbus-user socket. What the guest posts waits in a bounded queue until the socket takes it; so a
 * back-end that doesn't read, or isn't there, makes the guest try again later and nothing else wait. When the
 * back-end goes away, the next one is looked for and told what the guest believes.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/un.h>
#include <unistd.h>

#include "../../../common/vmbus_user_socket.h"
#include "vmm.h"

#define MAX_WAITING 4096u
#define MAX_CHANNELS 64u
#define RETRY_MS 20
#define MESSAGE_HEAD ((uint32_t)offsetof(struct vmbus_user_message, data))

struct record {
	struct vmbus_user_header header;
	uint8_t payload[VMBUS_USER_MAX_PAYLOAD];
	int fd; /* -1: none */
};

struct waiting {
	uint32_t size;
	struct vmbus_user_message message;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
/* Under lock: */
static int fd = -1; /* connected and introduced; the front-end's thread alone changes it */
static struct waiting waiting[MAX_WAITING]; /* a ring */
static uint32_t waiting_first;
static uint32_t waiting_count;
static struct waiting contact; /* the last INITIATE_CONTACT that was sent */
static bool vp_changed[MAX_CPUS];
static uint32_t connections;
/* Of the front-end's thread: */
static struct vmbus_user_channel channels[MAX_CHANNELS]; /* whose connection ids KVM knows */
static uint32_t channel_count;

/* ---- Records --------------------------------------------------------------------------------------------- */

static bool send_record(int to, uint32_t type, const void *payload, uint32_t size, int descriptor)
{
	return !vmbus_user_send(to, type, payload, size, descriptor, MSG_DONTWAIT);
}

/* Waits for one. False: the back-end is gone, or says what makes no sense. */
static bool receive_record(int from, struct record *record)
{
	return vmbus_user_receive(from, record, offsetof(struct record, fd), &record->fd, 0) == 1;
}

/* ---- To the back-end ------------------------------------------------------------------------------------- */

static bool send_vp(const struct vcpu *vcpu)
{
	struct vmbus_user_vp vp = { .index = vcpu->index, .event_flags_gpa = vcpu->event_page };

	return send_record(fd, VMBUS_USER_VP, &vp, sizeof(vp), vcpu->call);
}

static bool send_message(const struct waiting *w)
{
	struct vmbus_msg_header header;

	if (!send_record(fd, VMBUS_USER_GUEST_MESSAGE, &w->message, w->size, -1))
		return false;
	memcpy(&header, w->message.data, sizeof(header));
	if (header.type == VMBUS_MSG_INITIATE_CONTACT)
		contact = *w;
	belief_from_guest(w->message.data, w->size - MESSAGE_HEAD);
	return true;
}

/* As much as the socket takes: news of CPUs before the messages that may rest on them. Under lock. */
static void flush(void)
{
	for (uint32_t i = 0; i < vmm.cpus && fd >= 0; i++) {
		if (vp_changed[i] && !send_vp(&vmm.vcpu[i]))
			return;
		vp_changed[i] = false;
	}
	while (fd >= 0 && waiting_count && send_message(&waiting[waiting_first])) {
		waiting_first = (waiting_first + 1) % MAX_WAITING;
		waiting_count--;
	}
}

bool frontend_guest_message(uint32_t connection, const void *message, uint32_t size)
{
	struct waiting *w;
	bool room;

	pthread_mutex_lock(&lock);
	room = waiting_count < MAX_WAITING;
	if (room) {
		w = &waiting[(waiting_first + waiting_count++) % MAX_WAITING];
		w->size = MESSAGE_HEAD + size;
		w->message = (struct vmbus_user_message){ .connection_id = connection };
		memcpy(w->message.data, message, size);
	}
	flush();
	pthread_mutex_unlock(&lock);
	return room;
}

void frontend_vp_changed(const struct vcpu *vcpu)
{
	pthread_mutex_lock(&lock);
	vp_changed[vcpu->index] = true;
	flush();
	pthread_mutex_unlock(&lock);
}

uint32_t frontend_connections(void)
{
	return __atomic_load_n(&connections, __ATOMIC_RELAXED);
}

/* ---- From the back-end ------------------------------------------------------------------------------------ */

static bool set_event(uint32_t connection, int kick, uint32_t flags)
{
	struct kvm_hyperv_eventfd event = { .conn_id = connection, .fd = kick, .flags = flags };

	return !ioctl(vmm.vm, KVM_HYPERV_EVENTFD, &event);
}

static void drop_channel(uint32_t i)
{
	set_event(channels[i].connection_id, -1, KVM_HYPERV_EVENTFD_DEASSIGN);
	channels[i] = channels[--channel_count];
}

static bool on_channel(const struct record *record)
{
	struct vmbus_user_channel channel;

	memcpy(&channel, record->payload, sizeof(channel));
	for (uint32_t i = 0; i < channel_count; i++)
		if (channels[i].relid == channel.relid || channels[i].connection_id == channel.connection_id)
			drop_channel(i--);
	if (record->fd < 0 || channel_count == MAX_CHANNELS ||
	    !set_event(channel.connection_id, record->fd, 0))
		return false;
	channels[channel_count++] = channel;
	return true;
}

static bool on_channel_gone(const struct record *record)
{
	uint32_t relid;

	memcpy(&relid, record->payload, sizeof(relid));
	for (uint32_t i = 0; i < channel_count; i++)
		if (channels[i].relid == relid)
			drop_channel(i--);
	return true;
}

static bool on_host_message(const struct record *record)
{
	uint32_t size = record->header.size - MESSAGE_HEAD;
	struct vmbus_user_message in;

	memcpy(&in, record->payload, record->header.size);
	if (in.connection_id >= vmm.cpus)
		return false;
	pthread_mutex_lock(&lock);
	belief_from_host(in.data, size);
	pthread_mutex_unlock(&lock);
	synic_post(in.connection_id, in.data, size);
	return true;
}

static bool on_region_done(const struct record *record)
{
	struct vmbus_user_region_done done;

	memcpy(&done, record->payload, sizeof(done));
	if (done.error)
		fprintf(stderr, "vmm: the back-end refuses the guest's memory: %s\n", strerror(-done.error));
	return !done.error;
}

/* False: out of order, of the wrong size, or unusable. */
static bool on_record(const struct record *record)
{
	uint32_t size = record->header.size;

	switch (record->header.type) {
	case VMBUS_USER_CHANNEL:
		return size == sizeof(struct vmbus_user_channel) && on_channel(record);
	case VMBUS_USER_CHANNEL_GONE:
		return size == sizeof(struct vmbus_user_channel) && on_channel_gone(record);
	case VMBUS_USER_HOST_MESSAGE:
		return size >= MESSAGE_HEAD + sizeof(struct vmbus_msg_header) &&
		       size <= sizeof(struct vmbus_user_message) && on_host_message(record);
	case VMBUS_USER_REGION_DONE:
		return size == sizeof(struct vmbus_user_region_done) && on_region_done(record);
	default:
		return false;
	}
}

static bool serve_record(void)
{
	static struct record record;
	bool good = receive_record(fd, &record) && on_record(&record);

	if (record.fd >= 0)
		close(record.fd);
	return good;
}

/* ---- Connecting ------------------------------------------------------------------------------------------- */

static int connect_socket(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int to = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	strncpy(address.sun_path, vmm.socket, sizeof(address.sun_path) - 1);
	if (to >= 0 && !connect(to, (const struct sockaddr *)&address, sizeof(address)))
		return to;
	if (to >= 0)
		close(to);
	return -1;
}

/* STATE and the memory. Nobody else relays meanwhile, so the guest's beliefs stand still. */
static bool introduce(int to)
{
	static struct record record;
	struct vmbus_user_region ram = { .gpa = 0, .size = vmm.ram_size };
	uint32_t size = belief_state(record.payload);

	return send_record(to, VMBUS_USER_STATE, record.payload, size, -1) && receive_record(to, &record) &&
	       record.header.type == VMBUS_USER_READY &&
	       send_record(to, VMBUS_USER_REGION_ADD, &ram, sizeof(ram), vmm.ram_fd);
}

static void connect_backend(void)
{
	int to = connect_socket();

	if (to < 0)
		return;
	if (!introduce(to)) {
		close(to);
		return;
	}
	pthread_mutex_lock(&lock);
	fd = to;
	connections++;
	memset(vp_changed, true, sizeof(vp_changed));
	flush();
	pthread_mutex_unlock(&lock);
}

/* STATE has no word for a contact that nobody has answered, and the guest waits for that without end. */
static void repeat_contact(void)
{
	if (!belief_contact_unanswered() || waiting_count == MAX_WAITING)
		return;
	waiting_first = (waiting_first + MAX_WAITING - 1) % MAX_WAITING;
	waiting[waiting_first] = contact;
	waiting_count++;
}

static void disconnect(void)
{
	pthread_mutex_lock(&lock);
	close(fd);
	fd = -1;
	repeat_contact();
	pthread_mutex_unlock(&lock);
	while (channel_count)
		drop_channel(0);
}

/* The first connection comes before the guest runs, so that its first message finds somebody. */
void frontend_init(void)
{
	if (!vmm.socket)
		return;
	connect_backend();
	if (fd < 0)
		die("%s: no back-end", vmm.socket);
}

static void retry(void)
{
	pthread_mutex_lock(&lock);
	flush();
	pthread_mutex_unlock(&lock);
}

void *frontend_run(void *nothing)
{
	(void)nothing;
	for (;;) {
		struct pollfd ready = { .fd = fd, .events = POLLIN };

		if (poll(&ready, 1, RETRY_MS) > 0) {
			if (!serve_record())
				disconnect();
		} else if (fd < 0) {
			connect_backend();
		} else {
			retry();
		}
	}
}
