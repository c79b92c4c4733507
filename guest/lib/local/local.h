/* SPDX-License-Identifier: MIT */
/*
 * The local transport: the library plays a VMBus guest of its own, whose memory is memfds, and speaks
 * vmbus-user to a winapi-hostd.
 *
 *	local.c    bring-up and the end
 *	host.c     the host process: connect to one, or start a private one
 *	bus.c      the vmbus-user socket: control messages, GPADLs, regions
 *	memory.c   memfds: regions of their own for large pieces, slabs for small ones
 *	buffers.c  buffers of the application and of calls
 *	calls.c    requests: ids, sending, replies
 *	wait.c     who polls and who sleeps
 *	async.c    submit, complete, the pollable descriptor
 *
 * Locks, outermost first: buffers, bus, send, receive, then table, done, sleepers, slab, lost. A thread in wait.c holds none while
 * it waits but `receive`, when it sleeps for all.
 */
#ifndef LIBWINAPI_LOCAL_H
#define LIBWINAPI_LOCAL_H

#include "../../../common/header.h"
#include "../../../common/ring.h"
#include "../../../common/vmbus_user.h"
#include "../internal.h"
#include "learn.h"

/* ---- A small lock ------------------------------------------------------------------------------------ */

/* A futex word: 0 free, 1 held, 2 held and waited for. */
struct lock {
	uint32_t word;
};
bool lock_try(struct lock *lock);
void lock_take(struct lock *lock);
bool lock_take_until(struct lock *lock, uint64_t deadline);
void lock_drop(struct lock *lock);

/* ---- Memory ------------------------------------------------------------------------------------------ */

struct region {
	struct region *next;
	uint64_t gpa;
	uint64_t size;
	uint8_t *data;
	uint32_t free_pages; /* slab: of its pages */
	uint8_t *used; /* slab: a byte for each page; NULL: one piece has it all */
};

#define SLAB_PIECE_MAX (1ull << 20) /* bytes: what is larger gets a region of its own */

/* Page-aligned memory that the host can reach. */
struct piece {
	struct region *region;
	uint8_t *data;
	uint64_t gpa;
	uint64_t size; /* whole pages */
};

struct local;

int memory_take(struct local *local, uint64_t size, struct piece *piece, uint64_t deadline); /* zeroed */
void memory_give(struct local *local, struct piece *piece, uint64_t deadline);
/* The same for a slab's piece, from anywhere: the slab itself stays. */
void memory_put_back(struct local *local, struct piece *piece);
/* A sealed memfd of `size`, its pages allocated, or -errno. */
int memory_file(uint64_t size);
/* The end. A child after fork() doesn't have the memory mapped. */
void memory_forget_all(struct local *local, bool mapped);

/* ---- Buffers ----------------------------------------------------------------------------------------- */

struct local_buffer {
	struct winapi_buffer base;
	struct local_buffer *next;
	struct local_buffer *previous;
	struct piece piece;
	uint64_t handle; /* the host's */
	uint32_t chunks;
	uint32_t gpadl[WINAPI_MAX_CHUNKS];
};

/* Bytes to copy between memory of the application and memory that the host reaches. */
struct bounce {
	void *application;
	uint8_t *shared;
	uint64_t length;
	uint32_t access;
};

/* What a call in flight keeps: buffers in use, and what to copy back. */
struct held {
	uint32_t users;
	struct local_buffer *buffer[WINAPI_MAX_BUFFERS];
	uint32_t bounces;
	struct bounce bounce[WINAPI_MAX_BUFFERS];
	struct piece piece; /* plain memory's, sent as the packet's range; size 0: none */
	struct local_buffer *registered; /* plain memory's, where it doesn't fit the packet */
};

int buffers_alloc(struct winapi *handle, size_t length, uint32_t access, struct winapi_buffer **buffer);
int buffers_register(struct winapi *handle, void *address, size_t length, uint32_t access,
		     struct winapi_buffer **buffer);
int buffers_free(struct winapi_buffer *buffer);
void buffers_forget_all(struct local *local);
/* Does the call bring memory that isn't shared yet? Then holding it may take messages to the host. */
bool buffers_plain(const struct winapi_call *call);
/* Turns a call's buffers into descriptors, copies in what bounces, and takes hold of them. */
int buffers_hold(struct local *local, const struct winapi_call *call, struct winapi_buffer_desc *desc,
		 struct held *held, uint64_t deadline);
/* The call's reply came: copies out what bounced. */
void buffers_copy_back(const struct held *held);
/* The host is done with them. */
void buffers_let_go(struct local *local, struct held *held);

/* ---- Requests ---------------------------------------------------------------------------------------- */

/* The low bits of a request's word. */
enum request_state {
	REQUEST_FREE,
	REQUEST_PENDING, /* sent; whoever waits for it polls */
	REQUEST_SLEEPING, /* sent; its thread sleeps on the state */
	REQUEST_ENDING, /* somebody brings its end and writes the results */
	REQUEST_DONE, /* results are there; its thread takes them and frees it */
	REQUEST_ABANDONED, /* ended here, unanswered there: frees itself with the reply */
};

enum request_kind {
	REQUEST_SYNC,
	REQUEST_ASYNC,
	REQUEST_CANCEL, /* nobody waits */
};

struct request {
	uint32_t word; /* atomic, and a futex: enum request_state, above it the generation of its id */
	uint16_t kind; /* atomic, as is what else a thread reads that doesn't own the request */
	uint16_t type; /* enum winapi_msg_type */
	uint64_t session; /* that the reply must name; 0: any */
	void *out;
	uint32_t out_capacity;
	uint32_t out_size;
	int32_t result;
	uint32_t status;
	uint64_t host_ns;
	uint64_t deadline; /* atomic */
	uint64_t user_data; /* atomic */
	uint32_t next_free;
	uint64_t reply_session;
	struct request *next_sleeper;
	bool holds; /* `held` is in use */
	struct held held;
} __attribute__((aligned(128)));

#define REQUEST_STATE_BITS 3u
#define REQUEST_GENERATIONS (1u << (32 - REQUEST_STATE_BITS))

static inline uint32_t request_word(const struct request *request)
{
	return __atomic_load_n(&request->word, __ATOMIC_ACQUIRE);
}

static inline enum request_state state_of(uint32_t word)
{
	return (enum request_state)(word & ((1u << REQUEST_STATE_BITS) - 1));
}

static inline uint32_t generation_of(uint32_t word)
{
	return word >> REQUEST_STATE_BITS;
}

/* The same generation, in another state. */
static inline uint32_t with_state(uint32_t word, enum request_state state)
{
	return (word & ~((1u << REQUEST_STATE_BITS) - 1)) | state;
}

/* Ends a request that is sent and unanswered. False: it is neither, or of another generation than *word. */
static inline bool request_try_end(struct request *request, uint32_t *word, enum request_state to)
{
	const uint32_t generation = generation_of(*word);

	while ((state_of(*word) == REQUEST_PENDING || state_of(*word) == REQUEST_SLEEPING) &&
	       generation_of(*word) == generation)
		if (__atomic_compare_exchange_n(&request->word, word, with_state(*word, to), false,
						__ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
			return true;
	return false;
}

/* What threads look at that don't own the request: whatever they find counts only if `word` is still the same. */
static inline void request_describe(struct request *request, enum request_kind kind, uint64_t deadline,
				    uint64_t user_data)
{
	__atomic_store_n(&request->kind, (uint16_t)kind, __ATOMIC_RELAXED);
	__atomic_store_n(&request->deadline, deadline, __ATOMIC_RELAXED);
	__atomic_store_n(&request->user_data, user_data, __ATOMIC_RELAXED);
}

#define CONTROL_REQUESTS 64u /* on top of max_in_flight, for CANCEL and buffers */
#define NO_REQUEST UINT32_MAX
#define WINAPI_IN_FLIGHT_MAX 4096u /* more than any ring holds */

struct completion_queue {
	struct winapi_completion *entry;
	uint32_t capacity;
	uint32_t first;
	uint32_t count;
};

struct local {
	struct winapi base;
	/* host and bus */
	int socket;
	int host_pid_fd; /* of a private host, -1: none */
	int call_fd; /* eventfd: the host's interrupts */
	int sleep_fd; /* epoll: what a sleeper waits for, each interrupt told once */
	int stir_fd; /* eventfd: this side's word to a sleeper */
	int kick_fd; /* eventfd: ours */
	struct lock bus_lock; /* the socket, GPADLs, regions */
	struct lock lost_lock;
	uint32_t lost; /* atomic: 0, or the errno that calls end with */
	char lost_why[160];
	uint32_t relid;
	uint32_t next_gpadl;
	uint32_t open_id;
	uint64_t session;
	bool offers_done;
	bool offered;

	/* memory and buffers; buffers_lock */
	struct lock buffers_lock;
	struct region *regions;
	struct lock slab_lock; /* which pages of slabs are used */
	uint64_t next_gpa;
	struct local_buffer *buffers;
	struct local_buffer *garbage; /* registered for calls that are over: to be unregistered */
	uint64_t buffer_count; /* atomic to read, as is the next */
	uint64_t buffer_bytes;
	uint64_t bytes_bounced; /* atomic */
	uint8_t *rings; /* mapping of both */
	size_t rings_size;

	/* sending */
	struct lock send_lock __attribute__((aligned(128)));
	struct vmbus_ring_out out;
	uint32_t room_wanted; /* what a sender waits for, with send_lock */
	uint64_t calls; /* sent; atomic to read */
	uint64_t signals; /* atomic */

	/* receiving: whoever has the lock drains for all */
	struct lock receive_lock __attribute__((aligned(128)));
	struct vmbus_ring_in in;
	uint64_t replies; /* atomic to read */
	uint64_t bad_replies;
	uint32_t read_hint; /* atomic: in.read, for those without the lock */
	struct lock sleepers_lock;
	struct request *sleepers;
	uint32_t sleeper_count; /* atomic */

	/* requests */
	struct lock table_lock __attribute__((aligned(128)));
	struct request *table;
	uint32_t table_size;
	uint32_t max_in_flight;
	uint32_t in_flight; /* of calls, abandoned ones too; atomic to read */
	uint32_t free_first;
	uint32_t spare; /* atomic: an index that the last call left, or NO_REQUEST */
	uint32_t slot_waiters; /* atomic: threads that wait for a slot, which may sleep for all */

	/* async */
	struct lock done_lock;
	struct completion_queue done;
	uint32_t async_in_flight; /* atomic */
	uint64_t async_deadline; /* atomic: no async call ends before */
	uint32_t empty; /* atomic: times that winapi_complete found nothing and didn't wait */
	uint32_t completers; /* atomic: threads that wait in winapi_complete, for a deadline they once saw */
	int poll_fd; /* epoll over the rest, -1 until winapi_fd */
	int notify_fd;
	int timer_fd;
	uint32_t poll_armed; /* atomic: a completion must make poll_fd readable */

	/* waiting */
	uint32_t cpus; /* that the handle's threads have beside the host's, 1 at least */
	struct learned learned;
	bool sleeps_by_ms; /* the kernel has no epoll_pwait2 */
	uint32_t shy; /* atomic: waits to be slept through, as a yield cost a turn */
	uint64_t sleeps; /* atomic */
	uint64_t timeouts; /* atomic */
};

/* A counter that one thread at a time raises, and any reads. */
static inline void count_up(uint64_t *counter)
{
	__atomic_store_n(counter, __atomic_load_n(counter, __ATOMIC_RELAXED) + 1, __ATOMIC_RELAXED);
}

static inline struct local *local_of(struct winapi *handle)
{
	return (struct local *)handle;
}

/* calls.c */
struct message {
	struct winapi_msg_header header;
	struct winapi_buffer_desc desc[WINAPI_MAX_BUFFERS];
};
int calls_init(struct local *local, uint32_t max_in_flight);
void calls_free(struct local *local);
int calls_call(struct winapi *handle, struct winapi_call *call);
int calls_batch(struct winapi *handle, const void *in, uint32_t in_size, void *out, uint32_t *out_size,
		uint32_t timeout_ms);
uint32_t calls_batch_room(struct winapi *handle);
/* A control message to the provider and its reply. *out_size: capacity, then bytes. */
int calls_control(struct local *local, uint16_t type, const void *in, uint32_t in_size, void *out,
		  uint32_t *out_size, uint64_t deadline, uint64_t *session);
/* Takes all replies that are there. Under receive_lock. */
void calls_drain(struct local *local);
/* Ends every request: the host is gone. */
void calls_end_all(struct local *local, int32_t result);
/* Sends CANCEL for a request, once there is a slot; best effort. 0 or -errno. */
int calls_send_cancel(struct local *local, uint64_t id, uint64_t deadline);
struct request *request_take(struct local *local, bool call);
/* Up to `max` for calls, with one lock; how many. */
uint32_t request_take_many(struct local *local, struct request **requests, uint32_t max);
void request_free(struct local *local, struct request *request);
void request_free_many(struct local *local, struct request **requests, uint32_t count);
uint64_t request_id(const struct local *local, const struct request *request, uint32_t word);
/* Takes send_lock. 0 or -errno. */
int send_begin(struct local *local, uint64_t deadline);
/* Under send_lock; the packet isn't published. 0, -EAGAIN, -EMSGSIZE, -ENODEV. */
int request_write(struct local *local, struct request *request, struct message *message, const void *in,
		  const struct held *held);
/* Bytes of payload that a message's packet has. */
uint32_t message_payload(const struct message *message, const struct held *held);
/* Under send_lock. */
void send_publish(struct local *local);
/* Under send_lock, after -EAGAIN: waits until there may be room, draining meanwhile. 0 or -errno. */
__attribute__((cold)) int send_await_room(struct local *local, uint32_t payload, uint64_t deadline);
void local_kick(struct local *local);

/* wait.c */
/* Is there what a thread waits for until `deadline`? */
typedef bool (*enough_fn)(struct local *local, uint64_t deadline);
/* Once call_fd and socket are there. 0 or -errno; sleep_fd is closed with the handle. */
int wait_init(struct local *local);
void wait_for(struct local *local, struct request *request, uint64_t begin);
/* Until there is enough, at most until `deadline`; for winapi_complete and senders without room. */
void wait_for_traffic(struct local *local, uint64_t begin, uint64_t deadline, enough_fn enough);
/* The same for a moment, without a sleep. True: enough. */
bool wait_shortly(struct local *local, enough_fn enough);
/* Empties an eventfd. */
void local_clear(int fd);
/* Has whoever sleeps for all look around: something came that isn't the host's doing. */
void wait_stir(struct local *local);
void wait_wake(struct request *request);
void wait_wake_all(struct local *local);
void wake_next_sleeper(struct local *local);
/* Drops receive_lock after draining, and sees to it that somebody goes on watching the ring. */
void receive_drop(struct local *local);
/* For a reader without the lock: is there something to drain, or a host that waits for room? */
bool replies_pending(const struct local *local);

/* async.c */
int async_submit(struct winapi *handle, const struct winapi_call *calls, unsigned int count);
int async_complete(struct winapi *handle, struct winapi_completion *completions, unsigned int max,
		   uint32_t timeout_ms);
int async_cancel(struct winapi *handle, uint64_t user_data);
int async_fd(struct winapi *handle);
/* Ends to the queue; between begin and end, so that many cost one lock. */
void async_push_begin(struct local *local);
void async_push(struct local *local, const struct winapi_completion *completion);
void async_push_end(struct local *local, uint32_t count);
void async_notify(struct local *local);
/* Turns the ring's interrupt on for the descriptor that somebody waits on. */
void async_rearm(struct local *local);
void async_free(struct local *local);

/* bus.c */
int bus_connect(struct local *local, uint64_t deadline); /* STATE to offers */
int bus_open_channel(struct local *local, const struct piece *rings, uint32_t ring_data, uint64_t deadline);
int bus_add_region(struct local *local, uint64_t gpa, uint64_t size, int fd, uint64_t deadline);
int bus_remove_region(struct local *local, uint64_t gpa, uint64_t deadline);
int bus_gpadl_create(struct local *local, uint64_t gpa, uint64_t pages, uint32_t *gpadl, uint64_t deadline);
int bus_gpadl_teardown(struct local *local, uint32_t gpadl, uint64_t deadline);
/* Takes what is in the socket without waiting, unless another thread does. */
void bus_look(struct local *local);
__attribute__((cold)) void local_lose(struct local *local, int err, const char *why);
/* 0, or fails with the reason why the host is gone. */
int local_check(struct local *local);

/* host.c */
int host_connect(const char *path, uint64_t deadline);
int host_start_private(uint32_t poll, int *socket, int *pid_fd);
void host_reap(int pid_fd);

#endif /* LIBWINAPI_LOCAL_H */
