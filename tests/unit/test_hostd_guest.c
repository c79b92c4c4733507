/* SPDX-License-Identifier: MIT */
/*
 * The daemon with its threads in this process, where a sanitizer sees all of them, against a guest that speaks by
 * hand and breaks the rules.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../../host/linux/guest.h"
#include "../../host/linux/hostd.h"
#include "../../host/linux/log.h"
#include "../hostile/raw_guest.h"

static struct hostd *hostd;
static struct raw_guest g, other;

/* What the daemon's system calls for `g` shall fail with: see the linker's --wrap. */
static int g_socket; /* the daemon's end */
static _Atomic int sendmsg_error, dup_error;

ssize_t __real_sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags)
{
	errno = fd == g_socket ? sendmsg_error : 0;
	return errno ? -1 : __real_sendmsg(fd, message, flags);
}

int __real_dup(int fd);
int __wrap_dup(int fd);
int __wrap_dup(int fd)
{
	errno = dup_error;
	return errno ? -1 : __real_dup(fd);
}

/* ---- Daemon and guests --------------------------------------------------------------------------------- */

static bool start(struct raw_guest *guest, enum raw_stage stage)
{
	int ends[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
	if (guest == &g)
		g_socket = ends[1];
	assert_int_equal(hostd_add_guest(hostd, ends[1]), 0);
	return raw_start_on(guest, ends[0], stage);
}

/* In the test itself, as cmocka has a handler of SIGBUS of its own for each function that it runs. */
static void begin(enum raw_stage stage)
{
	struct hostd_config config;

	sendmsg_error = dup_error = 0;
	config_defaults(&config);
	log_set_level(WP_LOG_ERROR);
	signal(SIGPIPE, SIG_IGN);
	hostd = hostd_create(&config, 1);
	assert_non_null(hostd);
	assert_int_equal(hostd_start(hostd), 0);
	assert_true(start(&g, stage));
	assert_true(start(&other, RAW_SESSION));
}

/* Whatever the one did, the other is served. */
static void end(void)
{
	assert_true(raw_echo(&other, 7));
	raw_end(&g);
	raw_end(&other);
	hostd_stop(hostd, 0);
	hostd_destroy(hostd);
}

/* ---- Memory -------------------------------------------------------------------------------------------- */

static void test_the_event_flags_page_comes_and_goes(void **state)
{
	(void)state;
	begin(RAW_SESSION);
	assert_true(raw_churn_event_flags(&g, 300));
	assert_true(raw_echo(&g, 8));
	end();
}

/*
 * A page of the daemon's own mapping becomes one of a file that ends before it: as no sealed memfd ever can. Past libc,
 * as ThreadSanitizer takes an mmap() for a write to all of it.
 */
static void spoil_page(uint8_t *page)
{
	int fd = raw_memfd(VMBUS_PAGE_SIZE, false, true);

	if (syscall(SYS_mmap, page, VMBUS_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) !=
		    (long)page ||
	    ftruncate(fd, 0))
		abort();
	close(fd);
}

/* On the ring thread: the first page behind the rings, the buffer's. */
static void spoil_buffer(struct task *task)
{
	struct guest *guest = hostd->thread[0].guests;

	(void)task;
	while (guest->number != 1)
		guest = guest->next;
	spoil_page(guest->memory.regions[0].data + 2 * RAW_RING_PAGES * VMBUS_PAGE_SIZE);
}

static void test_memory_that_faults_in_a_call_ends_that_guest_alone(void **state)
{
	static struct task spoil = { .run = spoil_buffer };
	struct winapi_msg_header reply;
	uint64_t handle;

	(void)state;
	begin(RAW_SESSION);
	handle = raw_register(&g, 1, 4);
	assert_true(handle);
	ring_thread_post(&hostd->thread[0], &spoil);
	assert_true(raw_echo(&other, 6));
	raw_send_throughput(&g, 30, handle, 4, 1);
	raw_reply(&g, &reply, NULL, 0); /* of zeros, or none: the guest is on its way out */
	assert_true(raw_dropped(&g));
	assert_true(g.gone);
	end();
}

/* ---- What the guest's side of an agreement breaks ------------------------------------------------------- */

static void test_a_call_eventfd_that_blocks_ends_the_guest(void **state)
{
	const struct vmbus_user_vp vp = { .event_flags_gpa = VMBUS_USER_FLAGS_OFF };
	const uint64_t full = UINT64_MAX - 1;

	(void)state;
	begin(RAW_SESSION);
	close(g.call);
	g.call = eventfd(0, EFD_CLOEXEC);
	assert_int_equal(write(g.call, &full, sizeof(full)), sizeof(full));
	raw_send(&g, VMBUS_USER_VP, &vp, sizeof(vp), g.call);
	raw_echo(&g, 10);
	assert_true(raw_dropped(&g));
	assert_true(g.gone);
	end();
}

/* The host can't know which replies were read, and those that it can't send are lost. */
static void test_nonsense_in_the_ring_to_the_guest_ends_its_channel(void **state)
{
	struct {
		struct winapi_msg_header h;
		uint8_t data[2700]; /* no three of them fit in a ring */
	} call = { 0 };

	(void)state;
	begin(RAW_SESSION);
	call.h = raw_header(&g, WINAPI_MSG_CALL, 10);
	call.h.api = WINAPI_API_ECHO;
	call.h.inline_size = sizeof(call.data);
	VMBUS_RING_STORE(&g.down->read_index, 3);
	for (int i = 0; i < 3; i++) {
		assert_true(raw_await_room(&g, sizeof(call)));
		raw_message(&g, 10, &call, sizeof(call));
	}
	assert_true(raw_dropped(&g));
	assert_true(g.rescinded);
	end();
}

/* ---- What the host can't send --------------------------------------------------------------------------- */

static void post_teardown(void)
{
	const struct vmbus_gpadl_teardown teardown = { .header.type = VMBUS_MSG_GPADL_TEARDOWN,
						       .relid = g.relid,
						       .gpadl = 4711 };

	raw_post(&g, &teardown, sizeof(teardown));
}

static void test_a_message_that_is_lost_ends_the_guest(void **state)
{
	(void)state;
	begin(RAW_OFFERED);
	sendmsg_error = ENOBUFS;
	post_teardown();
	assert_true(raw_dropped(&g));
	assert_true(g.gone);
	end();
}

static void test_so_does_one_that_is_lost_later(void **state)
{
	(void)state;
	begin(RAW_OFFERED);
	sendmsg_error = EAGAIN;
	post_teardown();
	assert_true(raw_echo(&other, 9)); /* on the same thread, which by then has seen both */
	assert_true(raw_echo(&other, 10));
	sendmsg_error = ETOOMANYREFS;
	assert_true(raw_dropped(&g));
	assert_true(g.gone);
	end();
}

static void test_a_kick_that_is_lost_ends_the_guest(void **state)
{
	const struct vmbus_initiate_contact contact = { .header.type = VMBUS_MSG_INITIATE_CONTACT,
							.version_requested = VMBUS_VERSION_5_3,
							.interrupt_page = VMBUS_SINT };
	const struct vmbus_msg_header offers = { .type = VMBUS_MSG_REQUEST_OFFERS };

	(void)state;
	begin(RAW_READY);
	sendmsg_error = EAGAIN;
	dup_error = EMFILE;
	raw_post(&g, &contact, sizeof(contact));
	raw_post(&g, &offers, sizeof(offers));
	assert_true(raw_dropped(&g));
	assert_true(g.gone);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_event_flags_page_comes_and_goes),
		cmocka_unit_test(test_memory_that_faults_in_a_call_ends_that_guest_alone),
		cmocka_unit_test(test_a_call_eventfd_that_blocks_ends_the_guest),
		cmocka_unit_test(test_nonsense_in_the_ring_to_the_guest_ends_its_channel),
		cmocka_unit_test(test_a_message_that_is_lost_ends_the_guest),
		cmocka_unit_test(test_so_does_one_that_is_lost_later),
		cmocka_unit_test(test_a_kick_that_is_lost_ends_the_guest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
