/* SPDX-License-Identifier: MIT */
/*
 * Threads that call /dev/winapi by chance: good structs, structs with a few fields spoilt, and noise, on files
 * that others close, with memory that another thread maps and unmaps all the while. Whatever comes back is
 * fine; what counts is that the kernel stays sound, nothing hangs, and afterwards everything works and is free.
 * Usage: vm_ioctl_fuzz [SEED [ROUNDS]]
 */
#include "guest.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#define THREADS 3u
#define FILES 4u
#define IDS 16u
#define ARENA_PAGES 64u
#define ALONE \
	(4ull \
	 << 30) /* nothing else is mapped in the arena's 4 GiB: a spoilt address is no other memory of ours */

static uint8_t *arena;
static int arena_memory = -1; /* /proc/self/mem: writes to it fail where a store would fault */
static int files[FILES];
static uint32_t ids[IDS]; /* of any of the files */
static bool over;
static unsigned int rounds = 1200;

/* ---- Ingredients --------------------------------------------------------------------------------------- */

static uint64_t odd_number(struct chance *c)
{
	static const uint64_t odd[] = {
		0,	    1,		7,	    8,		4095,	     4096,
		4097,	    65535,	65536,	    1ull << 20, 64ull << 20, (64ull << 20) + 1,
		0x7fffffff, 0x80000000, UINT32_MAX, 1ull << 32, INT64_MAX,   UINT64_MAX - 4095,
		UINT64_MAX
	};

	return below(c, 4) ? odd[below(c, sizeof(odd) / sizeof(odd[0]))] : chance(c);
}

static uint64_t some_memory(struct chance *c)
{
	static const uint64_t odd[] = {
		0, 1, 0xffff888000000000, 0xffffffff81000000, 0x8000000000000000, UINT64_MAX
	};

	if (!below(c, 12))
		return odd[below(c, sizeof(odd) / sizeof(odd[0]))];
	return (uintptr_t)arena + below(c, ARENA_PAGES * PAGE);
}

static uint32_t some_id(struct chance *c)
{
	return below(c, 10) ? __atomic_load_n(&ids[below(c, IDS)], __ATOMIC_RELAXED) :
			      (uint32_t)odd_number(c);
}

static uint64_t some_length(struct chance *c)
{
	return below(c, 8) ? 1 + below(c, 8 * PAGE) : odd_number(c);
}

static void keep_id(struct chance *c, uint32_t id)
{
	__atomic_store_n(&ids[below(c, IDS)], id, __ATOMIC_RELAXED);
}

/* A few of its bytes are others. */
static void spoil(struct chance *c, void *bytes, uint32_t size)
{
	for (uint32_t n = below(c, 6) ? 0 : 1 + below(c, 4); n; n--)
		((uint8_t *)bytes)[below(c, size)] = (uint8_t)chance(c);
}

/* Into the arena, if what is there can be written now. */
static uint64_t put(struct chance *c, const void *bytes, size_t size)
{
	uint64_t at = some_memory(c);

	if (pwrite(arena_memory, bytes, size, (off_t)at) < 0)
		return at; /* not mapped: as good a pointer as any */
	return at;
}

static struct winapi_ioc_buffer_ref some_ref(struct chance *c)
{
	struct winapi_ioc_buffer_ref ref = { .access = 1 + below(c, 3), .length = some_length(c) };

	if (below(c, 2))
		ref.id = some_id(c);
	else
		ref.address = some_memory(c);
	if (ref.id && below(c, 2))
		ref.offset = below(c, 4) ? below(c, 4 * PAGE) : odd_number(c);
	spoil(c, &ref, sizeof(ref));
	return ref;
}

/* Timeouts stay short, whatever else is spoilt: nobody is to wait for what never comes. */
static struct winapi_ioc_call some_call(struct chance *c)
{
	struct winapi_ioc_buffer_ref refs[9];
	struct winapi_ioc_call call = { .api = 1 + below(c, 3), .user_data = below(c, 8) };

	call.buffer_count = below(c, 3) ? 0 : below(c, 10);
	for (unsigned int i = 0; i < 9; i++)
		refs[i] = some_ref(c);
	call.buffers = put(c, refs, sizeof(refs));
	call.in = some_memory(c);
	call.out = some_memory(c);
	call.in_size = below(c, 8) ? below(c, 200) : below(c, 4000);
	call.out_capacity = below(c, 8) ? below(c, 4000) : (uint32_t)odd_number(c);
	call.method = (uint16_t)below(c, 4);
	call.flags = below(c, 8) ? 0 : (uint16_t)below(c, 4);
	spoil(c, &call, sizeof(call));
	call.timeout_ms = below(c, 30);
	return call;
}

/* ---- What a thread does -------------------------------------------------------------------------------- */

static void do_call(struct chance *c, int fd)
{
	struct winapi_ioc_call call = some_call(c);

	device(fd, WINAPI_IOC_CALL, &call);
}

static void do_submit(struct chance *c, int fd)
{
	struct winapi_ioc_call calls[4];
	struct winapi_ioc_submit s = { .count = 1 + below(c, 4), .call_size = sizeof(calls[0]) };

	for (unsigned int i = 0; i < 4; i++)
		calls[i] = some_call(c);
	s.calls = below(c, 4) ? (uintptr_t)calls : put(c, calls, sizeof(calls));
	if (!below(c, 10))
		s.call_size = below(c, 300);
	device(fd, WINAPI_IOC_SUBMIT, &s);
}

static void do_cancel(struct chance *c, int fd)
{
	struct winapi_ioc_cancel cancel = { below(c, 10) };

	device(fd, WINAPI_IOC_CANCEL, &cancel);
}

static void do_alloc(struct chance *c, int fd)
{
	struct winapi_ioc_alloc a = { .length = some_length(c), .access = 1 + below(c, 3) };
	void *map;

	if (a.length > 1 << 20)
		a.length = below(c, 4) ? 1 << 20 : (64ull << 20) + 1;
	spoil(c, &a.access, sizeof(a.access));
	if (device(fd, WINAPI_IOC_ALLOC, &a))
		return;
	keep_id(c, a.id);
	map = mmap(NULL, a.map_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)a.map_offset);
	if (map == MAP_FAILED)
		return;
	memset(map, 0x11, a.map_size);
	munmap(map, a.map_size);
}

static void do_register(struct chance *c, int fd)
{
	struct winapi_ioc_register r = { .address = some_memory(c),
					 .length = some_length(c),
					 .access = 1 + below(c, 3) };

	spoil(c, &r, sizeof(r));
	if (!device(fd, WINAPI_IOC_REGISTER, &r))
		keep_id(c, r.id);
}

static void do_free(struct chance *c, int fd)
{
	struct winapi_ioc_free f = { .id = some_id(c), .reserved = !below(c, 20) };

	device(fd, WINAPI_IOC_FREE, &f);
}

static void do_read(struct chance *c, int fd)
{
	uint8_t bytes[4096];
	struct pollfd p = { fd, POLLIN, 0 };

	/* The files wait for nobody: O_NONBLOCK. */
	if (poll(&p, 1, 0) >= 0 &&
	    read(fd, below(c, 3) ? bytes : (void *)(uintptr_t)some_memory(c), below(c, 4096)) < 0)
		return;
}

static void do_noise(struct chance *c, int fd)
{
	uint64_t words[2048] = {
		0
	}; /* as much as an ioctl's number can say, since results fill it up with zeros */
	unsigned int nr = below(c, 12), size = below(c, 3) ? below(c, 256) : below(c, 16384);
	uint32_t timeout_ms = below(c, 30);

	for (unsigned int i = 0; i < 32; i++)
		words[i] = below(c, 3) ? below(c, 5000) : odd_number(c);
	if (nr == _IOC_NR(WINAPI_IOC_CALL))
		memcpy((uint8_t *)words + offsetof(struct winapi_ioc_call, timeout_ms), &timeout_ms,
		       sizeof(timeout_ms));
	if (nr == _IOC_NR(WINAPI_IOC_ALLOC))
		words[0] %= 1 << 20;
	device(fd, _IOC(below(c, 4), WINAPI_IOC_TYPE, nr == 8 ? 9 : nr, size),
	       below(c, 4) ? (void *)words : (void *)(uintptr_t)put(c, words, sizeof(words)));
}

static void do_mmap(struct chance *c, int fd)
{
	uint64_t size = some_length(c) & ((1 << 20) - 1);
	void *map = mmap(NULL, size, 1 + below(c, 3), below(c, 4) ? MAP_SHARED : MAP_PRIVATE, fd,
			 (off_t)(some_id(c) * 4096ull << below(c, 20)));

	if (map != MAP_FAILED)
		munmap(map, size);
}

static void do_reopen(struct chance *c, int fd)
{
	unsigned int i = below(c, FILES);

	(void)fd;
	if (below(c, 8))
		return;
	if (!below(c, 4))
		ioctl(files[i], WINAPI_IOC_SHUTDOWN, 0);
	/* In place, so that the number always names some file of the device. */
	fd = open(DEVICE, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (fd >= 0) {
		dup3(fd, files[i], O_CLOEXEC);
		close(fd);
	}
}

static void *caller(void *seed)
{
	static void (*const acts[])(struct chance * c,
				    int fd) = { do_call,   do_call,  do_call,	  do_submit, do_submit,
						do_cancel, do_alloc, do_register, do_free,   do_free,
						do_read,   do_read,  do_noise,	  do_mmap,   do_reopen };
	struct chance c = { (uintptr_t)seed };

	for (unsigned int i = 0; i < rounds; i++)
		acts[below(&c, sizeof(acts) / sizeof(acts[0]))](&c, files[below(&c, FILES)]);
	return NULL;
}

/* Takes pages of the arena away, gives them back, lets them be read only. */
static void *mapper(void *seed)
{
	struct chance c = { (uintptr_t)seed };

	while (!__atomic_load_n(&over, __ATOMIC_RELAXED)) {
		uint32_t first = below(&c, ARENA_PAGES), count = 1 + below(&c, ARENA_PAGES - first);
		uint8_t *at = arena + first * PAGE;
		int protection = below(&c, 4) ? PROT_READ | PROT_WRITE : below(&c, 2) ? PROT_READ : PROT_NONE;

		if (below(&c, 3))
			mmap(at, count * PAGE, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
		else if (below(&c, 2))
			mprotect(at, count * PAGE, protection);
		else
			madvise(at, count * PAGE, MADV_DONTNEED);
		usleep(500 + below(&c, 2000));
	}
	return NULL;
}

/* In the middle of an aligned range that is kept free. */
static void make_arena(void)
{
	uint8_t *range = mmap(NULL, 2 * ALONE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (range == MAP_FAILED)
		bail("no address space");
	arena = range + (ALONE - (uintptr_t)range % ALONE) + ALONE / 2;
	if (mmap(arena, ARENA_PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
		 -1, 0) != arena)
		bail("no memory");
}

static void run(uint64_t seed)
{
	pthread_t threads[THREADS], other;
	int fd = device_await();

	for (unsigned int i = 0; i < FILES; i++)
		files[i] = open(DEVICE, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	over = false;
	pthread_create(&other, NULL, mapper, (void *)(uintptr_t)(seed * 1000));
	for (unsigned int i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, caller, (void *)(uintptr_t)(seed * 1000 + 1 + i));
	for (unsigned int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	__atomic_store_n(&over, true, __ATOMIC_RELAXED);
	pthread_join(other, NULL);
	for (unsigned int i = 0; i < FILES; i++)
		close(files[i]);
	check_error(echo(fd), 0, "seed %llu: %u threads of %u rounds each, and the device works",
		    (unsigned long long)seed, THREADS, rounds);
	close(fd);
}

int main(int argc, char **argv)
{
	uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 0;

	if (argc > 2)
		rounds = (unsigned int)strtoul(argv[2], NULL, 0);
	make_arena();
	arena_memory = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	if (seed) {
		run(seed);
		return finish();
	}
	for (seed = 1; seed <= 4; seed++)
		run(seed);
	check(pins_settle(), "no page is left pinned");
	return finish();
}
