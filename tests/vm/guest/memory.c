/* SPDX-License-Identifier: MIT */
/*
 * Application memory that the host has: fresh, just forked, unmapped, over the user's limit. The host's checksums
 * tell whether it sees the pages that the process does. Against winapi-hostd; run as root.
 */
#include "guest.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOBODY 65534

static int fd;

/* ---- Memory that changes under the host ---------------------------------------------------------------- */

#define SIZE (8 * PAGE)

static void write_bytes(uint8_t *memory, uint8_t seed)
{
	for (size_t i = 0; i < SIZE; i++)
		memory[i] = (uint8_t)(i * 31 + seed);
}

static void fresh_mapping(void)
{
	uint8_t *memory = fresh_memory(SIZE);
	uint32_t id;

	check_error(buffer_register(fd, memory, SIZE, 3, &id), 0,
		    "a mapping that was never touched is registered");
	check(host_sees(fd, id, memory, SIZE), "the host sees its zeros");
	write_bytes(memory, 1);
	check(host_sees(fd, id, memory, SIZE), "and what is then written");
	write_bytes(memory, 2);
	check(host_sees(fd, id, memory, SIZE), "and written again");
	check_error(buffer_free(fd, id), 0, "it is freed");
	munmap(memory, SIZE);
}

/* A child that shares all pages by copy-on-write, until it is told to go. */
static pid_t sleeping_child(int *go)
{
	int ends[2];
	pid_t child;

	if (pipe(ends))
		bail("no pipe");
	child = fork();
	if (!child) {
		char byte;

		close(ends[1]);
		_exit(read(ends[0], &byte, 1) != 0);
	}
	close(ends[0]);
	*go = ends[1];
	return child;
}

static void end_child(pid_t child, int go)
{
	close(go);
	waitpid(child, NULL, 0);
}

static void forked_mapping(void)
{
	uint8_t *memory = fresh_memory(SIZE);
	uint32_t id;
	pid_t child;
	int go;

	write_bytes(memory, 3);
	child = sleeping_child(&go);
	check_error(buffer_register(fd, memory, SIZE, 3, &id), 0, "a just-forked mapping is registered");
	write_bytes(memory, 4);
	check(host_sees(fd, id, memory, SIZE), "the host sees what is then written");
	end_child(child, go);
	child = sleeping_child(&go);
	write_bytes(memory, 5);
	check(host_sees(fd, id, memory, SIZE), "also when the fork comes after the registration");
	end_child(child, go);
	write_bytes(memory, 6);
	check(host_sees(fd, id, memory, SIZE), "and when the child is gone");
	check_error(buffer_free(fd, id), 0, "it is freed");
	munmap(memory, SIZE);
}

static int child_registers(void *argument)
{
	uint8_t *memory = argument;
	int file = device_open();
	uint32_t id;

	if (file < 0 || buffer_register(file, memory, SIZE, 3, &id))
		return 1;
	write_bytes(memory, 7);
	return host_sees(file, id, memory, SIZE) ? 0 : 2;
}

static void forked_child(void)
{
	uint8_t *memory = fresh_memory(SIZE);

	write_bytes(memory, 8);
	check_error(in_child(child_registers, memory), 0,
		    "a child registers memory that it shares by copy-on-write");
	check(memory[0] == 8, "and the parent's stays as it was");
	munmap(memory, SIZE);
}

static void unmapped_while_registered(void)
{
	struct winapi_ioc_buffer_ref ref = { .access = HOST_READS, .length = SIZE };
	uint8_t *memory = fresh_memory(SIZE), *again;
	uint32_t before, after;

	write_bytes(memory, 9);
	before = crc32c(memory, SIZE);
	check_error(buffer_register(fd, memory, SIZE, 3, &ref.id), 0, "memory is registered");
	munmap(memory, SIZE);
	check(!buffer_crc(fd, &ref, &after) && after == before,
	      "and unmapped: the host still has the old pages");
	again = mmap(memory, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	check(!buffer_crc(fd, &ref, &after) && after == before, "and not what is mapped there then");
	check_error(buffer_free(fd, ref.id), 0, "it is freed");
	munmap(again, SIZE);
}

static void per_call_memory(void)
{
	struct winapi_ioc_buffer_ref ref = { .access = HOST_READS, .length = SIZE };
	uint8_t *memory = fresh_memory(SIZE);
	uint32_t crc;
	bool right = true;
	pid_t child;
	int go;

	ref.address = (uintptr_t)memory;
	for (uint8_t i = 0; i < 5; i++) {
		write_bytes(memory, i);
		right = right && !buffer_crc(fd, &ref, &crc) && crc == crc32c(memory, SIZE);
	}
	child = sleeping_child(&go);
	write_bytes(memory, 77);
	right = right && !buffer_crc(fd, &ref, &crc) && crc == crc32c(memory, SIZE);
	end_child(child, go);
	check(right, "memory of single calls is what it is at each of them");
	munmap(memory, SIZE);
}

/* What the host writes must land in a fresh mapping and in a forked one, not in a page that both share. */
static void host_writes(void)
{
	const struct winapi_buffer_test_request request = { .seed = 5 };
	struct winapi_ioc_buffer_ref ref = { .access = HOST_WRITES, .length = SIZE };
	uint8_t *memory = fresh_memory(SIZE);
	uint64_t result, first;
	struct winapi_ioc_call c = { .in = (uintptr_t)&request,
				     .out = (uintptr_t)&result,
				     .buffers = (uintptr_t)&ref,
				     .in_size = sizeof(request),
				     .out_capacity = sizeof(result),
				     .buffer_count = 1,
				     .timeout_ms = PATIENCE_MS,
				     .api = WINAPI_API_BUFFER_TEST,
				     .method = WINAPI_BUFFER_TEST_WRITE };
	pid_t child;
	int go;

	ref.address = (uintptr_t)memory;
	check_error(call(fd, &c), 0, "the host writes to a fresh mapping");
	memcpy(&first, memory, sizeof(first));
	check(first == winapi_pattern_word(5, 0), "which is there");
	memset(memory, 0, SIZE);
	child = sleeping_child(&go);
	check_error(call(fd, &c), 0, "and to a forked one");
	memcpy(&first, memory, sizeof(first));
	check(first == winapi_pattern_word(5, 0), "which is there too");
	end_child(child, go);
	munmap(memory, SIZE);
}

/* ---- Limits of a user ---------------------------------------------------------------------------------- */

#define MEMLOCK (1u << 20)

static int child_locks(void *nothing)
{
	const struct rlimit limit = { MEMLOCK, MEMLOCK };
	uint8_t *memory = fresh_memory(4 * MEMLOCK);
	struct winapi_ioc_buffer_ref ref = { .access = 1,
					     .address = (uintptr_t)memory,
					     .length = 2 * MEMLOCK };
	struct winapi_ioc_alloc a;
	uint32_t id, other, crc;

	(void)nothing;
	if (setrlimit(RLIMIT_MEMLOCK, &limit) || setgid(NOBODY) || setuid(NOBODY))
		return 1;
	if (buffer_register(fd, memory, 2 * MEMLOCK, 3, &id) != -ENOMEM)
		return 2;
	if (buffer_register(fd, memory, MEMLOCK / 2, 3, &id))
		return 3;
	if (buffer_register(fd, memory + MEMLOCK, MEMLOCK, 3, &other) != -ENOMEM)
		return 4;
	if (buffer_crc(fd, &ref, &crc) != -ENOMEM)
		return 5;
	if (buffer_alloc(fd, 4 * MEMLOCK, 3, &a)) /* the driver's memory doesn't count */
		return 6;
	if (buffer_free(fd, id) || buffer_free(fd, a.id))
		return 7;
	if (buffer_register(fd, memory, MEMLOCK, 3, &id) || buffer_free(fd, id))
		return 8;
	/* Freed, so it counts no more. */
	return buffer_register(fd, memory, MEMLOCK, 3, &id) || buffer_free(fd, id) ? 9 : 0;
}

static void memlock(void)
{
	check_error(in_child(child_locks, NULL), 0,
		    "RLIMIT_MEMLOCK holds for registered and for calls' memory");
	check_error(echo(fd), 0, "an echo after it");
}

int main(void)
{
	fd = device_await();
	fresh_mapping();
	forked_mapping();
	forked_child();
	unmapped_while_registered();
	per_call_memory();
	host_writes();
	memlock();
	close(fd);
	check(pins_settle(), "no page is left pinned");
	return finish();
}
